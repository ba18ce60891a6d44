//! `POST /_matrix/client/*/rooms/{roomId}/join`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::membership::join_room_by_id;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.join_room_by_id", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<join_room_by_id::v3::Request>,
) -> Result<Matrix<join_room_by_id::v3::Response>, MatrixError> {
    app.limits.check_join(&user.id)?;
    let signed = request.third_party_signed.as_ref();
    app.rooms.join(&user, &request.room_id, request.reason.as_deref(), signed).await?;
    Ok(Matrix(join_room_by_id::v3::Response::new(request.room_id)))
}
