//! Connections, redirects and names that change their minds, against servers on loopback.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;

/// Resolves names as a test says: the n-th question for a name gets the n-th answer, and the last one for ever.
#[derive(Default)]
struct Names {
    answers: Vec<(&'static str, Vec<IpAddr>)>,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Names {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let known: Vec<_> = self.answers.iter().filter(|(name, _)| *name == host).collect();
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = known.get(turn).or(known.last()).ok_or(ResolveError::NotFound)?;
        Ok(answer.1.clone())
    }

    async fn services(&self, _: &str) -> Result<Vec<Service>, ResolveError> {
        Err(ResolveError::NotFound)
    }
}

/// A server that gives the same answer to everybody and counts who comes.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn plain(answer: impl Into<String>) -> Self {
        Self::start("127.0.0.1:0", answer.into(), None).await
    }

    async fn start(at: &str, answer: String, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let (answer, tls) = (answer.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, &answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, &answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn talk(mut stream: impl wire::Io, answer: &str) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).await.is_err() {
            return;
        }
        request.push(byte[0]);
    }
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// An authority of its own, which vouches for a name.
fn authority(name: &str) -> (TlsAcceptor, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}

fn trust() -> Arc<rustls::ClientConfig> {
    let (_, file) = authority("nobody.test");
    tls::client(&[file.path().to_owned()]).unwrap()
}

fn fetcher(names: Names, allowed: &[&str]) -> Fetcher {
    let policy = AddressPolicy::new(DEFAULT_DENIED, allowed).unwrap();
    Fetcher::new(Dialer::new(policy, Arc::new(names), trust()), HeaderValue::from_static("test"))
}

const LIMITS: Limits =
    Limits { deadline: Duration::from_secs(5), max_body: 1024, max_redirects: 3, https_only: false };

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn is_refused(error: &FetchError) -> bool {
    matches!(error.connect(), Some(ConnectError::Refused(_)))
}

#[tokio::test]
async fn odd_spellings_of_our_own_address_are_refused() {
    let server = Server::plain(answer("200 OK", "", "secret")).await;
    let port = server.address.port();
    let names = Names {
        answers: vec![
            ("localhost", vec!["127.0.0.1".parse().unwrap()]),
            ("127.0.0.1.nip.test", vec!["::ffff:127.0.0.1".parse().unwrap()]),
            ("mixed.test", vec!["::1".parse().unwrap(), "64:ff9b::7f00:1".parse().unwrap()]),
        ],
        ..Names::default()
    };
    let fetcher = fetcher(names, &[]);
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "127.0.0.1.nip.test",
        "mixed.test",
    ] {
        let error = fetcher.get(url(&format!("http://{host}:{port}/")), LIMITS).await.unwrap_err();
        assert!(is_refused(&error), "{host}: {error:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn allowed_addresses_are_reached() {
    let server = Server::plain(answer("200 OK", "x-a: b\r\n", "hello")).await;
    let names = Names { answers: vec![("ok.test", vec![server.address.ip()])], ..Names::default() };
    let fetched = fetcher(names, &["127.0.0.0/8"])
        .get(url(&format!("http://ok.test:{}/a?b#c", server.address.port())), LIMITS)
        .await
        .unwrap();
    assert_eq!((fetched.status.as_u16(), &fetched.body[..]), (200, &b"hello"[..]));
    assert_eq!(fetched.headers["x-a"], "b");
}

/// A name that first has an allowed address and then a private one gains nothing: what counts is where we connect to.
#[tokio::test]
async fn names_that_change_their_address_are_checked_each_time() {
    let inner = Server::start("127.0.0.2:0", answer("200 OK", "", "secret"), None).await;
    let port = inner.address.port();
    let outer =
        Server::start(&format!("127.0.0.1:{port}"), answer("302 Found", "location: /again\r\n", ""), None)
            .await;
    let names = Names {
        answers: vec![("rebind.test", vec![outer.address.ip()]), ("rebind.test", vec![inner.address.ip()])],
        ..Names::default()
    };
    let fetcher = fetcher(names, &["127.0.0.1"]);
    let error = fetcher.get(url(&format!("http://rebind.test:{port}/")), LIMITS).await.unwrap_err();
    assert!(is_refused(&error), "{error:?}");
    assert_eq!((outer.connections(), inner.connections()), (1, 0));
}

#[tokio::test]
async fn redirects_lead_nowhere_where_we_would_not_go() {
    let inner = Server::start("127.0.0.2:0", answer("200 OK", "", "secret"), None).await;
    let targets = [
        format!("http://{}/", inner.address),
        format!("http://127.2:{}/", inner.address.port()),
        format!("//[::ffff:127.0.0.2]:{}/", inner.address.port()),
    ];
    for target in targets {
        let outer = Server::plain(answer("301 Moved", &format!("location: {target}\r\n"), "")).await;
        let error = fetcher(Names::default(), &["127.0.0.1"])
            .get(url(&format!("http://{}/", outer.address)), LIMITS)
            .await
            .unwrap_err();
        assert!(is_refused(&error), "{target}: {error:?}");
    }
    for target in ["file:///etc/passwd", "gopher://127.0.0.1/", "http://user:word@127.0.0.1/", "http://["] {
        let outer = Server::plain(answer("302 Found", &format!("location: {target}\r\n"), "")).await;
        let error = fetcher(Names::default(), &["127.0.0.1"])
            .get(url(&format!("http://{}/", outer.address)), LIMITS)
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Url(_)), "{target}: {error:?}");
    }
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::plain(answer("307 Again", "location: /\r\n", "")).await;
    let error = fetcher(Names::default(), &["127.0.0.1"])
        .get(url(&format!("http://{}/", server.address)), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Redirects), "{error:?}");
    assert_eq!(server.connections(), 4);
    let https = Limits { https_only: true, ..LIMITS };
    let error = fetcher(Names::default(), &["127.0.0.1"])
        .get(url(&format!("http://{}/", server.address)), https)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Url(_)), "{error:?}");
}

