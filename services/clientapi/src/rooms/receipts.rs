//! How far members have read.

use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{RoomControl, SetReceipt, input_room_event::Body, room_control::Action},
    room::v1::GetEventsRequest,
};
use ruma::{EventId, RoomId, UserId};

use super::{Rooms, ask, is_rejected};

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

    /// Whether one event of the room comes after another, which may be one that is not there any more. The first has to
    /// be one that the user may see.
    pub(crate) async fn comes_after(
        &self,
        room_id: &RoomId,
        viewer: &UserId,
        event: &EventId,
        other: Option<&EventId>,
    ) -> Result<bool, MatrixError> {
        let request = GetEventsRequest {
            event_ids: [Some(event), other].into_iter().flatten().map(ToString::to_string).collect(),
            viewer: viewer.to_string(),
            room_id: room_id.to_string(),
            at_least: None,
        };
        let found = ask(self.queries.clone().get_events(request)).await?.events;
        let seq =
            |id: &EventId| found.iter().find(|event| event.event_id == id.as_str()).map(|event| event.seq);
        let seq_of_event = seq(event).ok_or_else(|| MatrixError::not_found("Event not found"))?;
        Ok(other.and_then(seq).is_none_or(|other| seq_of_event > other))
    }
}
