//! Account data: what clients keep with their user, globally and by room.

pub(crate) mod get_global_account_data;
pub(crate) mod get_room_account_data;
pub(crate) mod set_global_account_data;
pub(crate) mod set_room_account_data;

use http::StatusCode;
use plexus_matrix_http::{JsonObject, MatrixError};
use plexus_proto::{
    log::v1::{SetAccountData, input_user_event::Command},
    user::v1::GetAccountDataRequest,
};
use ruma::{RoomId, UserId};

use crate::App;

/// Longest type of account data, in bytes.
const MAX_TYPE: usize = 255;

/// Reads a piece of account data.
pub(crate) async fn read(
    app: &App,
    user: &UserId,
    room: Option<&RoomId>,
    event_type: String,
) -> Result<JsonObject, MatrixError> {
    let request = GetAccountDataRequest {
        user_id: user.to_string(),
        room_id: room.map(ToString::to_string).unwrap_or_default(),
        r#type: event_type,
    };
    let content = app.users.clone().get_account_data(request).await?.into_inner().content;
    JsonObject::parse(&content).map_err(|error| {
        tracing::error!(%error, "stored account data is not a JSON object");
        MatrixError::internal()
    })
}

/// Writes a piece of account data.
async fn write(
    app: &App,
    user: &UserId,
    room: Option<&RoomId>,
    event_type: String,
    content: JsonObject,
) -> Result<JsonObject, MatrixError> {
    check_type(&event_type)?;
    let command = Command::SetAccountData(SetAccountData {
        position: None,
        replaces: None,
        room_id: room.map(ToString::to_string).unwrap_or_default(),
        r#type: event_type,
        content: content.into_bytes().into(),
    });
    app.input.submit_user(user, command).await?;
    Ok(JsonObject::empty())
}

fn check_type(event_type: &str) -> Result<(), MatrixError> {
    let endpoint = match event_type {
        "m.fully_read" => "/rooms/{roomId}/read_markers",
        "m.push_rules" => "/pushrules/",
        _ if event_type.len() > MAX_TYPE => {
            return Err(MatrixError::invalid_param("The type has more than 255 bytes"));
        }
        _ => return Ok(()),
    };
    // The status and code that the specification has for it.
    Err(MatrixError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "M_BAD_JSON",
        format!("`{event_type}` cannot be set here, but with {endpoint}"),
    ))
}
