//! What clients ask for when they begin and this server does not have: third-party networks, relays for calls, push
//! gateways, identifiers of other kinds. Each answer says that there is none, which is true as long as nobody can add one.

use axum::{
    Router,
    routing::{get, post},
};
use http::StatusCode;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError};
use serde_json::json;

use crate::{App, routes::ClientRoutes};

/// The routes of this file.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .client("/thirdparty/protocols", get(nothing))
        .client("/thirdparty/protocol/{protocol}", get(no_protocol))
        .client("/voip/turnServer", get(nothing))
        .client("/pushers", get(no_pushers))
        .client("/account/3pid", get(no_identifiers))
        .client("/account/3pid/email/requestToken", post(identifiers_denied))
        .client("/account/3pid/msisdn/requestToken", post(identifiers_denied))
        .client("/account/password/email/requestToken", post(identifiers_denied))
        .client("/account/password/msisdn/requestToken", post(identifiers_denied))
        .client("/register/email/requestToken", post(identifiers_denied))
        .client("/register/msisdn/requestToken", post(identifiers_denied))
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
