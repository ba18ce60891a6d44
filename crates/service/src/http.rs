//! Serving a router on a listener: HTTP/1 and HTTP/2, plain or over TLS, drained on shutdown.

mod answer;
mod files;
mod peers;
mod timed;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

pub use peers::{Client, Held, UnderWay};

pub(crate) use files::raise_limit;

use crate::{
    config::{HttpConfig, Listener},
    metrics,
    run::Shutdown,
    tls::{self, Reloaded, TlsError},
};
use answer::{Answer, StreamExecutor};
use peers::{Connected, Peers};
use timed::{Activity, Timed, Timeouts};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at a time on one HTTP/2 connection between services: one keeps one connection to another for all it asks.
const MAX_SERVICE_STREAMS: u32 = 8192;
/// What a client may send on one HTTP/2 stream, and on one connection, before somebody reads it.
const CLIENT_WINDOWS: (u32, u32) = (128 * 1024, 1024 * 1024);
/// What is kept of one answer on an HTTP/2 stream of a client once it was handed out.
const CLIENT_SEND_BUFFER: usize = 64 * 1024;
/// How long requests under way may take once it is time to stop.
const DRAIN: Duration = Duration::from_secs(15);
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Failures to accept are logged no more often than this.
const ACCEPT_LOG_PAUSE: Duration = Duration::from_secs(10);

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
    /// The files of its certificate do not work.
    #[error("there is no TLS on {address}")]
    Tls {
        /// The listener's address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: TlsError,
    },
}

/// Binds a listener for services and operators, and serves the router on it until shutdown; returns the address (of
/// interest for port 0).
///
/// Handlers find the client as the extension [`Client`]. On shutdown no new connections are taken, and requests under
/// way are answered; they hold the shutdown up for a bounded time.
pub async fn serve(
    name: &'static str,
    listener: &Listener,
    router: Router,
    shutdown: &Shutdown,
) -> Result<SocketAddr, ServeError> {
    listen(name, listener, None, &HttpConfig::default(), router, shutdown).await
}

/// Like [`serve`], for anybody: what one address may hold of the process, and how slow it may be, has bounds.
pub async fn serve_clients(
    name: &'static str,
    listener: &Listener,
    http: &HttpConfig,
    router: Router,
    shutdown: &Shutdown,
) -> Result<SocketAddr, ServeError> {
    listen(name, listener, Some(Arc::new(Peers::new(http))), http, router, shutdown).await
}

async fn listen(
    name: &'static str,
    listener: &Listener,
    peers: Option<Arc<Peers>>,
    config: &HttpConfig,
    router: Router,
    shutdown: &Shutdown,
) -> Result<SocketAddr, ServeError> {
    let tls = tls::of_listener(listener)
        .map_err(|source| ServeError::Tls { address: listener.address, source })?
        .map(Arc::new);
    let bind_error = |source| ServeError::Bind { address: listener.address, source };
    let socket = TcpListener::bind(listener.address).await.map_err(bind_error)?;
    let address = socket.local_addr().map_err(bind_error)?;
    info!(listener = name, %address, tls = tls.is_some(), "listening");
    let http = if peers.is_some() { client_builder(config) } else { service_builder(config) };
    let server = Server {
        name,
        tls,
        // Clones are cheap only once the state is in place.
        router: router.with_state(()),
        trust_forwarded_for: listener.trust_forwarded_for,
        http: Arc::new(http),
        timeouts: timeouts(config, peers.is_some()),
        peers,
    };
    let limit = Arc::new(Semaphore::new(files::cap_connections(name, listener.max_connections)));
    shutdown.spawn(accept(server, socket, limit, shutdown.clone()));
    Ok(address)
}

#[derive(Clone)]
struct Server {
    name: &'static str,
    tls: Option<Arc<Reloaded<rustls::ServerConfig>>>,
    router: Router,
    trust_forwarded_for: bool,
    http: Arc<auto::Builder<StreamExecutor>>,
    timeouts: Timeouts,
    /// `None` if there are no limits by address.
    peers: Option<Arc<Peers>>,
}

fn timeouts(config: &HttpConfig, clients: bool) -> Timeouts {
    /// Connections between services wait for work as long as it takes; pings tell whether somebody is there.
    const NO_END: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    let seconds = Duration::from_secs;
    Timeouts {
        preface: seconds(config.first_byte_timeout_s),
        head: seconds(config.head_timeout_s),
        idle: if clients { seconds(config.idle_timeout_s) } else { NO_END },
        write: seconds(config.write_timeout_s),
    }
}

