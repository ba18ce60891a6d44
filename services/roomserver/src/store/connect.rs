//! Opens connections whose errors tell their SQLSTATE.
//!
//! Diesel reduces an error to a kind, of which most SQLSTATEs are "unknown". So the stream is ours: see [`telling`].

pub(super) mod telling;

use std::{io, net::SocketAddr, time::Duration};

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream, UnixStream},
};
use tokio_postgres::{
    Client, Config, Connection, NoTls,
    config::{Host, SslMode, TargetSessionAttrs},
};

use self::telling::Telling;
pub(super) use self::telling::sqlstate_of;
use super::tls::{self, Connector, Mode, Target, TlsError};

/// How long connecting to one host may take, unless the URL says something else.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Port of Postgres.
const PORT: u16 = 5432;

/// What a connection runs over.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Opens a connection to the first host of the URL that takes it.
pub(super) async fn connect(url: &str) -> ConnectionResult<AsyncPgConnection> {
    let bad_url = |error: TlsError| ConnectionError::InvalidConnectionUrl(error.to_string());
    let target = Target::parse(url).map_err(bad_url)?;
    let mut config: Config = target
        .url
        .parse()
        .map_err(|error: tokio_postgres::Error| ConnectionError::InvalidConnectionUrl(chain(&error)))?;
    let tls = match target.mode {
        Mode::Plain => None,
        Mode::Require | Mode::VerifyCa | Mode::VerifyFull => {
            config.ssl_mode(SslMode::Require);
            Some(tls::connector(&target).map_err(bad_url)?)
        }
    };
    if config.get_target_session_attrs() != TargetSessionAttrs::Any {
        if tls.is_some() {
            let message = "target_session_attrs does not go together with TLS";
            return Err(ConnectionError::InvalidConnectionUrl(message.to_owned()));
        }
        // Which host is the right one shows only behind the handshake; the client library does that by itself.
        return AsyncPgConnection::establish(&target.url).await;
    }
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
    let mut refused = "the URL names no host".to_owned();
    for index in 0..hosts {
        match connect_to(&config, index, tls.as_ref()).await {
            Ok(connection) => return Ok(connection),
            Err(error) => refused = error,
        }
    }
    Err(ConnectionError::BadConnection(refused))
}

async fn connect_to(
    config: &Config,
    index: usize,
    tls: Option<&Connector>,
) -> Result<AsyncPgConnection, String> {
    let patience = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    let stream = tokio::time::timeout(patience, open(config, index)).await;
    let stream = stream.map_err(|_elapsed| "connecting took too long".to_owned())?;
    let client = match (stream.map_err(|error| error.to_string())?, tls) {
        (Stream::Tcp(stream), None) => {
            let connected = config.connect_raw(Telling::new(stream), NoTls).await;
            run(connected.map_err(|error| chain(&error))?)
        }
        (Stream::Unix(stream), None) => {
            let connected = config.connect_raw(Telling::new(stream), NoTls).await;
            run(connected.map_err(|error| chain(&error))?)
        }
        (Stream::Tcp(stream), Some(tls)) => {
            let host = match config.get_hosts().get(index) {
                Some(Host::Tcp(name)) => name.clone(),
                Some(Host::Unix(_)) | None => {
                    config.get_hostaddrs().get(index).map(ToString::to_string).unwrap_or_default()
                }
            };
            let handshake = tls.handshake(&host).map_err(|error| error.to_string())?;
            let connected = config.connect_raw(stream, handshake).await;
            run(connected.map_err(|error| chain(&error))?)
        }
        (Stream::Unix(_), Some(_)) => return Err("there is no TLS by a Unix socket".to_owned()),
    };
    AsyncPgConnection::try_from(client).await.map_err(|error| error.to_string())
}

/// Has a connection run until its client is dropped.
fn run<S, T>((client, connection): (Client, Connection<S, T>)) -> Client
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    #[expect(clippy::let_underscore_must_use, reason = "the client is told of the error, too")]
    tokio::spawn(async move {
        let _: Result<(), tokio_postgres::Error> = connection.await;
    });
    client
}

/// Opens the stream to one of the hosts.
async fn open(config: &Config, index: usize) -> io::Result<Stream> {
    let ports = config.get_ports();
    let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
    match (config.get_hostaddrs().get(index), config.get_hosts().get(index)) {
        (Some(address), _) => open_tcp(config, SocketAddr::new(*address, port)).await.map(Stream::Tcp),
        (None, Some(Host::Tcp(name))) => {
            let mut refused = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            for address in tokio::net::lookup_host((name.as_str(), port)).await? {
                match open_tcp(config, address).await {
                    Ok(stream) => return Ok(Stream::Tcp(stream)),
                    Err(error) => refused = error,
                }
            }
            Err(refused)
        }
        (None, Some(Host::Unix(folder))) => {
            UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await.map(Stream::Unix)
        }
        (None, None) => Err(io::Error::new(io::ErrorKind::NotFound, "the URL names no host")),
    }
}

async fn open_tcp(config: &Config, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_keepalive(config.get_keepalives())?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// An error with what caused it: that of the client library says nothing by itself.
fn chain(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
