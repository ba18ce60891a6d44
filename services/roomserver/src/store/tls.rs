//! TLS to Postgres, as the connection URL asks for it.
//!
//! `sslmode`, `sslrootcert`, `sslcert` and `sslkey` mean what they mean to libpq, with two differences: without
//! `sslmode=require`, `verify-ca` or `verify-full` there is no TLS, and the two that verify want `sslrootcert`. Files are
//! read for each connection, so renewed ones are used without a restart.

mod url;
mod verify;

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

pub(super) use self::url::{Mode, Target};
use super::connect::telling::Telling;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The URL asks for what makes no sense.
    #[error("the URL of the database does not work: {0}")]
    Url(String),
    /// A file cannot be read.
    #[error("cannot read {path}, which the URL of the database names")]
    Pem {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificates or keys do not work.
    #[error("the certificates that the URL of the database names do not work: {0}")]
    Rustls(#[from] rustls::Error),
    /// There are no certificates to verify by.
    #[error("the certificates in `sslrootcert` do not work: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// Makes what speaks TLS as the target asks.
pub(super) fn connector(target: &Target) -> Result<Connector, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = target.root_certificates.as_deref().map(certificates).transpose()?;
    let mut store = RootCertStore::empty();
    for root in roots.iter().flatten() {
        store.add(root.clone())?;
    }
    let config =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = match (target.mode, roots.is_some()) {
        (Mode::VerifyFull, true) => config.with_root_certificates(store),
        // With certificates to verify by, libpq does so for `require`, too.
        (Mode::VerifyCa | Mode::Require, true) => {
            let verifier = verify::chain(store, provider)?;
            config.dangerous().with_custom_certificate_verifier(verifier)
        }
        (Mode::Require, false) => {
            config.dangerous().with_custom_certificate_verifier(verify::nothing(provider))
        }
        (Mode::VerifyFull | Mode::VerifyCa | Mode::Plain, _) => {
            return Err(TlsError::Url("sslmode=verify-ca and verify-full need sslrootcert".to_owned()));
        }
    };
    let config = match (&target.certificate, &target.key) {
        (Some(certificate), Some(key)) => {
            let pem = |source| TlsError::Pem { path: key.clone(), source };
            let key = PrivateKeyDer::from_pem_file(key).map_err(pem)?;
            config.with_client_auth_cert(certificates(certificate)?, key)?
        }
        (None, None) => config.with_no_client_auth(),
        (Some(_), None) | (None, Some(_)) => {
            return Err(TlsError::Url("sslcert and sslkey go together".to_owned()));
        }
    };
    Ok(Connector(Arc::new(config)))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(Path::new(path)).and_then(Iterator::collect).map_err(pem)
}

/// Speaks TLS with servers.
#[derive(Clone)]
pub(super) struct Connector(Arc<ClientConfig>);

impl Connector {
    /// Makes what speaks TLS with a host.
    pub(super) fn handshake(&self, host: &str) -> Result<Handshake, rustls::pki_types::InvalidDnsNameError> {
        Ok(Handshake { config: Arc::clone(&self.0), host: ServerName::try_from(host.to_owned())? })
    }
}

/// Speaks TLS with one server.
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Stream<S>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Stream<S>, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = tokio_rustls::TlsConnector::from(self.config).connect(self.host, stream);
        Box::pin(async move { connecting.await.map(|stream| Stream(Box::new(Telling::new(stream)))) })
    }
}

/// A connection with TLS, on which errors tell their SQLSTATE.
pub(super) struct Stream<S>(Box<Telling<tokio_rustls::client::TlsStream<S>>>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

#[cfg(test)]
mod tests;
