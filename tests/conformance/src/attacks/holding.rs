//! Connections that are held open and say nothing, or little, while somebody else wants to be served.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{server::Server, wire::Json as _};

/// How long others may wait for an answer meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a connection says before it falls silent.
const BEGINNINGS: [&[u8]; 6] = [
    b"",
    b"G",
    b"PRI * HTTP/2.0\r\n\r\nSM",
    b"GET /_matrix/client/versions HTTP/1.1\r\nHost: plexus.test\r\nX-",
    b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: plexus.test\r\nContent-Length: 100000\r\n\r\n{\"type\":",
    b"POST /_matrix/client/v3/register HTTP/1.1\r\nHost: plexus.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\"",
];

/// Opens connections of each kind, and sees that others are served. With `until`, waits until the server has closed all.
pub(super) async fn hold(
    server: &Server,
    address: &str,
    count: usize,
    until: Option<Duration>,
) -> Result<()> {
    let mut held = Vec::new();
    for beginning in BEGINNINGS {
        for _ in 0..count {
            let mut stream =
                TcpStream::connect(address).await.context("the server takes no more connections")?;
            stream.write_all(beginning).await?;
            held.push(stream);
        }
    }
    let began = Instant::now();
    let served = timeout(PATIENCE, async {
        let (alice, bob) = server.pair().await;
        let room = alice.creates_room().member(&bob).await;
        let since = bob.sync_token().await;
        let event = alice.says(&room, "are you there?").await;
        bob.hears(&since, &room, &event).await.text("/event_id")
    });
    ensure!(served.await.is_ok(), "others are not served while {} connections are silent", held.len());
    outln!("{} silent connections; others were served in {:.2} s", held.len(), began.elapsed().as_secs_f64());
    let Some(until) = until else { return Ok(()) };
    let mut open = 0;
    for mut stream in held {
        let left = until.saturating_sub(began.elapsed());
        let closed = timeout(left.max(Duration::from_millis(1)), async {
            let mut bytes = [0; 1024];
            while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
        });
        open += usize::from(closed.await.is_err());
    }
    ensure!(open == 0, "{open} silent connections are still open after {} s", until.as_secs());
    Ok(())
}
