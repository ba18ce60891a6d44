//! Guests: they join only where the room lets them.

use plexus_matrix_http::{AuthedUser, MatrixError};
use ruma::RoomId;
use serde_json::Value;

use super::{
    Rooms,
    read::{EventParts, state_key as key},
};

impl Rooms {
    /// Refuses guests where guests may not join.
    pub(super) async fn check_guest_access(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
    ) -> Result<(), MatrixError> {
        if !user.guest {
            return Ok(());
        }
        let keys = vec![key("m.room.guest_access", "")];
        let found = self.state_entries(room_id, None, keys, None).await?;
        let access = found.first().map(EventParts::of).transpose()?;
        let access = access.as_ref().and_then(|event| event.content.get("guest_access"));
        if access.and_then(Value::as_str) == Some("can_join") {
            return Ok(());
        }
        Err(MatrixError::new(
            http::StatusCode::FORBIDDEN,
            "M_GUEST_ACCESS_FORBIDDEN",
            "Guests may not join this room",
        ))
    }
}
