//! `GET /_matrix/client/*/rooms/{roomId}/context/{eventId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::context::get_context;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_context", skip_all, fields(room.id = %request.room_id, event.id = %request.event_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<get_context::v3::Request>,
) -> Result<Matrix<get_context::v3::Response>, MatrixError> {
    Ok(Matrix(app.rooms.context(&user, &request).await?))
}
