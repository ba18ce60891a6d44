//! `GET /_matrix/client/*/sync`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync)

mod answer;
mod context;
mod device_lists;
mod effort;
mod ephemeral;
mod erasure;
pub(crate) mod events;
mod fields;
mod filter;
mod inbox;
mod invited;
mod joined;
mod key_counts;
mod lazy;
mod left;
pub(crate) mod notifications;
mod out_of_band;
mod params;
mod peek;
mod relations;
mod response;
pub(crate) mod sliding;
mod state;
mod timeline;
mod unread;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use plexus_matrix_http::{AuthedUser, MatrixError, QueryArgs};
use tracing::instrument;

pub(crate) use effort::Effort;
pub(crate) use filter::Filters;
pub(crate) use lazy::LazyMembers;

use crate::SyncService;

/// What an answer that tells everything costs of the limit of reads, beside what each request does.
const INITIAL_COST: u32 = 19;

#[instrument(name = "http.client.sync", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(service): State<SyncService>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<params::Query>,
) -> Result<Response, MatrixError> {
    let request = params::Request::read(&service, &user, query).await?;
    // An answer that tells everything is dear; one that tells news is not, and may wait for them.
    let turn = match request.since {
        Some(_) if !request.full_state => None,
        _ => Some(service.edge.expensive_read(&request.user, INITIAL_COST).await?),
    };
    let answer = answer::answer(&service, &request).await?;
    let mut body = Vec::with_capacity(answer.weight());
    serde_json::to_writer(&mut body, &answer).map_err(not_encoded)?;
    drop((answer, turn));
    Ok(json(body))
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// For `map_err`, which hands the error over.
#[expect(clippy::needless_pass_by_value, reason = "map_err hands the error over")]
fn not_encoded(error: serde_json::Error) -> MatrixError {
    tracing::error!(%error, "answer could not be encoded");
    MatrixError::internal()
}
