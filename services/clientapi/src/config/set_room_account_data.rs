//! `PUT /_matrix/client/*/user/{userId}/rooms/{roomId}/account_data/{type}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use ruma::{OwnedRoomId, OwnedUserId};
use tracing::instrument;

use crate::{App, account};

#[instrument(name = "http.client.set_room_account_data", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id, room_id, event_type)): PathArgs<(OwnedUserId, OwnedRoomId, String)>,
    content: JsonObject,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    super::write(&app, &user_id, Some(&room_id), event_type, content).await
}
