//! `PUT /_matrix/client/*/rooms/{roomId}/state/{eventType}/{stateKey}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError, PathArgs};
use ruma::{OwnedRoomId, api::client::state::send_state_event};
use serde::Deserialize;
use tracing::instrument;

use crate::App;

/// Path arguments; an empty state key is left out.
#[derive(Deserialize)]
pub(crate) struct Entry(OwnedRoomId, String, #[serde(default)] String);

/// The body is taken as it came: it becomes the content of the event.
#[instrument(name = "http.client.send_state_event", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs(Entry(room_id, event_type, state_key)): PathArgs<Entry>,
    content: JsonObject,
) -> Result<Matrix<send_state_event::v3::Response>, MatrixError> {
    app.limits.check_message(&user.id)?;
    let event_id = app.rooms.send_state(&user, &room_id, &event_type, &state_key, content.get()).await?;
    Ok(Matrix(send_state_event::v3::Response::new(event_id)))
}
