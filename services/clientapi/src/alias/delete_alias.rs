//! `DELETE /_matrix/client/*/directory/room/{roomAlias}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3directoryroomroomalias)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::alias::delete_alias;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.delete_alias", skip_all, fields(room.alias = %request.room_alias))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<delete_alias::v3::Request>,
) -> Result<Matrix<delete_alias::v3::Response>, MatrixError> {
    user.not_guest()?;
    app.rooms.delete_alias(&user.id, &request.room_alias).await?;
    Ok(Matrix(delete_alias::v3::Response::new()))
}
