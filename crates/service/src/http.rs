//! Serving a router on a listener: HTTP/1 and HTTP/2, plain or over TLS, drained on shutdown.

mod tls;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

use crate::{config::Listener, metrics, run::Shutdown};

/// How long a connection may take to send the head of its next request. It also ends idle connections, so it is longer
/// than the minute for which reverse proxies keep theirs.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at a time on one HTTP/2 connection. A service keeps one connection to another for all it asks.
const MAX_STREAMS: u32 = 8192;
/// How long requests under way may take once it is time to stop.
const DRAIN: Duration = Duration::from_secs(15);
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a listener could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen on {address}; if something else listens there, stop it or choose another address")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {}; it must be a PEM file that this user may read", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not go together.
    #[error("the certificate and the key of {address} do not work")]
    Tls {
        /// The listener's address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
}

/// Binds the listener and serves the router on it until shutdown; returns the address (of interest for port 0).
///
/// Handlers find the client's address as [`ConnectInfo`]. On shutdown no new connections are taken, and requests under
/// way are answered; they hold the shutdown up for a bounded time.
pub async fn serve(
    name: &'static str,
    listener: &Listener,
    router: Router,
    shutdown: &Shutdown,
) -> Result<SocketAddr, ServeError> {
    let tls = tls::acceptor(listener)?;
    let bind_error = |source| ServeError::Bind { address: listener.address, source };
    let socket = TcpListener::bind(listener.address).await.map_err(bind_error)?;
    let address = socket.local_addr().map_err(bind_error)?;
    info!(listener = name, %address, tls = tls.is_some(), "listening");
    let server = Server {
        name,
        tls,
        // Clones are cheap only once the state is in place.
        router: router.with_state(()),
        trust_forwarded_for: listener.trust_forwarded_for,
        http: Arc::new(builder()),
    };
    let limit = Arc::new(Semaphore::new(listener.max_connections));
    shutdown.spawn(accept(server, socket, limit, shutdown.clone()));
    Ok(address)
}

#[derive(Clone)]
struct Server {
    name: &'static str,
    tls: Option<TlsAcceptor>,
    router: Router,
    trust_forwarded_for: bool,
    http: Arc<auto::Builder<TokioExecutor>>,
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

async fn accept(server: Server, socket: TcpListener, limit: Arc<Semaphore>, shutdown: Shutdown) {
    let graceful = GracefulShutdown::new();
    loop {
        // The permit comes first: over the limit, connections wait in the kernel's queue.
        let accepted = async {
            let permit = Arc::clone(&limit).acquire_owned().await;
            (permit, socket.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = shutdown.requested() => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(listener = server.name, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        metrics::accepted(server.name);
        let (server, watcher) = (server.clone(), graceful.watcher());
        shutdown.spawn(async move {
            let open = metrics::Open::new(server.name);
            server.connection(stream, peer, watcher).await;
            drop((open, permit));
        });
    }
    drop(socket);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!(listener = server.name, "requests still under way are dropped");
    }
}

impl Server {
    async fn connection(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(listener = self.name, %peer, %error, "connection is gone");
            return;
        }
        let Some(acceptor) = self.tls.clone() else {
            return self.http(stream, peer, watcher).await;
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, peer, watcher).await,
            Ok(Err(error)) => debug!(listener = self.name, %peer, %error, "TLS handshake failed"),
            Err(_) => debug!(listener = self.name, %peer, "TLS handshake took too long"),
        }
    }

    async fn http<S>(self, stream: S, peer: SocketAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let trusts = self.trust_forwarded_for;
        let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            let address = if trusts { forwarded_for(request.headers(), peer) } else { peer };
            request.extensions_mut().insert(ConnectInfo(address));
            router.clone().oneshot(request)
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            // Clients go away at any time; nobody has to look.
            debug!(listener = self.name, %peer, %error, "connection ended early");
        }
    }
}

/// The address that the reverse proxy in front of us saw: the last of `X-Forwarded-For`, as it wrote it itself.
fn forwarded_for(headers: &http::HeaderMap, peer: SocketAddr) -> SocketAddr {
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let address = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    address.map_or(peer, |address| SocketAddr::new(address, peer.port()))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
