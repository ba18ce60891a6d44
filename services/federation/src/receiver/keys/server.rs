//! `GET /_matrix/key/v2/server`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server)

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::header;
use plexus_s2s::now_ms;

use crate::Federation;

/// Answers with the bytes that were signed.
pub(crate) async fn handler(State(federation): State<Federation>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], federation.own_keys.answer(now_ms())).into_response()
}
