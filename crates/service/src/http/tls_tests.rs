//! Listeners with TLS, with certificates made for the occasion.

use std::{fs, path::Path};

use axum::routing::get;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// A certificate for `plexus.test` and its key, in a folder.
struct Pair {
    folder: tempfile::TempDir,
    certificate: CertificateDer<'static>,
}

impl Pair {
    fn make() -> Self {
        let made = rcgen::generate_simple_self_signed(["plexus.test".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { folder, certificate: made.cert.der().clone() }
    }

    fn listener(&self) -> Listener {
        listener(&self.folder.path().join("certificate.pem"), &self.folder.path().join("key.pem"))
    }

    /// Connects as a client that trusts the certificate and offers these protocols.
    async fn connect(&self, address: SocketAddr, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("plexus.test").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

fn listener(certificate: &Path, key: &Path) -> Listener {
    Listener {
        tls_certificate: Some(certificate.to_owned()),
        tls_key: Some(key.to_owned()),
        ..Listener::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

#[tokio::test]
async fn requests_over_tls_are_answered() {
    let (shutdown, pair) = (Shutdown::new(), Pair::make());
    let router = Router::new().route("/", get(|| async { "sealed" }));
    let address = serve("test", &pair.listener(), router, &shutdown).await.unwrap();

    // Without TLS the connection leads nowhere, and the listener goes on.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: plexus.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Whether it is closed or reset is the kernel's choice.
    plain.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    let mut stream = pair.connect(address, &[b"http/1.1"]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: plexus.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nsealed"), "{answer}");
    assert!(shutdown.finish(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn http_2_is_offered_first() {
    let (shutdown, pair) = (Shutdown::new(), Pair::make());
    let address = serve("test", &pair.listener(), Router::new(), &shutdown).await.unwrap();
    let stream = pair.connect(address, &[b"http/1.1", b"h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn files_that_do_not_serve_are_named() {
    let (shutdown, pair, other) = (Shutdown::new(), Pair::make(), Pair::make());
    let folder = pair.folder.path();
    let missing = listener(&folder.join("nothing.pem"), &folder.join("key.pem"));
    let error = serve("test", &missing, Router::new(), &shutdown).await.unwrap_err();
    let ServeError::Tls { source: TlsError::Pem { path, .. }, .. } = &error else { panic!("{error}") };
    assert!(path.ends_with("nothing.pem"), "{error}");

    let swapped = listener(&folder.join("certificate.pem"), &folder.join("certificate.pem"));
    let error = serve("test", &swapped, Router::new(), &shutdown).await.unwrap_err();
    assert!(matches!(&error, ServeError::Tls { source: TlsError::Pem { .. }, .. }), "{error}");

    let foreign = listener(&folder.join("certificate.pem"), &other.folder.path().join("key.pem"));
    let error = serve("test", &foreign, Router::new(), &shutdown).await.unwrap_err();
    assert!(matches!(&error, ServeError::Tls { source: TlsError::Rustls(_), .. }), "{error}");
}
