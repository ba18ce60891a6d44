//! The token that services show each other.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use subtle::ConstantTimeEq as _;
use tonic::Status;

use crate::config::RpcConfig;

/// Lets only calls with the token through, if there is one.
pub(super) fn guard(router: Router, rpc: &RpcConfig) -> Router {
    if rpc.token.is_empty() {
        return router;
    }
    let expected: Arc<str> = Arc::from(format!("Bearer {}", rpc.token));
    router.layer(middleware::from_fn_with_state(expected, check))
}

async fn check(State(expected): State<Arc<str>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(http::header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    if bool::from(shown.ct_eq(expected.as_bytes())) {
        return next.run(request).await;
    }
    let status: Status = Status::unauthenticated("this call needs `authorization: Bearer <token of [rpc]>`");
    status.into_http::<axum::body::Body>().into_response()
}
