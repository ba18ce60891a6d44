//! Guards gRPC listeners: admits callers by token and protocol.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Version, header};
use subtle::ConstantTimeEq as _;
use tonic::Status;

use crate::token::Token;

/// Lets only gRPC over HTTP/2 through, and of that only calls that show the token.
///
/// Web pages cannot speak HTTP/2 to a listener without TLS, nor send the content type of gRPC to another origin unasked;
/// and what a browser sends elsewhere names its `Origin`. So no page gets through, whoever reads its user's files.
pub(super) fn guard(router: Router, token: &Token) -> Router {
    let expected: Arc<str> = Arc::from(format!("Bearer {}", token.as_str()));
    router.layer(middleware::from_fn_with_state(expected, check))
}

async fn check(State(expected): State<Arc<str>>, request: Request, next: Next) -> Response {
    if let Err(refused) = is_grpc(request.version(), request.headers()) {
        return refused.into_response();
    }
    let shown = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    if bool::from(shown.ct_eq(expected.as_bytes())) {
        return next.run(request).await;
    }
    let status = Status::unauthenticated("this call needs `authorization: Bearer <token of this listener>`");
    status.into_http::<axum::body::Body>().into_response()
}

fn is_grpc(version: Version, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    if version != Version::HTTP_2 {
        return Err((StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC is spoken here, over HTTP/2\n"));
    }
    if headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "web pages may not call\n"));
    }
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    match kind.strip_prefix(b"application/grpc") {
        Some([] | [b'+' | b';', ..]) => Ok(()),
        Some(_) | None => Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "gRPC is spoken here\n")),
    }
}
