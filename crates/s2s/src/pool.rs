//! Bounds on connections: so many are open in all; one more closes the one that has been idle for longest.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use plexus_outbound::wire::Io;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// Every connection is in use, and there may be no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections are open")]
pub struct Full;

/// The connections of a process to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Slots(Arc<Mutex<Open>>);

struct Open {
    max: usize,
    next: u64,
    connections: HashMap<u64, Connection>,
    /// Requests under way, by the host that they go to.
    busy: HashMap<Arc<str>, usize>,
}

struct Connection {
    host: Arc<str>,
    used: Instant,
    closer: Arc<Closer>,
}

#[derive(Default)]
struct Closer {
    is_closed: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Closer {
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        if let Some(reader) = self.reader.lock().take() {
            reader.wake();
        }
    }
}

impl Slots {
    /// Bounds the number of connections.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let open = Open { max: max.max(1), next: 0, connections: HashMap::new(), busy: HashMap::new() };
        Self(Arc::new(Mutex::new(open)))
    }

    /// Begins a request to a host, whose connections are in use until it is dropped.
    #[must_use]
    pub fn begin(&self, host: &str) -> Busy {
        let host: Arc<str> = host.into();
        *self.0.lock().busy.entry(Arc::clone(&host)).or_insert(0) += 1;
        Busy { slots: self.clone(), host }
    }

    /// Takes a slot for one more connection to a host.
    pub fn take(&self, host: &str) -> Result<Slot, Full> {
        let mut open = self.0.lock();
        if open.connections.len() >= open.max {
            let idle = open.connections.iter().filter(|(_, it)| !open.busy.contains_key(&it.host));
            let oldest = idle.min_by_key(|(_, it)| it.used).map(|(id, _)| *id).ok_or(Full)?;
            if let Some(connection) = open.connections.remove(&oldest) {
                connection.closer.close();
            }
        }
        let (id, closer) = (open.next, Arc::<Closer>::default());
        open.next += 1;
        let connection = Connection { host: host.into(), used: Instant::now(), closer: Arc::clone(&closer) };
        open.connections.insert(id, connection);
        Ok(Slot { slots: self.clone(), id, closer })
    }

    /// Connections that are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().connections.len()
    }

    /// True if none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A request under way.
pub struct Busy {
    slots: Slots,
    host: Arc<str>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut open = self.slots.0.lock();
        let left = open.busy.get_mut(&self.host).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            open.busy.remove(&self.host);
            let now = Instant::now();
            for connection in open.connections.values_mut().filter(|it| it.host == self.host) {
                connection.used = now;
            }
        }
    }
}

/// The right to have a connection open.
pub struct Slot {
    slots: Slots,
    id: u64,
    closer: Arc<Closer>,
}

impl Slot {
    /// Binds it to a connection: it is given back when that is dropped, and closes it when it is taken away.
    pub fn hold<T: Io>(self, io: T) -> Held<T> {
        Held { io, slot: self }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.0.lock().connections.remove(&self.id);
    }
}

/// A connection in its slot.
pub struct Held<T> {
    io: T,
    slot: Slot,
}

impl<T: Io> AsyncRead for Held<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let closer = &self.slot.closer;
        *closer.reader.lock() = Some(context.waker().clone());
        if closer.is_closed.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: Io> AsyncWrite for Held<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_idle_for_longest_makes_room() {
        let slots = Slots::new(2);
        let (_a, a) = tokio::io::duplex(16);
        let (_b, b) = tokio::io::duplex(16);
        let mut a = slots.take("a").unwrap().hold(a);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        let mut b = slots.take("b").unwrap().hold(b);
        // One that is being read ends as if its server had closed it.
        let closed = async { a.read_u8().await.unwrap_err().kind() };
        let take = async { slots.take("c").unwrap() };
        let (kind, third) = tokio::join!(closed, take);
        assert_eq!((kind, slots.len()), (io::ErrorKind::UnexpectedEof, 2));
        let busy = (slots.begin("b"), slots.begin("b"), slots.begin("c"));
        assert_eq!(slots.take("d").err(), Some(Full));
        drop(busy.0);
        assert_eq!(slots.take("d").err(), Some(Full));
        drop(busy.1);
        let fourth = slots.take("d").unwrap();
        assert!(b.read_u8().await.is_err());
        drop((a, b));
        assert_eq!(slots.len(), 2);
        drop((third, fourth, busy.2));
        assert!(slots.is_empty());
    }
}
