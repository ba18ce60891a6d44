//! A connection that may neither be silent nor slow.
//!
//! hyper bounds the time between the heads of HTTP/1 requests and knows whether an HTTP/2 peer answers pings. What it
//! does not bound is bounded here, where bytes are read and written: the time until the protocol is known, the time that
//! one head takes, how long an HTTP/2 connection may be without requests, and how slowly answers may be read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What a client with prior knowledge of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes that a slow reader must take within the write timeout.
pub(super) const LEAST_PROGRESS: usize = 16 * 1024;

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// Until it is known which protocol is spoken.
    pub(super) preface: Duration,
    /// For the head of an HTTP/1 request, from its first byte on.
    pub(super) head: Duration,
    /// Without a request; for HTTP/1, hyper sees to it.
    pub(super) idle: Duration,
    /// To take [`LEAST_PROGRESS`] bytes while there are more.
    pub(super) write: Duration,
}

/// The requests of a connection, as those who serve them count them.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    under_way: AtomicUsize,
    begun: AtomicU64,
    /// When the last one ended, in milliseconds after the connection was opened.
    ended: AtomicU64,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Active(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            under_way: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Active {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    fn idle_since(&self) -> Option<Instant> {
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(self.opened + Duration::from_millis(self.ended.load(Ordering::Relaxed)))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let after = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.ended.store(after, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// So many bytes were those of the HTTP/2 preface.
    Preface(usize),
    /// With the head that has begun: when, and how many requests had begun by then.
    Http1(Option<(Instant, u64)>),
    Http2,
}

/// The stream of a connection.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    timeouts: Timeouts,
    activity: Arc<Activity>,
    phase: Phase,
    read: Timer,
    write: Timer,
    blocked: Blocked,
}

/// How long writes have been blocked since the last [`LEAST_PROGRESS`] bytes were written.
#[derive(Debug, Default)]
struct Blocked {
    since: Option<Instant>,
    total: Duration,
    written: usize,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, timeouts: Timeouts, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            timeouts,
            activity,
            phase: Phase::Preface(0),
            read: Timer::default(),
            write: Timer::default(),
            blocked: Blocked::default(),
        }
    }

    /// Notes what was read.
    fn note(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Phase::Preface(seen) = self.phase {
            let expected = &PREFACE[seen..];
            let length = expected.len().min(bytes.len());
            self.phase = if bytes[..length] != expected[..length] {
                Phase::Http1(None)
            } else if length == expected.len() {
                Phase::Http2
            } else {
                Phase::Preface(seen + length)
            };
        }
        if let Phase::Http1(head) = &mut self.phase {
            let begun = self.activity.begun.load(Ordering::Relaxed);
            if head.is_some_and(|(_, before)| before != begun) {
                *head = None;
            }
            if head.is_none() && self.activity.idle_since().is_some() {
                *head = Some((Instant::now(), begun));
            }
        }
    }

    /// Until when bytes must come; `None` if hyper sees to it.
    fn deadline(&mut self) -> Option<Instant> {
        match &mut self.phase {
            Phase::Preface(_) => Some(self.activity.opened + self.timeouts.preface),
            Phase::Http1(head) => {
                let begun = self.activity.begun.load(Ordering::Relaxed);
                // The head is complete once its request has begun.
                *head = head.filter(|(_, before)| *before == begun);
                head.map(|(since, _)| since + self.timeouts.head)
            }
            // While requests are under way it looks again later.
            Phase::Http2 => {
                Some(self.activity.idle_since().unwrap_or_else(Instant::now) + self.timeouts.idle)
            }
        }
    }

    /// Notes that a write made progress.
    fn progressed(&mut self, bytes: usize) {
        let blocked = &mut self.blocked;
        if let Some(since) = blocked.since.take() {
            blocked.total += since.elapsed();
        }
        if blocked.total.is_zero() {
            return;
        }
        blocked.written += bytes;
        if blocked.written >= LEAST_PROGRESS {
            *blocked = Blocked::default();
        }
    }

    /// Whether writes have been blocked for too long.
    fn is_stuck(&mut self, context: &mut Context<'_>) -> bool {
        let since = *self.blocked.since.get_or_insert_with(Instant::now);
        let left = self.timeouts.write.saturating_sub(self.blocked.total);
        self.write.is_over(since + left, context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.note(&buffer.filled()[before..]);
            return Poll::Ready(result);
        }
        // More than one turn only if the time is over and a later one counts by now.
        while let Some(deadline) = this.deadline() {
            if !this.read.is_over(deadline, context) {
                return Poll::Pending;
            }
            if this.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                // An end, as if the client had closed: what is to be said before it is said.
                return Poll::Ready(match this.phase {
                    Phase::Http2 => Ok(()),
                    Phase::Preface(_) | Phase::Http1(_) => Err(io::ErrorKind::TimedOut.into()),
                });
            }
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Timed<S> {
    fn write_with<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
        written: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match write(Pin::new(&mut self.stream), context) {
            Poll::Ready(Ok(done)) => {
                self.progressed(written(&done));
                Poll::Ready(Ok(done))
            }
            Poll::Pending if self.is_stuck(context) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            result => result,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write_with(context, |stream, context| stream.poll_write(context, bytes), |n| *n)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write =
            |stream: Pin<&mut S>, context: &mut Context<'_>| stream.poll_write_vectored(context, parts);
        self.get_mut().write_with(context, write, |n| *n)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write_with(context, |stream, context| stream.poll_flush(context), |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write_with(context, |stream, context| stream.poll_shutdown(context), |()| 0)
    }
}

/// A timer that is set anew only when its time changes.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn is_over(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // One that is to ring earlier rings, and is then set to what counts: moving it at each read would cost more.
        if sleep.deadline() > deadline || sleep.is_elapsed() {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if deadline <= Instant::now() {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

#[cfg(test)]
#[path = "timed_tests.rs"]
mod tests;
