//! `GET /_matrix/client/*/rooms/{roomId}/messages`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError, PathArgs, QueryArgs};
use ruma::{
    OwnedRoomId, UInt,
    api::{Direction, client::message::get_message_events},
};
use serde::Deserialize;
use tracing::instrument;

use crate::{
    App,
    rooms::{PageFilter, PageRequest},
};

/// ruma's request, but for `dir`: the specification requires it, and other servers read forward without it.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    from: Option<String>,
    to: Option<String>,
    #[serde(default = "default_direction")]
    dir: Direction,
    #[serde(default = "default_limit")]
    limit: UInt,
    #[serde(default, deserialize_with = "ruma::serde::json_string::deserialize")]
    filter: PageFilter,
}

#[instrument(name = "http.client.get_message_events", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<Matrix<get_message_events::v3::Response>, MatrixError> {
    query.filter.check()?;
    let page = PageRequest {
        room_id: &room_id,
        direction: query.dir,
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        limit: query.limit.into(),
        filter: &query.filter,
    };
    Ok(Matrix(app.rooms.page(&user, page).await?))
}

fn default_direction() -> Direction {
    Direction::Forward
}

fn default_limit() -> UInt {
    UInt::from(10_u32)
}
