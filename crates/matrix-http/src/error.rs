//! The one error of everything that answers clients.

mod reason;

use std::{borrow::Cow, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

pub use reason::reason_error;

/// What a client is told when a request fails: a status and the standard error body.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{status} {}: {error}", errcode.unwrap_or("(no errcode)"))]
pub struct MatrixError {
    /// HTTP status.
    pub status: StatusCode,
    /// `errcode`; without one, the body has neither `errcode` nor `error` (only in user-interactive authentication).
    pub errcode: Option<&'static str>,
    /// `error`: for people.
    pub error: Cow<'static, str>,
    /// Further keys of the body, such as `retry_after_ms` and `soft_logout`.
    pub extra: Map<String, Value>,
}

impl MatrixError {
    /// Makes an error from its parts.
    pub fn new(status: StatusCode, errcode: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        Self { status, errcode: Some(errcode), error: error.into(), extra: Map::new() }
    }

    /// Adds a key to the body.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    /// 401 with the body of user-interactive authentication; `failure` tells why the last stage failed.
    #[must_use]
    pub fn interactive(body: Map<String, Value>, failure: Option<(&'static str, Cow<'static, str>)>) -> Self {
        let (errcode, error) = match failure {
            Some((errcode, error)) => (Some(errcode), error),
            None => (None, Cow::Borrowed("further authentication is needed")),
        };
        Self { status: StatusCode::UNAUTHORIZED, errcode, error, extra: body }
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", error)
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", error)
    }

    /// 404 `M_UNRECOGNIZED`: there is no such endpoint.
    #[must_use]
    pub fn unrecognized() -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "Unrecognized request")
    }

    /// 405 `M_UNRECOGNIZED`: the endpoint knows other methods.
    #[must_use]
    pub fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "Method not allowed on this endpoint")
    }

    /// 401 `M_MISSING_TOKEN`.
    #[must_use]
    pub fn missing_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN", "Missing access token")
    }

    /// 401 `M_UNKNOWN_TOKEN`; with `soft_logout` the session lives on and may be revived.
    #[must_use]
    pub fn unknown_token(soft_logout: bool) -> Self {
        let error = if soft_logout { "Access token has expired" } else { "Unknown access token" };
        Self::new(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN", error).with("soft_logout", soft_logout)
    }

    /// 429 `M_LIMIT_EXCEEDED`, also with the header `Retry-After`.
    #[must_use]
    pub fn limit_exceeded(retry_after: Duration) -> Self {
        // At least 1, so that no client takes it for "at once".
        let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX).max(1);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", "Too many requests")
            .with("retry_after_ms", millis)
    }

    /// 503 `M_LIMIT_EXCEEDED`: the process has too much under way, whoever asks.
    #[must_use]
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED", "The server has too much to do")
            .with("retry_after_ms", 1_000)
    }

    /// 400 `M_NOT_JSON`.
    pub fn not_json(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", error)
    }

    /// 400 `M_BAD_JSON`.
    pub fn bad_json(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", error)
    }

    /// 400 `M_INVALID_PARAM`.
    pub fn invalid_param(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", error)
    }

    /// 400 `M_MISSING_PARAM`.
    pub fn missing_param(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", error)
    }

    /// 400 `M_INCOMPATIBLE_ROOM_VERSION`, with the version of the room.
    #[must_use]
    pub fn incompatible_room_version(version: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "M_INCOMPATIBLE_ROOM_VERSION",
            format!("The room has version {version}, which is not served on both sides"),
        )
        .with("room_version", version)
    }

    /// 400 `M_UNKNOWN`.
    pub fn unknown(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", error)
    }

    /// 413 `M_TOO_LARGE`.
    pub fn too_large(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", error)
    }

    /// 500 `M_UNKNOWN`: our fault; log the cause where it is known.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "Internal server error")
    }

    /// 503 `M_UNKNOWN`: a part of the server is away for the moment.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", "The server is unavailable for the moment")
    }

    /// 504 `M_UNKNOWN`: the answer did not come in time; what was asked may still happen.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "M_UNKNOWN", "The server did not answer in time")
    }

    /// Whether it is this `errcode`.
    #[must_use]
    pub fn is(&self, errcode: &str) -> bool {
        self.errcode == Some(errcode)
    }
}

impl IntoResponse for MatrixError {
    fn into_response(self) -> Response {
        let mut body = self.extra;
        let retry_after = body.get("retry_after_ms").and_then(Value::as_u64);
        if let Some(errcode) = self.errcode {
            body.insert("errcode".to_owned(), Value::from(errcode));
            body.insert("error".to_owned(), Value::from(self.error.into_owned()));
        }
        let content_type = HeaderValue::from_static("application/json");
        let body = Value::Object(body).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        if let Some(millis) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn limits_tell_when_to_come_back() {
        let response = MatrixError::limit_exceeded(Duration::from_millis(1200)).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errcode"], "M_LIMIT_EXCEEDED");
        assert_eq!(body["retry_after_ms"], 1200);
    }

    #[tokio::test]
    async fn first_answer_of_interactive_authentication_has_no_errcode() {
        let mut body = Map::new();
        body.insert("session".to_owned(), Value::from("s"));
        let response = MatrixError::interactive(body, None).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        assert_eq!(&body[..], br#"{"session":"s"}"#);
    }
}
