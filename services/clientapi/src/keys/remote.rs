//! Keys of users of other servers: asked for by the federation service.

use std::collections::BTreeMap;

use plexus_proto::{
    federation::v1::{
        ClaimKeysRequest, QueryKeysRequest, ServerFailure, UserClaimed, UserClaims,
        outbound_service_client::OutboundServiceClient,
    },
    user::v1::{UserKeys, WantedKeys},
};
use plexus_service::RpcChannel;
use ruma::UserId;
use tonic::Status;

use crate::App;

/// Servers that could not be asked, with why.
pub(super) type Failures = BTreeMap<String, String>;

type Outbound = OutboundServiceClient<RpcChannel>;

/// Asks other servers for keys of their users.
pub(super) async fn query(
    app: &App,
    users: Vec<WantedKeys>,
    timeout_ms: u32,
    failures: &mut Failures,
) -> Vec<UserKeys> {
    let servers = users.iter().filter_map(|user| server_of(&user.user_id)).collect();
    let question = async |mut outbound: Outbound| {
        let answer = outbound.query_keys(QueryKeysRequest { users, timeout_ms }).await?.into_inner();
        Ok((answer.users, answer.failures))
    };
    ask(app, servers, failures, question).await
}

/// Claims one-time keys of users of other servers.
pub(super) async fn claim(
    app: &App,
    users: Vec<UserClaims>,
    timeout_ms: u32,
    failures: &mut Failures,
) -> Vec<UserClaimed> {
    let servers = users.iter().filter_map(|user| server_of(&user.user_id)).collect();
    let question = async |mut outbound: Outbound| {
        let answer = outbound.claim_keys(ClaimKeysRequest { users, timeout_ms }).await?.into_inner();
        Ok((answer.users, answer.failures))
    };
    ask(app, servers, failures, question).await
}

/// Asks about users of these servers, if there are any. Without an answer all the servers have failed.
async fn ask<T>(
    app: &App,
    servers: Vec<String>,
    failures: &mut Failures,
    question: impl AsyncFnOnce(Outbound) -> Result<(Vec<T>, Vec<ServerFailure>), Status>,
) -> Vec<T> {
    if servers.is_empty() {
        return Vec::new();
    }
    let Some(outbound) = app.outbound.clone() else {
        fail(failures, servers, "This server does not federate");
        return Vec::new();
    };
    match question(outbound).await {
        Ok((users, failed)) => {
            failures.extend(failed.into_iter().map(|failure| (failure.server, failure.message)));
            users
        }
        Err(status) => {
            tracing::warn!(%status, "other servers cannot be asked for keys");
            fail(failures, servers, "Other servers cannot be asked at present");
            Vec::new()
        }
    }
}

fn server_of(user_id: &str) -> Option<String> {
    <&UserId>::try_from(user_id).ok().map(|user| user.server_name().to_string())
}

fn fail(failures: &mut Failures, servers: Vec<String>, why: &str) {
    failures.extend(servers.into_iter().map(|server| (server, why.to_owned())));
}
