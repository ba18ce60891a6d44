//! Connects to the hosts that speak for servers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use plexus_outbound::{Dialer, wire::Wire};

use super::error::ReachError;
use crate::{DiscoverError, Discovery, PeerName, pool::Slots};

/// Resolves the authority of a URI, which is what the request says in `Host`, and connects by TLS.
#[derive(Clone)]
pub(super) struct PeerConnector {
    pub(super) dialer: Dialer,
    pub(super) discovery: Discovery,
    pub(super) slots: Slots,
}

impl tower::Service<Uri> for PeerConnector {
    type Response = TokioIo<Wire>;
    type Error = ReachError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ReachError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReachError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await })
    }
}

impl PeerConnector {
    async fn connect(&self, uri: &Uri) -> Result<TokioIo<Wire>, ReachError> {
        let host = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let name = PeerName::parse(host).map_err(|_| ReachError::Discover(DiscoverError::Name))?;
        let route = self.discovery.resolve(&name).await.map_err(ReachError::Discover)?;
        let slot = self.slots.take(host).map_err(ReachError::Full)?;
        let stream = self.dialer.connect(&route.addresses).await.map_err(ReachError::Connect)?;
        let secured = self.dialer.secure(stream, &name.tls_name()).await;
        let (stream, is_h2) = secured.map_err(ReachError::Connect)?;
        Ok(Wire::new(slot.hold(stream), is_h2))
    }
}
