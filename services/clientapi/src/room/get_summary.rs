//! `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias)

use axum::extract::State;
use plexus_matrix_http::{JsonObject, Matrix, MatrixError, OptionalUser};
use ruma::api::client::room::get_summary;
use tracing::instrument;

use crate::App;

/// Answers anybody about rooms that are open to anybody. Who has signed in is told of rooms of other servers, too.
#[instrument(name = "http.client.get_summary", skip_all, fields(room = %request.room_id_or_alias))]
pub(crate) async fn handler(
    State(app): State<App>,
    OptionalUser(user): OptionalUser,
    Matrix(request): Matrix<get_summary::v1::Request>,
) -> Result<JsonObject, MatrixError> {
    let mut via = request.via;
    let room_id = app.rooms.room_of(&request.room_id_or_alias, &mut via).await?;
    JsonObject::of(&app.rooms.summary(user.as_ref(), &room_id, via).await?)
}
