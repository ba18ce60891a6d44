//! `GET /_matrix/key/v2/query/{serverName}` and `POST /_matrix/key/v2/query`: as a notary.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2queryservername)
//!
//! Anybody may ask, and makes us ask others: so few names at a time, few at once, and no server is asked again that gave
//! no answer lately ([`plexus_s2s::KeyRing`]). A server that is gone is answered for by its last word.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use http::header;
use plexus_events::canonical;
use plexus_matrix_http::{Json, MatrixError, PathArgs, QueryArgs};
use plexus_s2s::{name::parse_server_name, now_ms};
use ruma::OwnedServerName;
use serde::Deserialize;
use tracing::{debug, instrument};

use crate::{Federation, receiver};

/// Most servers of one request.
const MAX_SERVERS: usize = 50;
/// Servers of one request that are asked at the same time.
const AT_ONCE: usize = 8;

#[derive(Debug, Deserialize)]
pub(crate) struct Criteria {
    minimum_valid_until_ts: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    server_keys: BTreeMap<String, BTreeMap<String, Criteria>>,
}

#[instrument(name = "http.server.get_remote_server_keys", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs(path): PathArgs<Vec<String>>,
    QueryArgs(criteria): QueryArgs<Criteria>,
) -> Result<Response, MatrixError> {
    let server = path.first().map(String::as_str).unwrap_or_default();
    let server = parse_server_name(server).map_err(|error| MatrixError::invalid_param(error.to_string()))?;
    let until = criteria.minimum_valid_until_ts.unwrap_or_else(now_ms);
    answer(&federation, vec![(server, until)]).await
}

#[instrument(name = "http.server.get_remote_server_keys_batch", skip_all)]
pub(crate) async fn batch_handler(
    State(federation): State<Federation>,
    Json(batch): Json<Batch>,
) -> Result<Response, MatrixError> {
    if batch.server_keys.len() > MAX_SERVERS {
        return Err(MatrixError::invalid_param(format!("More than {MAX_SERVERS} servers")));
    }
    let now = now_ms();
    let mut wanted = Vec::with_capacity(batch.server_keys.len());
    for (server, keys) in batch.server_keys {
        let Ok(server) = parse_server_name(&server) else { continue };
        let until = keys.values().map(|criteria| criteria.minimum_valid_until_ts.unwrap_or(now)).max();
        wanted.push((server, until.unwrap_or(now)));
    }
    answer(&federation, wanted).await
}

async fn answer(
    federation: &Federation,
    wanted: Vec<(OwnedServerName, i64)>,
) -> Result<Response, MatrixError> {
    let _turn = federation.quotas.take::<receiver::Keys>().await?;
    let answers: Vec<Option<Vec<u8>>> = stream::iter(wanted)
        .map(|(server, until)| async move { keys_of(federation, server, until).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    // What was signed is passed on as it was.
    let mut body = b"{\"server_keys\":[".to_vec();
    for (index, answer) in answers.into_iter().flatten().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&answer);
    }
    body.extend_from_slice(b"]}");
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The last word of a server, with our signature beside its own.
async fn keys_of(federation: &Federation, server: OwnedServerName, until: i64) -> Option<Vec<u8>> {
    if *server == *federation.own_keys.name() {
        return Some(federation.own_keys.answer(now_ms()).to_vec());
    }
    match federation.keys.get(&server, until).await {
        Ok(keys) if keys.response.is_empty() => None,
        Ok(keys) => {
            let mut object = canonical::parse_object(&keys.response).ok()?;
            federation.own_keys.countersign(&mut object);
            Some(canonical::object_to_vec(&object))
        }
        Err(error) => {
            debug!(%server, %error, "no keys to pass on");
            None
        }
    }
}
