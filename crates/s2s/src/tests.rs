//! Requests over TLS, to servers on loopback with an authority of their own.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use plexus_events::SigningKey;
use plexus_outbound::{AddressPolicy, DEFAULT_DENIED, Dialer, Fetcher, Resolve, ResolveError, Service, tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    authorization::{Authorization, Signed},
    keys::source::KeySource as _,
    request::Identity,
};

/// An authority, the names that it vouches for, and where they are.
struct Net {
    issuer: Issuer<'static, KeyPair>,
    authority: tempfile::NamedTempFile,
    names: Mutex<HashMap<String, Vec<IpAddr>>>,
    services: Mutex<HashMap<String, Vec<Service>>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }
}

/// A server that answers what the test says.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Net {
    fn new() -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(authority.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Arc::new(Self { issuer, authority, names: Mutex::default(), services: Mutex::default() })
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Starts a server with a certificate for a name, and makes the name lead to its address.
    async fn serve(&self, at: &str, name: &str, answer: &'static str) -> Server {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.names.lock().entry(name.to_owned()).or_default().push(address.ip());
        let (acceptor, seen) = (self.acceptor(name), Arc::<Mutex<Vec<Seen>>>::default());
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, all) = (acceptor.clone(), Arc::clone(&all));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    while let Some(request) = read(&mut stream).await {
                        all.lock().push(request);
                        if answer.is_empty() {
                            std::future::pending::<()>().await;
                        }
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Server { address, seen }
    }

    fn peers(self: &Arc<Self>) -> Peers {
        let policy = AddressPolicy::new(DEFAULT_DENIED, &["127.0.0.0/16"]).unwrap();
        let config = tls::client(&[self.authority.path().to_owned()]).unwrap();
        let dialer = Dialer::new(policy, Arc::clone(self) as _, config);
        let agent = HeaderValue::from_static("Plexus/test");
        let fetcher = Fetcher::new(dialer.clone(), agent.clone());
        let discovery = Discovery::new(Arc::clone(self) as _, Box::new(fetcher));
        let identity = Identity { name: "us.test".try_into().unwrap(), key: Arc::new(key()), agent };
        Peers::new(identity, dialer, discovery, Health::default(), 100)
    }
}

