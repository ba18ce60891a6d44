//! `POST /_matrix/client/*/join/{roomIdOrAlias}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError, PathArgs, QueryArgs};
use ruma::{OwnedRoomOrAliasId, api::client::membership::join_room_by_id_or_alias};
use tracing::instrument;

use super::{join_body::JoinBody, via::Via};
use crate::App;

#[instrument(name = "http.client.join_room_by_id_or_alias", skip_all, fields(room = %room))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room,)): PathArgs<(OwnedRoomOrAliasId,)>,
    QueryArgs(query): QueryArgs<Via>,
    body: JoinBody,
) -> Result<Matrix<join_room_by_id_or_alias::v3::Response>, MatrixError> {
    let mut via = query.servers();
    let room_id = app.rooms.room_of(&room, &mut via).await?;
    app.rooms.join(&user, &room_id, &via, body).await?;
    Ok(Matrix(join_room_by_id_or_alias::v3::Response::new(room_id)))
}
