//! `GET /_matrix/client/*/directory/room/{roomAlias}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directoryroomroomalias)

use axum::extract::State;
use plexus_matrix_http::{Matrix, MatrixError};
use ruma::api::client::alias::get_alias;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_alias", skip_all, fields(room.alias = %request.room_alias))]
pub(crate) async fn handler(
    State(app): State<App>,
    Matrix(request): Matrix<get_alias::v3::Request>,
) -> Result<Matrix<get_alias::v3::Response>, MatrixError> {
    let (room_id, servers) = app.rooms.find_alias(&request.room_alias).await?;
    Ok(Matrix(get_alias::v3::Response::new(room_id, servers)))
}
