//! `POST /_matrix/client/*/join/{roomIdOrAlias}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::membership::join_room_by_id_or_alias;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.join_room_by_id_or_alias", skip_all, fields(room = %request.room_id_or_alias))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<join_room_by_id_or_alias::v3::Request>,
) -> Result<Matrix<join_room_by_id_or_alias::v3::Response>, MatrixError> {
    app.limits.check_join(&user.id)?;
    let room_id = app.rooms.room_of(&request.room_id_or_alias).await?;
    let signed = request.third_party_signed.as_ref();
    app.rooms.join(&user, &room_id, request.reason.as_deref(), signed).await?;
    Ok(Matrix(join_room_by_id_or_alias::v3::Response::new(room_id)))
}
