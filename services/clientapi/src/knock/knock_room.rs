//! `POST /_matrix/client/*/knock/{roomIdOrAlias}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::knock::knock_room;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.knock_room", skip_all, fields(room = %request.room_id_or_alias))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<knock_room::v3::Request>,
) -> Result<Matrix<knock_room::v3::Response>, MatrixError> {
    user.not_guest()?;
    let mut via = request.via;
    let room_id = app.rooms.room_of(&request.room_id_or_alias, &mut via).await?;
    app.rooms.knock(&user.id, &room_id, &via, request.reason.as_deref()).await?;
    Ok(Matrix(knock_room::v3::Response::new(room_id)))
}
