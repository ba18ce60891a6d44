//! `GET /_matrix/federation/v1/openid/userinfo`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo)

use axum::extract::State;
use http::StatusCode;
use plexus_matrix_http::{JsonObject, MatrixError, QueryArgs};
use plexus_proto::{common::v1::ErrorReason, user::v1::GetAccountRequest};
use plexus_s2s::now_ms;
use plexus_service::refusal::reason_of;
use serde::Deserialize;
use serde_json::json;
use tracing::instrument;

use crate::{
    Federation, openid,
    upstream::{self, timed},
};

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    access_token: Option<String>,
}

/// Answers anybody: whoever has the token was given it by the user.
#[instrument(name = "http.server.get_openid_userinfo", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    QueryArgs(args): QueryArgs<Args>,
) -> Result<JsonObject, MatrixError> {
    let refused = |errcode, why| MatrixError::new(StatusCode::UNAUTHORIZED, errcode, why);
    let unknown = || refused("M_UNKNOWN_TOKEN", "Access token unknown or expired");
    let token = args.access_token.ok_or_else(|| refused("M_MISSING_TOKEN", "Access token missing"))?;
    let user_id = openid::read(&federation.key, &token, now_ms()).ok_or_else(unknown)?;
    let request = GetAccountRequest { user_id: user_id.to_string() };
    match upstream::users(&federation.rooms).get_account(timed(request)).await {
        Ok(account) if !account.get_ref().deactivated => JsonObject::of(&json!({ "sub": user_id })),
        Ok(_) => Err(unknown()),
        Err(status) if reason_of(&status) == Some(ErrorReason::NotFound) => Err(unknown()),
        Err(status) => Err(status.into()),
    }
}
