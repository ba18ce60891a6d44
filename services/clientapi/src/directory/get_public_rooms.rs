//! `GET /_matrix/client/*/publicRooms`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3publicrooms)

use axum::extract::State;
use plexus_matrix_http::{JsonObject, Matrix, MatrixError};
use ruma::api::client::directory::get_public_rooms;
use tracing::instrument;

use crate::{App, rooms::DirectoryRequest};

#[instrument(name = "http.client.get_public_rooms", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    Matrix(request): Matrix<get_public_rooms::v3::Request>,
) -> Result<JsonObject, MatrixError> {
    let asked = DirectoryRequest {
        server: request.server.as_deref(),
        limit: request.limit.map(u64::from),
        since: request.since.as_deref(),
        ..DirectoryRequest::default()
    };
    JsonObject::of(&app.rooms.public_rooms(asked).await?)
}
