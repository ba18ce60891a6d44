//! `PUT /_matrix/client/*/directory/room/{roomAlias}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directoryroomroomalias)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::alias::create_alias;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.create_alias", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<create_alias::v3::Request>,
) -> Result<Matrix<create_alias::v3::Response>, MatrixError> {
    user.not_guest()?;
    app.rooms.set_alias(&user.id, &request.room_alias, &request.room_id).await?;
    Ok(Matrix(create_alias::v3::Response::new()))
}
