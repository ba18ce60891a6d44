//! `POST /_matrix/client/*/rooms/{roomId}/join`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError, PathArgs};
use ruma::{OwnedRoomId, api::client::membership::join_room_by_id};
use tracing::instrument;

use super::join_body::JoinBody;
use crate::App;

#[instrument(name = "http.client.join_room_by_id", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    body: JoinBody,
) -> Result<Matrix<join_room_by_id::v3::Response>, MatrixError> {
    app.rooms.join(&user, &room_id, &[], body).await?;
    Ok(Matrix(join_room_by_id::v3::Response::new(room_id)))
}
