//! Answers under way: handed out in pieces, counted as long as they last, and ended where nobody takes them.
//!
//! A client that takes nothing more of one HTTP/2 stream still reads the connection, so no write is ever blocked. Its
//! stream is ended when no piece of its answer was taken for the write timeout; other streams go on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper_util::rt::TokioExecutor;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::timed::Active;

/// Bytes that are handed out at once. It is large enough for nearly all answers.
pub(super) const PIECE: usize = 64 * 1024;

tokio::task_local! {
    static PROGRESS: Arc<Progress>;
}

/// When the answer of an HTTP/2 stream moved last.
#[derive(Debug, Default)]
struct Progress {
    moved: Mutex<Option<Instant>>,
    has_begun: Notify,
}

impl Progress {
    fn moved(&self) -> Option<Instant> {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moves(&self) {
        let before = self.moved.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
        if before.is_none() {
            self.has_begun.notify_one();
        }
    }

    /// Completes when the answer has begun and has not moved for so long.
    async fn stands_still(&self, timeout: Duration) {
        self.has_begun.notified().await;
        while let Some(deadline) = self.moved().map(|moved| moved + timeout)
            && deadline > Instant::now()
        {
            sleep_until(deadline).await;
        }
    }
}

/// Runs the streams of HTTP/2 connections, and ends those whose answers stand still.
#[derive(Debug, Clone)]
pub(super) struct StreamExecutor {
    /// `None` to end none.
    pub(super) timeout: Option<Duration>,
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Some(timeout) = self.timeout else {
            return TokioExecutor::new().execute(stream);
        };
        let progress = Arc::new(Progress::default());
        TokioExecutor::new().execute(async move {
            tokio::select! {
                () = PROGRESS.scope(Arc::clone(&progress), stream) => {}
                () = progress.stands_still(timeout) => {}
            }
        });
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    rest: Bytes,
    progress: Option<Arc<Progress>>,
    _active: Active,
}

impl Answer {
    pub(super) fn new(body: Body, active: Active) -> Self {
        let progress = PROGRESS.try_with(Arc::clone).ok();
        if let Some(progress) = &progress {
            progress.moves();
        }
        Self { body, rest: Bytes::new(), progress, _active: active }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Poll::Pending => {
                    // Whoever waits for the server is not slow.
                    if let Some(progress) = &this.progress {
                        progress.moves();
                    }
                    return Poll::Pending;
                }
                end @ Poll::Ready(_) => return end,
            }
        }
        if let Some(progress) = &this.progress {
            progress.moves();
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