fn client_builder(config: &HttpConfig) -> auto::Builder<StreamExecutor> {
    let timeout = Some(Duration::from_secs(config.write_timeout_s));
    let mut builder = builder(StreamExecutor { timeout }, config);
    builder
        .http2()
        .max_concurrent_streams(config.streams_per_connection)
        .initial_stream_window_size(CLIENT_WINDOWS.0)
        .initial_connection_window_size(CLIENT_WINDOWS.1)
        .max_send_buf_size(CLIENT_SEND_BUFFER);
    builder
}

fn service_builder(config: &HttpConfig) -> auto::Builder<StreamExecutor> {
    let mut builder = builder(StreamExecutor { timeout: None }, config);
    builder.http2().adaptive_window(true).max_concurrent_streams(MAX_SERVICE_STREAMS);
    builder
}

fn builder(executor: StreamExecutor, config: &HttpConfig) -> auto::Builder<StreamExecutor> {
    let mut builder = auto::Builder::new(executor);
    builder
        .http1()
        .timer(TokioTimer::new())
        // Counted from the end of the request before, so it is what ends idle connections.
        .header_read_timeout(Duration::from_secs(config.idle_timeout_s))
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

async fn accept(server: Server, socket: TcpListener, limit: Arc<Semaphore>, shutdown: Shutdown) {
    let graceful = GracefulShutdown::new();
    let mut failures = Failures::default();
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
                failures.log(server.name, &error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        metrics::accepted(server.name);
        let Ok(connected) = server.count(peer) else {
            metrics::refused(server.name);
            continue;
        };
        let (server, watcher) = (server.clone(), graceful.watcher());
        shutdown.spawn(async move {
            let open = metrics::Open::new(server.name);
            server.connection(stream, peer, watcher).await;
            drop((open, connected, permit));
        });
    }
    drop(socket);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!(listener = server.name, "requests still under way are dropped");
    }
}

/// Failures to accept, which come in floods.
#[derive(Default)]
struct Failures {
    logged: Option<Instant>,
    since: u64,
}

impl Failures {
    /// Logs a failure, or keeps it for the next line.
    fn log(&mut self, listener: &'static str, error: &std::io::Error) -> bool {
        self.since += 1;
        if self.logged.is_some_and(|logged| logged.elapsed() < ACCEPT_LOG_PAUSE) {
            return false;
        }
        warn!(listener, %error, failures = self.since, "cannot accept connections");
        *self = Self { logged: Some(Instant::now()), since: 0 };
        true
    }
}

impl Server {
    /// Counts a connection of an address, unless it is exempt; reverse proxies bring those of others.
    fn count(&self, peer: SocketAddr) -> Result<Option<Connected>, peers::Refused> {
        if self.trust_forwarded_for {
            return Ok(None);
        }
        let held = self.peers.as_ref().and_then(|peers| peers.find(peer.ip()));
        held.map(|held| Peers::connect(&held)).transpose()
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(listener = self.name, %peer, %error, "connection is gone");
            return;
        }
        let Some(tls) = &self.tls else {
            return self.http(stream, peer, watcher).await;
        };
        let acceptor = TlsAcceptor::from(tls.current());
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
        let activity = Arc::new(Activity::new());
        let stream = Timed::new(stream, self.timeouts, Arc::clone(&activity));
        let (router, peers, trusts) = (self.router.clone(), self.peers.clone(), self.trust_forwarded_for);
        let find = move |address: SocketAddr| peers.as_ref().and_then(|peers| peers.find(address.ip()));
        let direct = Client { address: peer, held: find(peer) };
        let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            let active = activity.begin();
            let forwarded = if trusts { forwarded_for(request.headers(), peer) } else { None };
            let client =
                forwarded.map_or_else(|| direct.clone(), |address| Client { address, held: find(address) });
            request.extensions_mut().insert(client);
            let answer = router.clone().oneshot(request);
            async move {
                let response = answer.await?;
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, active)))
            }
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            // Clients go away at any time; nobody has to look.
            debug!(listener = self.name, %peer, %error, "connection ended early");
        }
    }
}

/// The address that the reverse proxy in front of us saw: the last of `X-Forwarded-For`, as it wrote it itself.
fn forwarded_for(headers: &http::HeaderMap, peer: SocketAddr) -> Option<SocketAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    let address = last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()?;
    Some(SocketAddr::new(address, peer.port()))
}

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
