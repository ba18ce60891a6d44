//! `GET /_matrix/client/*/events/{eventId}`, which is deprecated
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3eventseventid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::OwnedEventId;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_one_event", skip_all, fields(event.id = %event_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((event_id,)): PathArgs<(OwnedEventId,)>,
) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&app.rooms.event_anywhere(&user, &event_id).await?)
}
