//! `GET /_matrix/client/*/directory/list/room/{roomId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid)

use axum::extract::State;
use plexus_matrix_http::{Matrix, MatrixError};
use ruma::api::client::{directory::get_room_visibility, room::Visibility};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_room_visibility", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    Matrix(request): Matrix<get_room_visibility::v3::Request>,
) -> Result<Matrix<get_room_visibility::v3::Response>, MatrixError> {
    let published = app.rooms.is_published(&request.room_id).await?;
    let visibility = if published { Visibility::Public } else { Visibility::Private };
    Ok(Matrix(get_room_visibility::v3::Response::new(visibility)))
}
