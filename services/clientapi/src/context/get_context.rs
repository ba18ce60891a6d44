//! `GET /_matrix/client/*/rooms/{roomId}/context/{eventId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError, PathArgs, QueryArgs};
use ruma::{OwnedEventId, OwnedRoomId, UInt, api::client::context::get_context};
use serde::Deserialize;
use tracing::instrument;

use crate::{
    App,
    rooms::{ContextRequest, PageFilter},
};

/// ruma's request, with all of the filter.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    #[serde(default = "default_limit")]
    limit: UInt,
    #[serde(default, deserialize_with = "ruma::serde::json_string::deserialize")]
    filter: PageFilter,
}

#[instrument(name = "http.client.get_context", skip_all, fields(room.id = %room_id, event.id = %event_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<Matrix<get_context::v3::Response>, MatrixError> {
    query.filter.check()?;
    let request = ContextRequest {
        room_id: &room_id,
        event_id: &event_id,
        limit: query.limit.into(),
        filter: &query.filter,
    };
    Ok(Matrix(app.rooms.context(&user, request).await?))
}

fn default_limit() -> UInt {
    UInt::from(10_u8)
}