#[async_trait]
impl Resolve for Net {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.names.lock().get(host).cloned().ok_or(ResolveError::NotFound)
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>, ResolveError> {
        self.services.lock().get(name).cloned().ok_or(ResolveError::NotFound)
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed("a", &[5; 32]).unwrap()
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let mut seen = Seen { head: String::from_utf8(head).unwrap(), body: Vec::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    seen.body = vec![0; length];
    stream.read_exact(&mut seen.body).await.ok()?;
    Some(seen)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn put(destination: &ServerName) -> Call<'_> {
    Call {
        destination,
        method: Method::PUT,
        path: "/_matrix/federation/v1/send/%21x?a=%20b",
        body: Some(Bytes::from_static(br#"{"b":1.5,"a":"x"}"#)),
        class: Class { deadline: Duration::from_secs(10), ignores_health: false, ..Class::TRANSACTION },
        is_signed: true,
    }
}

type ServerName = ruma::ServerName;

fn name(text: &str) -> ruma::OwnedServerName {
    text.try_into().unwrap()
}

/// The server finds the signature that it computes from what came over the wire.
#[tokio::test]
async fn requests_arrive_as_they_were_signed() {
    let net = Net::new();
    let server = net.serve("127.0.0.1:0", "a.test", OK).await;
    let destination = name(&format!("a.test:{}", server.address.port()));
    let answer = net.peers().call(put(&destination)).await.unwrap();
    assert_eq!(&answer.body[..], b"{}");
    let seen = server.seen.lock()[0].clone();
    let claim = Authorization::parse(seen.header("authorization").unwrap().as_bytes()).unwrap();
    assert_eq!((claim.origin.as_str(), claim.destination.as_deref()), ("us.test", Some(&*destination)));
    let signed = Signed {
        method: "PUT",
        uri: seen.target(),
        origin: &claim.origin,
        destination: &destination,
        content: Some(&seen.body),
    };
    assert!(signed.is_signed(&claim.signature, &key().public_key()));
    assert_eq!(seen.header("host"), Some(destination.as_str()));
    assert_eq!(seen.header("user-agent"), Some("Plexus/test"));
}

/// `Host` and certificate are those of the name that speaks for the server, and the destination is the server.
#[tokio::test]
async fn delegated_servers_are_asked_by_the_name_that_speaks_for_them() {
    let net = Net::new();
    let server = net.serve("127.0.0.1:0", "inner.test", OK).await;
    let service =
        Service { priority: 1, weight: 1, port: server.address.port(), target: "target.test".to_owned() };
    net.services.lock().insert("_matrix-fed._tcp.inner.test".to_owned(), vec![service]);
    net.names.lock().insert("target.test".to_owned(), vec![server.address.ip()]);
    let peers = net.peers();
    peers.call(put(&name("inner.test"))).await.unwrap();
    let seen = server.seen.lock()[0].clone();
    assert_eq!(seen.header("host"), Some("inner.test"));
    // The target of the record has a certificate of its own, which proves nothing.
    let wrong = net.serve("127.0.0.1:0", "target.test", OK).await;
    let service =
        Service { priority: 1, weight: 1, port: wrong.address.port(), target: "target.test".to_owned() };
    net.services.lock().insert("_matrix-fed._tcp.b.test".to_owned(), vec![service]);
    let error = peers.call(put(&name("b.test"))).await.unwrap_err();
    assert!(matches!(error, CallError::Connect(_)), "{error:?}");
    assert!(error.chain().contains("certificate"), "{}", error.chain());
    assert_eq!(wrong.seen.lock().len(), 0);
}

#[tokio::test]
async fn private_addresses_are_not_connected_to() {
    let net = Net::new();
    // 127.1 is not among the allowed ones.
    let server = net.serve("127.1.0.1:0", "a.test", OK).await;
    let port = server.address.port();
    for destination in
        [format!("a.test:{port}"), format!("127.1.0.1:{port}"), format!("[::ffff:127.1.0.1]:{port}")]
    {
        let error = net.peers().call(put(&name(&destination))).await.unwrap_err();
        assert!(error.chain().contains("must not be connected to"), "{destination}: {}", error.chain());
        assert_eq!(error.fault(), Fault::Reach);
    }
    assert_eq!(server.seen.lock().len(), 0);
}

#[tokio::test]
async fn failures_say_whose_they_are() {
    let net = Net::new();
    let port = async |answer| {
        let server = net.serve("127.0.0.1:0", "a.test", answer).await;
        name(&format!("a.test:{}", server.address.port()))
    };
    let call = async |destination: &ServerName| {
        let class = Class { deadline: Duration::from_millis(700), max_body: 10, ..Class::TRANSACTION };
        net.peers().call(Call { class, ..put(destination) }).await.unwrap_err()
    };
    let refused = call(&port("HTTP/1.1 429 X\r\ncontent-length: 56\r\n\r\n{\"errcode\":\"M_LIMIT_EXCEEDED\",\"retry_after_ms\": 3000   }").await).await;
    let CallError::Refused(refusal) = &refused else { panic!("{refused:?}") };
    assert_eq!(refusal.errcode.as_deref(), Some("M_LIMIT_EXCEEDED"));
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(3)));
    assert_eq!((refused.fault(), refused.counts_against_server()), (Fault::Server, false));
    let down = call(&port("HTTP/1.1 502 X\r\ncontent-length: 0\r\n\r\n").await).await;
    assert_eq!((down.fault(), down.counts_against_server()), (Fault::Server, true));
    // Redirects are refusals: a request is signed for one server.
    let moved =
        call(&port("HTTP/1.1 302 X\r\nlocation: https://b.test/\r\ncontent-length: 0\r\n\r\n").await).await;
    assert!(matches!(moved, CallError::Refused(_)), "{moved:?}");
    let large = call(&port("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n12345678901").await).await;
    assert!(matches!(large, CallError::TooLarge), "{large:?}");
    let silent = call(&port("").await).await;
    assert!(matches!(silent, CallError::TimedOut), "{silent:?}");
    assert_eq!(silent.fault(), Fault::Reach);
    let nonsense = call(&port("SSH-2.0-OpenSSH\r\n\r\n").await).await;
    assert!(matches!(nonsense, CallError::Http(_)), "{nonsense:?}");
    let unknown = call(&name("nowhere.test")).await;
    assert!(matches!(unknown, CallError::Discover(_)), "{unknown:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_alone_until_it_says_something() {
    let net = Net::new();
    let peers = net.peers();
    let (port, gone) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        net.names.lock().insert("a.test".to_owned(), vec!["127.0.0.1".parse().unwrap()]);
        (port, name(&format!("a.test:{port}")))
    };
    assert!(matches!(peers.call(put(&gone)).await, Err(CallError::Connect(_))));
    let back = net.serve(&format!("127.0.0.1:{port}"), "a.test", OK).await;
    assert!(matches!(peers.call(put(&gone)).await, Err(CallError::BackOff { .. })));
    assert_eq!(back.seen.lock().len(), 0);
    peers.health().succeed(&gone);
    peers.call(put(&gone)).await.unwrap();
    assert_eq!(back.seen.lock().len(), 1);
}

#[tokio::test]
async fn connections_are_used_again() {
    let net = Net::new();
    let server = net.serve("127.0.0.1:0", "a.test", OK).await;
    let destination = name(&format!("a.test:{}", server.address.port()));
    let peers = net.peers();
    for _ in 0..5 {
        peers.call(put(&destination)).await.unwrap();
    }
    assert_eq!(server.seen.lock().len(), 5);
    assert_eq!(peers.connections(), 1);
}

#[tokio::test]
async fn keys_are_asked_for_without_a_signature() {
    let net = Net::new();
    let server = net.serve("127.0.0.1:0", "a.test", OK).await;
    let destination = name(&format!("a.test:{}", server.address.port()));
    assert_eq!(net.peers().ask(&destination).await.unwrap(), "{}");
    let seen = server.seen.lock()[0].clone();
    assert_eq!(seen.target(), "/_matrix/key/v2/server");
    assert_eq!(seen.header("authorization"), None);
}
