//! Tags of rooms.

pub(crate) mod create_tag;
pub(crate) mod delete_tag;
pub(crate) mod get_tags;

use plexus_matrix_http::MatrixError;
use plexus_proto::log::v1::{SetTag, input_user_event::Command};
use ruma::{RoomId, UserId};

use crate::App;

/// Longest tag, in bytes, as the specification says.
const MAX_TAG: usize = 255;

/// Sets a tag, or removes it if it is given no content.
async fn write(
    app: &App,
    user: &UserId,
    room_id: &RoomId,
    tag: String,
    content: Vec<u8>,
) -> Result<(), MatrixError> {
    if tag.is_empty() || tag.len() > MAX_TAG {
        return Err(MatrixError::invalid_param("A tag must have 1 to 255 bytes"));
    }
    let command = Command::SetTag(SetTag { room_id: room_id.to_string(), tag, content: content.into() });
    app.input.submit_user(user, command).await?;
    Ok(())
}
