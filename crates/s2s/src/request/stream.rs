//! Answers that are read piece by piece: media.

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{AT_ONCE, Call, CallError, MAX_ERROR, Peers, Refusal};
use crate::pool::Busy;

/// How long the next bytes of an answer may take.
const SILENCE: Duration = Duration::from_secs(30);

/// Pieces of an answer, in order.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, CallError>> + Send>>;

/// An answer whose body has not been read.
pub struct Opened {
    /// Status: one of success, or of a redirect.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    deadline: Instant,
    held: (OwnedSemaphorePermit, Busy),
}

impl Opened {
    /// The body. It ends with an error if it breaks off, or takes longer than the class of the request allows.
    #[must_use]
    pub fn pieces(self) -> Pieces {
        let Self { body, deadline, held, .. } = self;
        let pieces = stream::try_unfold((body, held), move |(mut body, held)| async move {
            loop {
                let next = deadline.min(Instant::now() + SILENCE);
                match timeout_at(next, body.frame()).await {
                    Err(_) => return Err(CallError::TimedOut),
                    Ok(None) => return Ok(None),
                    Ok(Some(Err(error))) => return Err(CallError::Http(error.into())),
                    Ok(Some(Ok(frame))) => {
                        if let Ok(piece) = frame.into_data() {
                            return Ok(Some((piece, (body, held))));
                        }
                    }
                }
            }
        });
        pieces.boxed()
    }
}

impl Peers {
    /// Makes a request and leaves the body of its answer to be read. Redirects are answers, too; `max_body` of the class is
    /// for whoever reads to hold.
    pub async fn open(&self, call: Call<'_>) -> Result<Opened, CallError> {
        self.check_health(&call)?;
        let deadline = Instant::now() + call.class.deadline;
        let opened = timeout(call.class.head, self.open_now(&call, deadline)).await;
        let opened = opened.unwrap_or(Err(CallError::TimedOut));
        self.note(&call, opened.as_ref().err()).await;
        opened
    }

    async fn open_now(&self, call: &Call<'_>, deadline: Instant) -> Result<Opened, CallError> {
        let inner = &self.0;
        let turns = inner.turns.get_with(call.destination.to_owned(), || Arc::new(Semaphore::new(AT_ONCE)));
        let turn = turns.acquire_owned().await.map_err(|_| CallError::Busy)?;
        let host = inner.discovery.delegate(call.destination).await.map_err(CallError::Discover)?.to_string();
        let busy = inner.slots.begin(&host);
        let request = self.request(call, &host)?;
        let response = inner.client.request(request).await.map_err(CallError::from_client)?;
        let (parts, body) = response.into_parts();
        if parts.status.is_success() || parts.status.is_redirection() {
            let held = (turn, busy);
            return Ok(Opened { status: parts.status, headers: parts.headers, body, deadline, held });
        }
        let body = Limited::new(body, MAX_ERROR).collect().await.map(http_body_util::Collected::to_bytes);
        Err(CallError::Refused(Refusal::read(parts.status, &parts.headers, &body.unwrap_or_default())))
    }
}
