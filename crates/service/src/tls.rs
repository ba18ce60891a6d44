//! TLS: certificates and keys, read again when their files change.
//!
//! Whoever renews a certificate replaces its files; connections made from then on use the new one. Files that do not go
//! together, as while they are being replaced, leave the old one in use.

mod reloaded;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

pub(crate) use self::reloaded::Reloaded;
use crate::config::{CallConfig, Listener};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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
    #[error("the certificate and the key do not work")]
    Rustls(#[from] rustls::Error),
    /// There are no certificates to verify by.
    #[error("the certificates of authorities do not work")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// Makes what speaks TLS on a listener; `None` if it is plain.
pub(crate) fn of_listener(listener: &Listener) -> Result<Option<Reloaded<ServerConfig>>, TlsError> {
    let (Some(certificate), Some(key)) = (listener.tls_certificate.clone(), listener.tls_key.clone()) else {
        return Ok(None);
    };
    let authorities = listener.tls_client_ca.clone();
    let files: Vec<PathBuf> =
        [Some(&certificate), Some(&key), authorities.as_ref()].into_iter().flatten().cloned().collect();
    let make = move || {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let roots = Arc::new(roots(authorities)?);
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?,
                )
            }
        };
        let mut config = builder.with_single_cert(chain(&certificate)?, private(&key)?)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    };
    Reloaded::new(files, make).map(Some)
}

/// Makes what speaks TLS with listeners that speak gRPC; `None` without authorities to trust.
pub(crate) fn of_caller(config: &CallConfig) -> Result<Option<Reloaded<ClientConfig>>, TlsError> {
    let Some(authorities) = config.tls_ca.clone() else { return Ok(None) };
    let ours = config.tls_certificate.clone().zip(config.tls_key.clone());
    let mut files = vec![authorities.clone()];
    files.extend(ours.iter().flat_map(|(certificate, key)| [certificate.clone(), key.clone()]));
    let make = move || -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&authorities)?);
        let mut config = match &ours {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(chain(certificate)?, private(key)?)?,
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    };
    Reloaded::new(files, make).map(Some)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}

fn private(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
