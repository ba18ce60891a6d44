//! `PUT /_matrix/client/*/directory/list/room/{roomId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directorylistroomroomid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::{directory::set_room_visibility, room::Visibility};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.set_room_visibility", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<set_room_visibility::v3::Request>,
) -> Result<Matrix<set_room_visibility::v3::Response>, MatrixError> {
    user.not_guest()?;
    let published = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(MatrixError::invalid_param("`visibility` must be `public` or `private`")),
    };
    app.rooms.set_published(&user.id, &request.room_id, published).await?;
    Ok(Matrix(set_room_visibility::v3::Response::new()))
}
