//! Writes receipts and fully-read markers.

use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{RoomControl, SetReceipt, input_room_event::Body, room_control::Action},
};
use ruma::{EventId, RoomId, UserId};

use super::{Rooms, is_rejected};

impl Rooms {
    /// Moves a receipt forward.
    pub(crate) async fn set_receipt(&self, room_id: &RoomId, receipt: SetReceipt) -> Result<(), MatrixError> {
        let control = RoomControl { action: Some(Action::SetReceipt(receipt)) };
        match self.input.submit_room(room_id, Body::Control(control)).await {
            Ok(_) => Ok(()),
            Err(error) if is_rejected(&error, ErrorReason::RoomUnknown) => {
                Err(MatrixError::forbidden("You are not in this room"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses users who are not joined to the room.
    pub(crate) async fn require_joined(&self, room_id: &RoomId, user: &UserId) -> Result<(), MatrixError> {
        if self.memberships(room_id, &[user]).await?.of(user) == Some("join") {
            return Ok(());
        }
        Err(MatrixError::forbidden("You are not in this room"))
    }

    /// Refuses users who never had anything to do with the room.
    pub(crate) async fn require_any_membership(
        &self,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<(), MatrixError> {
        if self.memberships(room_id, &[user]).await?.of(user).is_some() {
            return Ok(());
        }
        Err(MatrixError::forbidden("You have nothing to do with this room"))
    }

    /// The place in the timeline of an event that the user may see.
    pub(crate) async fn position_of(
        &self,
        room_id: &RoomId,
        viewer: &UserId,
        event: &EventId,
    ) -> Result<i64, MatrixError> {
        Ok(self.find_event(room_id, viewer, event).await?.position)
    }
}
