//! The client by which a bucket is reached: hyper and rustls, as everywhere here.

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use plexus_outbound::{AddressPolicy, ConnectError, Dialer, Dns, tls, wire::Wire};
use tokio::time::timeout;

use crate::StoreError;

/// How long connections are kept for the next request, and how long the head of an answer may take.
const IDLE: Duration = Duration::from_secs(30);
const HEAD: Duration = Duration::from_secs(60);

/// Connects to the service that operators have named: its address may be private.
#[derive(Clone)]
pub(super) struct Connector {
    dialer: Dialer,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(ca_files: &[PathBuf]) -> Result<Self, StoreError> {
        let config = |error: &dyn std::fmt::Display| StoreError::Config(error.to_string());
        let none: &[&str] = &[];
        let policy = AddressPolicy::new(none, none).map_err(|error| config(&error))?;
        let dns = Dns::new(&[]).map_err(|error| config(&error))?;
        let tls = tls::client(ca_files).map_err(|error| config(&error))?;
        Ok(Self { dialer: Dialer::new(policy, Arc::new(dns), tls) })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(self.clone());
        Ok(HttpClient::new(Service { client }))
    }
}

impl tower::Service<http::Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let dialer = self.dialer.clone();
        Box::pin(async move {
            let secure = uri.scheme_str() != Some("http");
            let host = uri.host().unwrap_or_default();
            let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let addresses = dialer.resolve(host).await?;
            let addresses: Vec<SocketAddr> =
                addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
            let stream = dialer.connect(&addresses).await?;
            if !secure {
                return Ok(Wire::new(stream, false));
            }
            let (stream, is_h2) = dialer.secure(stream, host).await?;
            Ok(Wire::new(stream, is_h2))
        })
    }
}

#[derive(Debug)]
struct Service {
    client: Client<Connector, HttpRequestBody>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = timeout(HEAD, self.client.request(request)).await;
        let answered = answered.map_err(|error| HttpError::new(HttpErrorKind::Timeout, error))?;
        let response = answered.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
            HttpError::new(kind, error)
        })?;
        let body = |error: hyper::Error| HttpError::new(HttpErrorKind::Interrupted, error);
        Ok(response.map(|read| HttpResponseBody::new(read.map_err(body))))
    }
}
