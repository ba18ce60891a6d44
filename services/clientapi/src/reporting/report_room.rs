//! `POST /_matrix/client/*/rooms/{roomId}/report`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreport)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::OwnedRoomId;
use serde::Deserialize;
use tracing::instrument;

use crate::App;

/// ruma's body, but that a reason has to be given; it may be empty.
#[derive(Debug, Deserialize)]
struct Body {
    reason: String,
}

#[instrument(name = "http.client.report_room", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    body: JsonObject,
) -> Result<JsonObject, MatrixError> {
    let body: Body =
        serde_json::from_str(body.get()).map_err(|error| MatrixError::bad_json(error.to_string()))?;
    app.rooms.report_room(&user, &room_id, &body.reason).await?;
    Ok(JsonObject::empty())
}
