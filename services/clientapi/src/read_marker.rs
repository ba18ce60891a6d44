//! Fully read markers: account data of a room that only moves forward.

pub(crate) mod set_read_marker;

use plexus_matrix_http::{JsonObject, MatrixError};
use plexus_proto::log::v1::{SetAccountData, input_user_event::Command};
use ruma::{EventId, OwnedEventId, RoomId, UserId};
use serde::{Deserialize, Serialize};

use crate::{App, config};

/// Type of the account data.
const FULLY_READ: &str = "m.fully_read";

#[derive(Serialize, Deserialize)]
struct Content {
    event_id: OwnedEventId,
}

/// Moves the marker forward to an event of the room that the user may see.
pub(crate) async fn set(
    app: &App,
    user: &UserId,
    room_id: &RoomId,
    event_id: &EventId,
) -> Result<(), MatrixError> {
    app.rooms.require_joined(room_id, user).await?;
    let known = match config::read(app, user, Some(room_id), FULLY_READ.to_owned()).await {
        Ok(content) => serde_json::from_str::<Content>(content.get()).ok(),
        Err(error) if error.is("M_NOT_FOUND") => None,
        Err(error) => return Err(error),
    };
    let known = known.as_ref().map(|known| &*known.event_id);
    if !app.rooms.comes_after(room_id, user, event_id, known).await? {
        return Ok(());
    }
    let content = JsonObject::of(&Content { event_id: event_id.to_owned() })?;
    let command = Command::SetAccountData(SetAccountData {
        room_id: room_id.to_string(),
        r#type: FULLY_READ.to_owned(),
        content: content.into_bytes().into(),
    });
    app.input.submit_user(user, command).await?;
    Ok(())
}
