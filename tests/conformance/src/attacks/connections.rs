//! Connections that are held: silent ones, streams of HTTP/2 whose requests never end, and readers who do not read.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{interval, timeout},
};

/// Connections that are opened at once.
const AT_ONCE: usize = 100;
/// Time between two of the silent ones. Opened as fast as the machine can, they would take it from the neighbours, who are
/// on the same one, whatever the server does.
const PACE: Duration = Duration::from_millis(1);
/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Streams of one connection: as many as servers allow.
const STREAMS: usize = 100;
/// Bytes that a reader who does not read has room for.
const ROOM: u32 = 4096;

/// How many of each are held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Silent connections.
    pub(crate) silent: usize,
    /// Unfinished streams, on each listener.
    pub(crate) streams: usize,
    /// Readers who do not read.
    pub(crate) readers: usize,
}

/// Where they go.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// Listener of clients.
    pub(super) clients: SocketAddr,
    /// Listener of gRPC, if it is attacked.
    pub(super) grpc: Option<SocketAddr>,
    /// The request of a reader who does not read.
    pub(super) large: String,
}

/// Where they come from: those of each kind from an address of their own, so that none takes another's share.
const SILENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const STREAMING: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const READING: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// Reads where a URL leads.
pub(super) fn address_of(url: &str) -> Result<SocketAddr> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    address.parse().with_context(|| format!("{url} is not http://ADDRESS:PORT"))
}

/// Opens all of them and holds them for ever; returns only if that cannot be.
pub(super) async fn hold(goal: &Goal, counts: Counts) -> Result<()> {
    futures::try_join!(
        silent(goal, counts.silent),
        streams(goal.clients, "/_matrix/client/v3/login", counts.streams),
        async {
            match goal.grpc {
                Some(grpc) => {
                    let method = "/plexus.operator.v1.PartitionService/ListPartitions";
                    streams(grpc, method, counts.streams).await
                }
                None => std::future::pending().await,
            }
        },
        readers(goal, counts.readers),
    )?;
    bail!("nothing is held")
}

async fn open(from: Ipv4Addr, to: SocketAddr, room: Option<u32>) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    if let Some(room) = room {
        socket.set_recv_buffer_size(room)?;
    }
    Ok(timeout(PATIENCE, socket.connect(to)).await??)
}

async fn silent(goal: &Goal, count: usize) -> Result<()> {
    let mut pace = interval(PACE);
    let mut held = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for _ in 0..count {
        pace.tick().await;
        if opening.len() >= AT_ONCE
            && let Some(opened) = opening.join_next().await
        {
            held.extend(opened.ok().and_then(Result::ok));
        }
        opening.spawn(open(SILENT, goal.clients, None));
    }
    // Whoever is not let in has lost nothing.
    while let Some(opened) = opening.join_next().await {
        held.extend(opened.ok().and_then(Result::ok));
    }
    outln!("{} of {count} silent connections were opened", held.len());
    std::future::pending().await
}

async fn readers(goal: &Goal, count: usize) -> Result<()> {
    let opened = futures::stream::iter(0..count).map(|_| async {
        let mut stream = open(READING, goal.clients, Some(ROOM)).await?;
        stream.write_all(goal.large.as_bytes()).await?;
        anyhow::Ok(stream)
    });
    let held: Vec<_> =
        opened.buffer_unordered(AT_ONCE).filter_map(async |stream| stream.ok()).collect().await;
    outln!("{} of {count} readers do not read", held.len());
    std::future::pending().await
}

async fn streams(to: SocketAddr, path: &str, count: usize) -> Result<()> {
    let connections = count.div_ceil(STREAMS);
    let held = (0..connections).map(|_| async {
        // A connection that the server closes is not opened again.
        unfinished(to, path, STREAMS.min(count)).await.ok();
        std::future::pending::<()>().await;
    });
    futures::future::join_all(held).await;
    std::future::pending().await
}

/// Opens streams on one connection, with the head of a request and a part of its body each, and does what keeps the
/// connection alive, until the server closes it.
async fn unfinished(to: SocketAddr, path: &str, count: usize) -> Result<()> {
    let mut stream = open(STREAMING, to, None).await?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    for number in (1..).step_by(2).take(count) {
        frame(&mut bytes, HEADERS, END_HEADERS, number, &head(path));
        // All of them fit into the window that a connection begins with.
        frame(&mut bytes, DATA, 0, number, &[b'x'; 600]);
    }
    stream.write_all(&bytes).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        let mut answer = Vec::new();
        match (head[3], head[4] & ACK) {
            (SETTINGS, 0) => frame(&mut answer, SETTINGS, ACK, 0, &[]),
            (PING, 0) => frame(&mut answer, PING, ACK, 0, &payload),
            _ => {}
        }
        stream.write_all(&answer).await?;
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame of HTTP/2.
fn frame(into: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    into.extend_from_slice(&length[1..]);
    into.extend_from_slice(&[kind, flags]);
    into.extend_from_slice(&stream.to_be_bytes());
    into.extend_from_slice(payload);
}

/// The head of a request, in HPACK without tables: `POST`, `http`, and the rest as literals.
fn head(path: &str) -> Vec<u8> {
    let mut head = vec![0x83, 0x86];
    let mut literal = |name: u8, value: &str| {
        head.push(name);
        // Lengths up to 126 are one byte.
        head.push(u8::try_from(value.len().min(126)).unwrap_or(0));
        head.extend(value.bytes().take(126));
    };
    literal(0x04, path);
    literal(0x01, "plexus.test");
    // `content-type` is entry 31 of the static table, which does not fit into four bits.
    head.extend_from_slice(&[0x0f, 31 - 15]);
    let kind = if path.starts_with("/plexus.") { "application/grpc" } else { "application/json" };
    head.push(u8::try_from(kind.len()).unwrap_or(0));
    head.extend_from_slice(kind.as_bytes());
    head
}
