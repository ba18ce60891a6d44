//! TLS toward strangers: whom to believe.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tracing::warn;

/// Protocols that are offered to servers of HTTP.
const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error("cannot read {}; it must be a PEM file with certificates of authorities", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate does not work, or there is none.
    #[error("the certificates of authorities do not work")]
    Certificate(#[from] rustls::Error),
    /// Neither the system nor the configuration has authorities.
    #[error("there are no certificates of authorities: install ca-certificates, or name files in `ca_files`")]
    Nobody,
}

/// Makes the TLS of clients of HTTP, which believe the authorities of the system and those of these files. There is no
/// way not to verify.
pub fn client(authorities: &[PathBuf]) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    for file in authorities {
        for certificate in read(file)? {
            roots.add(certificate)?;
        }
    }
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        warn!(%error, "cannot read some of the system's authorities");
    }
    // Systems hold certificates that nobody can use.
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err(TrustError::Nobody);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = HTTP.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TrustError::File { path: path.to_owned(), source })
}
