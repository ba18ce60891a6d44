//! Calling any of several instances of a service.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use tonic::{body::Body, codegen::Service, transport::Channel};
use tower::ServiceExt as _;

use super::BoxError;

/// How long one instance may take to begin its answer before another is asked, too.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an instance that failed is asked last.
const DISTRUST: Duration = Duration::from_secs(5);

/// Instances of one service. Calls must be harmless to repeat: one that fails, or does not answer in time, is asked of
/// the next instance. An instance that stopped in the middle of its work still takes connections, so that only its
/// silence tells.
#[derive(Clone)]
pub(super) struct AnyOf {
    instances: Arc<[Instance]>,
    next: Arc<AtomicUsize>,
    began: Instant,
}

struct Instance {
    channel: Channel,
    /// Milliseconds after `began` until which it is asked last.
    distrusted_until: AtomicU64,
}

impl AnyOf {
    pub(super) fn new(channels: impl IntoIterator<Item = Channel>) -> Self {
        let instance = |channel| Instance { channel, distrusted_until: AtomicU64::new(0) };
        Self {
            instances: channels.into_iter().map(instance).collect(),
            next: Arc::default(),
            began: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The instances in the order in which to ask them: in turn, those that failed lately last.
    fn order(&self) -> Vec<&Instance> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.instances.len();
        let mut order: Vec<&Instance> =
            (0..count).map(|index| &self.instances[(first.wrapping_add(index)) % count]).collect();
        let now = self.now();
        order.sort_by_key(|instance| instance.distrusted_until.load(Ordering::Relaxed) > now);
        order
    }

    async fn ask(self, request: http::Request<Body>) -> Result<http::Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let body: Bytes = body.collect().await?.to_bytes();
        let order = self.order();
        let last = order.len().saturating_sub(1);
        let mut failure: BoxError = "there is no instance to ask".into();
        for (index, instance) in order.into_iter().enumerate() {
            let request = http::Request::from_parts(parts.clone(), Body::new(Full::new(body.clone())));
            let call = instance.channel.clone().oneshot(request);
            // The last one is given all the time that the caller has.
            let patience = if index == last { Duration::MAX } else { PATIENCE };
            match tokio::time::timeout(patience, call).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => failure = error.into(),
                Err(_) => failure = "the instance did not answer in time".into(),
            }
            let until = self.now() + u64::try_from(DISTRUST.as_millis()).unwrap_or(u64::MAX);
            instance.distrusted_until.store(until, Ordering::Relaxed);
        }
        Err(failure)
    }
}

impl Service<http::Request<Body>> for AnyOf {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}
