//! Answers that are counted for as long as they are handed out.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::Edge;
use crate::budget::Spent;

/// Bytes of an answer, until they are dropped.
pub(super) struct Hold {
    edge: Edge,
    holder: u64,
    bytes: usize,
}

/// Counts the bytes of an answer.
pub(super) fn hold(edge: &Edge, holder: u64, bytes: usize) -> Result<Hold, Spent> {
    let budget = &edge.0.answers;
    budget.add(bytes, 0)?;
    budget.add_to(holder, bytes, 0).inspect_err(|_| budget.remove(bytes))?;
    Ok(Hold { edge: edge.clone(), holder, bytes })
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.edge.0.answers.remove(self.bytes);
        self.edge.0.answers.remove_from(self.holder, self.bytes);
    }
}

/// Held until the end of a body.
pub(super) trait Held {
    /// Bytes of the body were handed out.
    fn passed(&mut self, _bytes: usize) {}
}

impl Held for Hold {}

/// Counts what an answer of unknown length comes to.
pub(super) struct Served {
    edge: Edge,
    holder: u64,
    bytes: usize,
}

impl Served {
    pub(super) fn new(edge: &Edge, holder: u64) -> Self {
        Self { edge: edge.clone(), holder, bytes: 0 }
    }
}

impl<T> Held for (T, Served) {
    fn passed(&mut self, bytes: usize) {
        self.1.bytes += bytes;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.edge.0.limits.count_served(self.holder, self.bytes);
    }
}

/// A body, and what is held until its end.
pub(super) struct Counted<H> {
    body: Body,
    held: H,
}

impl<H: Held> Counted<H> {
    pub(super) fn new(body: Body, held: H) -> Self {
        Self { body, held }
    }
}

impl<H: Held + Unpin> HttpBody for Counted<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.held.passed(data.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
