//! TLS of listeners.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

use super::ServeError;
use crate::config::Listener;

/// Makes what speaks TLS on the listener; `None` if it is plain.
pub(super) fn acceptor(listener: &Listener) -> Result<Option<TlsAcceptor>, ServeError> {
    let (Some(certificate), Some(key)) = (&listener.tls_certificate, &listener.tls_key) else {
        return Ok(None);
    };
    let pem_error = |path: &Path, source| ServeError::Pem { path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| pem_error(certificate, source))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| pem_error(key, source))?;
    let tls_error = |source| ServeError::Tls { address: listener.address, source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(tls_error)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