#[tokio::test]
async fn bodies_and_times_have_bounds() {
    let long = "x".repeat(1025);
    let declared = answer("200 OK", "", &long);
    let undeclared = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{long}");
    for text in [declared, undeclared] {
        let server = Server::plain(text).await;
        let error = fetcher(Names::default(), &["127.0.0.1"])
            .get(url(&format!("http://{}/", server.address)), LIMITS)
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::TooLarge), "{error:?}");
    }
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits { deadline: Duration::from_millis(100), ..LIMITS };
    let error = fetcher(Names::default(), &["127.0.0.1"])
        .get(url(&format!("http://{}/", silent.local_addr().unwrap())), limits)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::TimedOut), "{error:?}");
}

#[tokio::test]
async fn certificates_must_be_for_the_name_and_by_somebody_whom_we_believe() {
    let (acceptor, file) = authority("right.test");
    let server = Server::start("127.0.0.1:0", answer("200 OK", "", "sealed"), Some(acceptor)).await;
    let port = server.address.port();
    let names = || Names {
        answers: vec![("right.test", vec![server.address.ip()]), ("wrong.test", vec![server.address.ip()])],
        ..Names::default()
    };
    let policy = || AddressPolicy::new(DEFAULT_DENIED, &["127.0.0.1"]).unwrap();
    let believing = tls::client(&[file.path().to_owned()]).unwrap();
    let agent = HeaderValue::from_static("test");
    let believer = Fetcher::new(Dialer::new(policy(), Arc::new(names()), believing), agent.clone());
    let fetched = believer.get(url(&format!("https://right.test:{port}/")), LIMITS).await.unwrap();
    assert_eq!(&fetched.body[..], b"sealed");
    let doubter = Fetcher::new(Dialer::new(policy(), Arc::new(names()), trust()), agent);
    let addressed = format!("127.0.0.1:{port}");
    for (fetcher, host) in [
        (&believer, format!("wrong.test:{port}")),
        (&believer, addressed),
        (&doubter, format!("right.test:{port}")),
    ] {
        let error = fetcher.get(url(&format!("https://{host}/")), LIMITS).await.unwrap_err();
        assert!(matches!(error.connect(), Some(ConnectError::Tls(_))), "{host}: {error:?}");
    }
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails() {
    let server = Server::plain(answer("200 OK", "", "there")).await;
    // Nobody listens at the first one, the second one must not be connected to.
    let addresses = ["127.0.0.9", "10.0.0.1", "127.0.0.1"].map(|address| address.parse().unwrap());
    let names = Names { answers: vec![("many.test", addresses.to_vec())], ..Names::default() };
    let fetched = fetcher(names, &["127.0.0.0/8"])
        .get(url(&format!("http://many.test:{}/", server.address.port())), LIMITS)
        .await
        .unwrap();
    assert_eq!(&fetched.body[..], b"there");
}
