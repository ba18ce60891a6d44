//! Channels between services.

mod any;
mod dialer;
mod room_servers;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tonic::{body::Body, codegen::Service};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

pub use dialer::{Dialer, DialerError};
pub use room_servers::{RoomServers, RoomServersError};

use crate::{Token, TraceContext, trace::TRACEPARENT};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A channel to a service: over the network, or straight into the same process.
///
/// Generated clients take it as their transport: `RoomQueryServiceClient::new(channel.clone())`.
#[derive(Clone)]
pub struct RpcChannel {
    inner: BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>,
    address: Arc<str>,
    authorization: Option<http::HeaderValue>,
}

impl RpcChannel {
    /// Calls the service in this process, without a socket.
    pub fn in_process(routes: tonic::service::Routes) -> Self {
        let routes = routes.prepare();
        Self {
            inner: BoxCloneSyncService::new(tower::ServiceExt::<http::Request<Body>>::map_err(
                routes,
                Into::into,
            )),
            address: Arc::from("in-process"),
            authorization: None,
        }
    }

    /// Calls the service at `http://host:port`, showing nothing; connects when first used, and again after it was away.
    pub fn connect(address: &str) -> Result<Self, tonic::transport::Error> {
        Ok(Self::through(endpoint(address)?.connect_lazy(), address))
    }

    fn through(channel: tonic::transport::Channel, address: &str) -> Self {
        let inner = BoxCloneSyncService::new(channel.map_err(Into::into));
        Self { inner, address: Arc::from(address), authorization: None }
    }

    /// Calls any of several instances of a service, whichever answers; for calls that every instance can answer and
    /// that are harmless to repeat.
    fn any(channels: Vec<tonic::transport::Channel>, addresses: &[impl AsRef<str>]) -> Self {
        let address = addresses.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
        let inner = BoxCloneSyncService::new(any::AnyOf::new(channels));
        Self { inner, address: Arc::from(address), authorization: None }
    }

    /// Shows a token with every call.
    #[must_use]
    pub fn with_token(mut self, token: &Token) -> Self {
        // Tokens are visible ASCII, which a header can hold.
        self.authorization = http::HeaderValue::from_str(&format!("Bearer {}", token.as_str()))
            .inspect_err(|error| tracing::error!(%error, "a token fits into no header"))
            .ok()
            .map(|mut value| {
                value.set_sensitive(true);
                value
            });
        self
    }

    /// Where it leads, for logs.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

fn endpoint(address: &str) -> Result<tonic::transport::Endpoint, tonic::transport::Error> {
    Ok(tonic::transport::Endpoint::from_shared(address.to_owned())?
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .http2_adaptive_window(true)
        .keep_alive_while_idle(true)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2)))
}

impl std::fmt::Debug for RpcChannel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RpcChannel").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Service<http::Request<Body>> for RpcChannel {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(http::header::AUTHORIZATION, authorization.clone());
        }
        if TraceContext::current().is_some()
            && let Ok(traceparent) = http::HeaderValue::from_str(&TraceContext::next_step().to_string())
        {
            request.headers_mut().insert(TRACEPARENT, traceparent);
        }
        self.inner.call(request)
    }
}
