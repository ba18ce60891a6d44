//! `POST /_matrix/client/*/rooms/{roomId}/read_markers`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidread_markers)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use tracing::instrument;

use crate::{App, receipt};

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "m.fully_read")]
    fully_read: Option<String>,
    #[serde(rename = "m.read")]
    read: Option<String>,
    #[serde(rename = "m.read.private")]
    read_private: Option<String>,
}

#[instrument(name = "http.client.set_read_marker", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    body: JsonObject,
) -> Result<JsonObject, MatrixError> {
    let body: Body = body.read()?;
    let fully_read = event_id(body.fully_read)?;
    let read = event_id(body.read)?;
    let read_private = event_id(body.read_private)?;
    for (kind, event_id) in [("m.read", read), ("m.read.private", read_private)] {
        if let Some(event_id) = event_id {
            receipt::set(&app, &user.id, &room_id, kind, &event_id, String::new()).await?;
        }
    }
    if let Some(event_id) = fully_read {
        super::set(&app, &user.id, &room_id, &event_id).await?;
    }
    Ok(JsonObject::empty())
}

/// Reads an event ID. An empty text, which some clients send, names none.
fn event_id(id: Option<String>) -> Result<Option<OwnedEventId>, MatrixError> {
    let id = id.filter(|id| !id.is_empty()).map(OwnedEventId::try_from).transpose();
    id.map_err(|error| MatrixError::invalid_param(format!("A marker must be an event ID: {error}")))
}
