//! `POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync` and `POST /_matrix/client/v4/sync`
//! [Proposal](https://github.com/matrix-org/matrix-spec-proposals/pull/4186)
//!
//! Both dialects are read into one request, and one answer is written in both. What a connection was told is in its
//! position alone ([`pos`]); [`plan`] decides from it which rooms an answer tells.

mod answer;
mod extensions;
mod lists;
mod plan;
mod pos;
#[cfg(test)]
pub(crate) mod random;
mod request;
mod response;
mod section;

use axum::{extract::State, response::Response};
use plexus_matrix_http::{AuthedUser, Json, MatrixError, QueryArgs};
use tracing::instrument;

use request::{Request, deployed, merged};
use response::Dialect;

pub(crate) use pos::Bounds;

use super::{INITIAL_COST, json, not_encoded};
use crate::SyncService;

#[instrument(name = "http.client.sliding_sync", skip_all, fields(user.id = %user.id))]
pub(crate) async fn deployed(
    State(service): State<SyncService>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<deployed::Query>,
    Json(body): Json<deployed::Body>,
) -> Result<Response, MatrixError> {
    respond(&service, &user, &body.request(query).checked()?, Dialect::Deployed).await
}

#[instrument(name = "http.client.sync_v4", skip_all, fields(user.id = %user.id))]
pub(crate) async fn merged(
    State(service): State<SyncService>,
    user: AuthedUser,
    Json(body): Json<merged::Body>,
) -> Result<Response, MatrixError> {
    respond(&service, &user, &body.request().checked()?, Dialect::Merged).await
}

async fn respond(
    service: &SyncService,
    user: &AuthedUser,
    request: &Request,
    dialect: Dialect,
) -> Result<Response, MatrixError> {
    // A connection that begins is dear; one that goes on is not, and may wait for news.
    let turn = match request.pos {
        Some(_) => None,
        None => Some(service.edge.expensive_read(user, INITIAL_COST).await?),
    };
    let answer = answer::answer(service, user, request).await?;
    let body = answer.write(dialect).map_err(not_encoded)?;
    drop((answer, turn));
    Ok(json(body))
}
