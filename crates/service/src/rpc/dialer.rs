//! Dials gRPC services, with TLS and the token that they want.

use std::{io, sync::Arc};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Error};

use super::{RpcChannel, endpoint};
use crate::{
    Token,
    config::CallConfig,
    tls::{self, Reloaded, TlsError},
    token::{self, TokenError},
};

/// Reaches those who serve gRPC: at `http://host:port`, or at `https://host:port` with TLS. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    token: Token,
    tls: Option<Arc<Reloaded<ClientConfig>>>,
}

/// Why nobody can be called.
#[derive(Debug, thiserror::Error)]
pub enum DialerError {
    /// There is nothing to show them.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The files of certificates do not work.
    #[error("the certificates in [{table}] do not work")]
    Tls {
        /// Table of the configuration.
        table: &'static str,
        /// Why not.
        #[source]
        source: TlsError,
    },
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Dialer {
    /// Reads the token and the certificates of a table of the configuration.
    pub fn new(table: &'static str, config: &CallConfig) -> Result<Self, DialerError> {
        let token = token::find(table, config)?;
        let tls = tls::of_caller(config).map_err(|source| DialerError::Tls { table, source })?;
        Ok(Self { token, tls: tls.map(Arc::new) })
    }

    /// Calls whoever serves there; connects when first used, and again after they were away.
    pub fn connect(&self, address: &str) -> Result<RpcChannel, Error> {
        Ok(RpcChannel::through(self.channel(address)?, address).with_token(&self.token))
    }

    /// Calls any of several instances of a service, whichever answers; for calls that every instance can answer and
    /// that are harmless to repeat.
    pub fn connect_any(&self, addresses: &[String]) -> Result<RpcChannel, Error> {
        if let [only] = addresses {
            return self.connect(only);
        }
        let channels = addresses.iter().map(|address| self.channel(address)).collect::<Result<_, _>>()?;
        Ok(RpcChannel::any(channels, addresses).with_token(&self.token))
    }

    fn channel(&self, address: &str) -> Result<Channel, Error> {
        let tls = self.tls.clone();
        let dial = tower::service_fn(move |uri: Uri| dial(uri, tls.clone()));
        Ok(endpoint(address)?.connect_with_connector_lazy(dial))
    }
}

/// Connects, with the certificates as they are by now.
async fn dial(uri: Uri, tls: Option<Arc<Reloaded<ClientConfig>>>) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let secure = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
    // An IPv6 address is in brackets there.
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    if !secure {
        let stream: Box<dyn Stream> = Box::new(stream);
        return Ok(TokioIo::new(stream));
    }
    let tls =
        tls.ok_or_else(|| io::Error::other("an https:// address needs `tls_ca` in the configuration"))?;
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream: Box<dyn Stream> = Box::new(TlsConnector::from(tls.current()).connect(name, stream).await?);
    Ok(TokioIo::new(stream))
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Dialer").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}
