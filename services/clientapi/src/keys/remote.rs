//! Keys of users of other servers: asked for by the federation service.

use std::collections::BTreeMap;

use plexus_proto::{
    federation::v1::{ClaimKeysRequest, QueryKeysRequest, ServerFailure, UserClaimed, UserClaims},
    user::v1::{UserKeys, WantedKeys},
};
use ruma::UserId;
use tonic::Status;

use crate::App;

/// Servers that could not be asked, with why.
pub(super) type Failures = BTreeMap<String, String>;

/// Asks other servers for keys of their users.
pub(super) async fn query(
    app: &App,
    users: Vec<WantedKeys>,
    timeout_ms: u32,
    failures: &mut Failures,
) -> Vec<UserKeys> {
    if users.is_empty() {
        return Vec::new();
    }
    let servers: Vec<String> = users.iter().filter_map(|user| server_of(&user.user_id)).collect();
    let Some(mut outbound) = app.outbound.clone() else {
        fail(failures, servers, "This server does not federate");
        return Vec::new();
    };
    match outbound.query_keys(QueryKeysRequest { users, timeout_ms }).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            add(failures, answer.failures);
            answer.users
        }
        Err(status) => {
            unavailable(failures, servers, &status);
            Vec::new()
        }
    }
}

/// Claims one-time keys of users of other servers.
pub(super) async fn claim(
    app: &App,
    users: Vec<UserClaims>,
    timeout_ms: u32,
    failures: &mut Failures,
) -> Vec<UserClaimed> {
    if users.is_empty() {
        return Vec::new();
    }
    let servers: Vec<String> = users.iter().filter_map(|user| server_of(&user.user_id)).collect();
    let Some(mut outbound) = app.outbound.clone() else {
        fail(failures, servers, "This server does not federate");
        return Vec::new();
    };
    match outbound.claim_keys(ClaimKeysRequest { users, timeout_ms }).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            add(failures, answer.failures);
            answer.users
        }
        Err(status) => {
            unavailable(failures, servers, &status);
            Vec::new()
        }
    }
}

fn server_of(user_id: &str) -> Option<String> {
    <&UserId>::try_from(user_id).ok().map(|user| user.server_name().to_string())
}

fn add(failures: &mut Failures, more: Vec<ServerFailure>) {
    failures.extend(more.into_iter().map(|failure| (failure.server, failure.message)));
}

fn fail(failures: &mut Failures, servers: Vec<String>, why: &str) {
    failures.extend(servers.into_iter().map(|server| (server, why.to_owned())));
}

fn unavailable(failures: &mut Failures, servers: Vec<String>, status: &Status) {
    tracing::warn!(%status, "other servers cannot be asked for keys");
    fail(failures, servers, "Other servers cannot be asked at present");
}
