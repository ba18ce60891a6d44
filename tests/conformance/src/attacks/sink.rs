//! Sinks: whatever is sent there is taken, so that a control costs the machine what the generator of an attack costs it.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use axum::{Router, body::Bytes, http::StatusCode};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

/// Time until another is taken after one that could not be.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection stays that says nothing.
const LONGEST: Duration = Duration::from_secs(300);

/// A silent sink that is a process of its own.
pub(super) struct Sink {
    /// Where it listens.
    pub(super) address: SocketAddr,
    _process: Child,
}

impl Sink {
    /// Starts this program as a sink.
    pub(super) async fn start() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["measure", "--url", "http://127.0.0.1:1", "--server-name", "sink", "sink"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("a sink has an output")?;
        let line = BufReader::new(output).lines().next_line().await?.context("the sink has ended")?;
        Ok(Self { address: line.parse()?, _process: process })
    }
}

/// Is a silent sink until the input ends; prints where.
pub(crate) async fn serve() -> Result<()> {
    outln!("{}", silent().await?);
    let until_the_end = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    tokio::task::spawn_blocking(until_the_end).await??;
    Ok(())
}

/// Takes connections and what comes by them, and says nothing.
async fn silent() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            // There may be too many for a while.
            let Ok((mut stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                let read = async { while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {} };
                tokio::time::timeout(LONGEST, read).await.ok();
            });
        }
    });
    Ok(address)
}

/// Answers every request with 429.
pub(super) async fn refusing() -> Result<SocketAddr> {
    async fn refuse(body: Bytes) -> (StatusCode, String) {
        (
            StatusCode::TOO_MANY_REQUESTS,
            format!(r#"{{"errcode":"M_LIMIT_EXCEEDED","error":"{}"}}"#, body.len()),
        )
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(refuse)).await });
    Ok(address)
}
