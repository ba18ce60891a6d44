//! `POST /_matrix/client/*/rooms/{roomId}/upgrade`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::room::upgrade_room::v3::{Request, Response};
use tracing::instrument;

use super::versioned::Versioned;
use crate::App;

#[instrument(name = "http.client.upgrade_room", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Versioned(request): Versioned<Request>,
) -> Result<Matrix<Response>, MatrixError> {
    user.not_guest()?;
    let Request { room_id, new_version, additional_creators, .. } = &request;
    let new_id = app.rooms.upgrade(&user, room_id, new_version, additional_creators).await?;
    Ok(Matrix(Response::new(new_id)))
}
