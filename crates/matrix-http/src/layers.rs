//! Layers around every handler of the client-server API, in order.

use std::{any::Any, time::Duration, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
};
use http::{Method, StatusCode, header};
use plexus_service::TraceContext;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any as AnyOrigin, CorsLayer},
};
use tracing::Instrument as _;

use crate::{MatrixError, metrics as names};

/// Puts the layers around the routes of a client-facing listener, and the answers for what is not routed.
///
/// Call it once, on all routes of the listener: a process that serves several services merges their routes first.
/// From the outside in:
/// 1. CORS, as the specification wants it; it answers all `OPTIONS` itself.
/// 2. A span and metrics, by route; the span goes on with the trace of the request, or begins one. A response that a panic caused is counted too.
/// 3. A panic becomes 500 `M_UNKNOWN`.
///
/// What a route lets in is said by its [`Policy`](crate::Policy).
/// What is not routed is answered with 404 `M_UNRECOGNIZED`, a method that a path does not know with 405.
pub fn apply_layers(router: Router) -> Router {
    apply_server_layers(router).layer(cors())
}

/// The same for a listener of other servers, whose requests no browser makes: without CORS.
pub fn apply_server_layers(router: Router) -> Router {
    names::describe();
    router
        .fallback(async || MatrixError::unrecognized())
        .method_not_allowed_fallback(async || MatrixError::wrong_method())
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(from_fn(observe))
}

/// The headers that the specification demands on every response.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AnyOrigin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS])
        .allow_headers([
            header::HeaderName::from_static("x-requested-with"),
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
        ])
        .max_age(Duration::from_secs(24 * 60 * 60))
}

fn answer_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)");
    tracing::error!(panic = message, "handler panicked");
    MatrixError::internal().into_response()
}

async fn observe(request: Request, next: Next) -> Response {
    let route =
        request.extensions().get::<MatchedPath>().map_or("unmatched", |path| path.as_str()).to_owned();
    let method = method_label(request.method());
    let trace = TraceContext::of_request(request.headers());
    let span =
        tracing::info_span!("http", http.method = method, http.route = route, trace_id = %trace.trace_id());
    let start = Instant::now();
    let answered = async {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "request answered");
        response
    };
    let response = trace.scope(answered.instrument(span)).await;
    metrics::histogram!(names::DURATION, "route" => route.clone(), "method" => method)
        .record(start.elapsed().as_secs_f64());
    let class = status_class(response.status());
    metrics::counter!(names::REQUESTS, "route" => route, "method" => method, "status" => class).increment(1);
    response
}

/// A closed set: clients may send any token as a method.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests;
