//! Answers for features that this server does not have: third-party networks, relays for calls, push gateways, presence,
//! identifiers of other kinds. Each answer says that there is none, which is true as long as nobody can add one.

use http::StatusCode;
use plexus_matrix_http::{
    AuthedUser, JsonObject, MatrixError, PathArgs, Policy, Routes, UserLimit, get, post,
};
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::json;

use crate::{App, account, routes::ClientRoutes};

const READ: Policy = Policy::read(1);
const CHANGE: Policy = Policy::change(UserLimit::Other);
const NOBODY: Policy = Policy::login();

/// The routes of this file.
pub(crate) fn routes(routes: Routes<App>) -> Routes<App> {
    routes
        .client("/thirdparty/protocols", get(READ, nothing))
        .client("/thirdparty/protocol/{protocol}", get(READ, no_protocol))
        .client("/thirdparty/location", get(READ, no_mapping))
        .client("/thirdparty/location/{protocol}", get(READ, no_protocol))
        .client("/thirdparty/user", get(READ, no_mapping))
        .client("/thirdparty/user/{protocol}", get(READ, no_protocol))
        .client("/voip/turnServer", get(READ, nothing))
        .client("/pushers", get(READ, no_pushers))
        .client("/presence/{user_id}/status", get(READ, offline).put(CHANGE, keep_presence))
        .client("/account/3pid", get(READ, no_identifiers).post(CHANGE, identifiers_fixed))
        .client("/account/3pid/add", post(CHANGE, identifiers_fixed))
        .client("/account/3pid/bind", post(CHANGE, identifiers_fixed))
        .client("/account/3pid/delete", post(CHANGE, without_identifier))
        .client("/account/3pid/unbind", post(CHANGE, without_identifier))
        .client("/account/3pid/email/requestToken", post(NOBODY, identifiers_denied))
        .client("/account/3pid/msisdn/requestToken", post(NOBODY, identifiers_denied))
        .client("/account/password/email/requestToken", post(NOBODY, identifiers_denied))
        .client("/account/password/msisdn/requestToken", post(NOBODY, identifiers_denied))
        .client("/register/email/requestToken", post(NOBODY, identifiers_denied))
        .client("/register/msisdn/requestToken", post(NOBODY, identifiers_denied))
}

/// `GET /thirdparty/protocols` and `GET /voip/turnServer`
async fn nothing(_: AuthedUser) -> JsonObject {
    JsonObject::empty()
}

/// `GET /thirdparty/{protocol,location,user}/{protocol}`
async fn no_protocol(_: AuthedUser) -> MatrixError {
    MatrixError::not_found("There is no such protocol here")
}

/// `GET /thirdparty/{location,user}`
async fn no_mapping(_: AuthedUser) -> MatrixError {
    MatrixError::not_found("There are no networks beside Matrix here")
}

/// `GET /pushers`
async fn no_pushers(_: AuthedUser) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&json!({ "pushers": [] }))
}

/// `GET /presence/{userId}/status`: nobody is ever seen to be online.
async fn offline(_: AuthedUser, _: PathArgs<(OwnedUserId,)>) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&json!({ "presence": "offline" }))
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Online,
    Offline,
    Unavailable,
}

#[derive(Deserialize)]
struct Presence {
    #[serde(rename = "presence")]
    _presence: State,
    #[serde(rename = "status_msg", default)]
    _status_msg: Option<String>,
}

/// `PUT /presence/{userId}/status`: checked, and told to nobody.
async fn keep_presence(
    user: AuthedUser,
    PathArgs((user_id,)): PathArgs<(OwnedUserId,)>,
    body: JsonObject,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    body.read::<Presence>()?;
    Ok(JsonObject::empty())
}

/// `GET /account/3pid`
async fn no_identifiers(_: AuthedUser) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&json!({ "threepids": [] }))
}

/// `POST /account/3pid`, `POST /account/3pid/{add,bind}`: the capability `m.3pid_changes` says so, too.
async fn identifiers_fixed(_: AuthedUser, _: JsonObject) -> MatrixError {
    MatrixError::forbidden("This server knows its users by their names alone")
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(rename = "medium")]
    _medium: String,
    #[serde(rename = "address")]
    _address: String,
}

/// `POST /account/3pid/{delete,unbind}`: nobody has one, and no identity server is asked.
async fn without_identifier(_: AuthedUser, body: JsonObject) -> Result<JsonObject, MatrixError> {
    body.read::<Identifier>()?;
    JsonObject::of(&json!({ "id_server_unbind_result": "no-support" }))
}

/// `POST …/requestToken`: this server sends neither mails nor texts.
async fn identifiers_denied(_: JsonObject) -> MatrixError {
    MatrixError::new(
        StatusCode::FORBIDDEN,
        "M_THREEPID_DENIED",
        "This server knows its users by their names alone",
    )
}
