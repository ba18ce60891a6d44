//! Fully read markers: account data of a room that only moves forward.

pub(crate) mod set_read_marker;

use plexus_matrix_http::{JsonObject, MatrixError};
use plexus_proto::log::v1::{SetAccountData, input_user_event::Command};
use ruma::{EventId, OwnedEventId, RoomId, UserId};
use serde::Serialize;

use crate::App;

/// Type of the account data.
const FULLY_READ: &str = "m.fully_read";

#[derive(Serialize)]
struct Content {
    event_id: OwnedEventId,
}

/// Moves the marker forward to an event of the room that the user may see. Whether that is forward is for the room server to
/// say: where an event lies in the timeline never changes, where the marker is does.
pub(crate) async fn set(
    app: &App,
    user: &UserId,
    room_id: &RoomId,
    event_id: &EventId,
) -> Result<(), MatrixError> {
    app.rooms.require_joined(room_id, user).await?;
    let position = app.rooms.position_of(room_id, user, event_id).await?;
    let content = JsonObject::of(&Content { event_id: event_id.to_owned() })?;
    let command = Command::SetAccountData(SetAccountData {
        room_id: room_id.to_string(),
        r#type: FULLY_READ.to_owned(),
        content: content.into_bytes().into(),
        position: Some(position),
        replaces: None,
    });
    app.input.submit_user(user, command).await?;
    Ok(())
}
