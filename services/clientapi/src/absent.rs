//! What clients ask for when they begin and this server does not have: third-party networks, relays for calls, push
//! gateways, identifiers of other kinds. Each answer says that there is none, which is true as long as nobody can add one.

use http::StatusCode;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, Policy, Routes, get, post};
use serde_json::json;

use crate::{App, routes::ClientRoutes};

const READ: Policy = Policy::read(1);
const NOBODY: Policy = Policy::login();

/// The routes of this file.
pub(crate) fn routes(routes: Routes<App>) -> Routes<App> {
    routes
        .client("/thirdparty/protocols", get(READ, nothing))
        .client("/thirdparty/protocol/{protocol}", get(READ, no_protocol))
        .client("/voip/turnServer", get(READ, nothing))
        .client("/pushers", get(READ, no_pushers))
        .client("/account/3pid", get(READ, no_identifiers))
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

/// `GET /thirdparty/protocol/{protocol}`
async fn no_protocol(_: AuthedUser) -> MatrixError {
    MatrixError::not_found("There is no such protocol here")
}

/// `GET /pushers`
async fn no_pushers(_: AuthedUser) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&json!({ "pushers": [] }))
}

/// `GET /account/3pid`
async fn no_identifiers(_: AuthedUser) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&json!({ "threepids": [] }))
}

/// `POST …/requestToken`: this server sends neither mails nor texts.
async fn identifiers_denied(_: JsonObject) -> MatrixError {
    MatrixError::new(
        StatusCode::FORBIDDEN,
        "M_THREEPID_DENIED",
        "This server knows its users by their names alone",
    )
}
