//! Another server: a key, a listener that tells it, and signed requests.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

const CERTIFICATE: &str = include_str!("../../../servers/peer.pem");
const KEY: &str = include_str!("../../../servers/peer.key");
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Milliseconds since the Unix epoch.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What a server says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is current.
    Current,
    /// It was valid until yesterday.
    Stale,
    /// It is an old one; another one is current.
    Old,
    /// It is current, but nobody has signed that.
    Unsigned,
    /// It is the key of another server.
    OtherServer,
}

/// What answers requests that no beginning fits.
pub(super) type Otherwise = Box<dyn Fn(&Asked) -> Option<(u16, Value)> + Send + Sync>;

/// A server.
#[derive(Clone)]
pub(super) struct Peer {
    /// Its name.
    pub(super) name: String,
    key: SigningKey,
    answers: Arc<Answers>,
}

/// A request that a server was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Method and path with query.
    pub(super) what: String,
    /// Body.
    pub(super) body: Value,
}

/// An answer that need not be JSON.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    /// Status.
    pub(super) status: u16,
    /// Content type.
    pub(super) content_type: String,
    /// Body.
    pub(super) body: Vec<u8>,
    /// Whether the connection breaks off in the middle of the body.
    pub(super) is_cut: bool,
}

/// What a server answers, by the beginning of method and path, and what it was asked.
#[derive(Default)]
struct Answers {
    raw: Mutex<BTreeMap<String, Raw>>,
    by_prefix: Mutex<BTreeMap<String, (u16, Value)>>,
    asked: Mutex<Vec<Asked>>,
    otherwise: OnceLock<Otherwise>,
}

impl Answers {
    /// The answer with the longest beginning counts.
    fn find(&self, asked: Asked) -> Raw {
        let raws = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        let raw = raws.iter().filter(|(prefix, _)| asked.what.starts_with(prefix.as_str()));
        let raw = raw.max_by_key(|(prefix, _)| prefix.len()).map(|(_, raw)| raw.clone());
        drop(raws);
        let (status, body) = self.find_json(asked);
        let json = || Raw {
            status,
            content_type: "application/json".to_owned(),
            body: body.to_string().into_bytes(),
            is_cut: false,
        };
        raw.unwrap_or_else(json)
    }

    fn find_json(&self, asked: Asked) -> (u16, Value) {
        let answers = self.by_prefix.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = answers.iter().filter(|(prefix, _)| asked.what.starts_with(prefix.as_str()));
        let answer = fits.max_by_key(|(prefix, _)| prefix.len()).map(|(_, answer)| answer.clone());
        drop(answers);
        let answer = answer.or_else(|| self.otherwise.get()?(&asked));
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        answer.unwrap_or((404, json!({ "errcode": "M_NOT_FOUND", "error": "There is no such thing" })))
    }
}

impl Peer {
    /// Starts one. It ends with the process.
    pub(super) async fn start(told: Told) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port can be had");
        let address = listener.local_addr().expect("it has an address");
        let key = SigningKey::from_bytes(&seed(address));
        let peer = Self { name: address.to_string(), key, answers: Arc::default() };
        peer.answers("GET /_matrix/key/v2/server", 200, peer.keys(told));
        // What the server under test tells it.
        peer.answers("PUT /_matrix/federation/v1/send/", 200, json!({ "pdus": {} }));
        let (acceptor, answers) = (acceptor(), Arc::clone(&peer.answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(acceptor.clone(), stream, Arc::clone(&answers)));
            }
        });
        peer
    }

    /// Answers requests from here on that begin so: `GET /_matrix/federation/v1/event/`.
    pub(super) fn answers(&self, prefix: &str, status: u16, body: Value) {
        let mut answers = self.answers.by_prefix.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(prefix.to_owned(), (status, body));
    }

    /// Answers requests from here on that begin so with what need not be JSON, whatever else was said of them.
    pub(super) fn answers_raw(&self, prefix: &str, raw: Raw) {
        let mut answers = self.answers.raw.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(prefix.to_owned(), raw);
    }

    /// Has requests answered that no beginning fits; once.
    pub(super) fn answers_otherwise(&self, otherwise: Otherwise) {
        assert!(self.answers.otherwise.set(otherwise).is_ok(), "it is said once");
    }

    /// The requests so far that begin so.
    pub(super) fn asked(&self, prefix: &str) -> Vec<Asked> {
        let asked = self.answers.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|asked| asked.what.starts_with(prefix)).cloned().collect()
    }

    /// Signs bytes; unpadded base64.
    pub(super) fn signature(&self, bytes: &[u8]) -> String {
        STANDARD_NO_PAD.encode(self.key.sign(bytes).to_bytes())
    }

    fn keys(&self, told: Told) -> Value {
        let public = |key: &SigningKey| STANDARD_NO_PAD.encode(key.verifying_key().to_bytes());
        let other = SigningKey::from_bytes(&[7; 32]);
        let (current, id, old, valid_for) = match told {
            Told::Current | Told::Unsigned | Told::OtherServer => (&self.key, "ed25519:a", json!({}), DAY),
            Told::Stale => (&self.key, "ed25519:a", json!({}), -DAY),
            Told::Old => {
                let old = json!({ "ed25519:a": { "key": public(&self.key), "expired_ts": now() - 1000 } });
                (&other, "ed25519:b", old, DAY)
            }
        };
        let name = if told == Told::OtherServer { "127.0.0.1:1" } else { &self.name };
        let mut keys = json!({
            "server_name": name,
            "valid_until_ts": now() + valid_for,
            "verify_keys": { id: { "key": public(current) } },
            "old_verify_keys": old,
        });
        if told != Told::Unsigned {
            let signature = STANDARD_NO_PAD.encode(current.sign(keys.to_string().as_bytes()).to_bytes());
            keys["signatures"] = json!({ name: { id: signature } });
        }
        keys
    }

    /// The public key.
    pub(super) fn public(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// The header of a request of this server to another one.
    pub(super) fn signs(
        &self,
        method: &str,
        uri: &str,
        destination: &str,
        content: Option<&Value>,
    ) -> String {
        let mut object =
            json!({ "method": method, "uri": uri, "origin": self.name, "destination": destination });
        if let Some(content) = content {
            object["content"] = content.clone();
        }
        let signature = STANDARD_NO_PAD.encode(self.key.sign(object.to_string().as_bytes()).to_bytes());
        let name = &self.name;
        format!(r#"X-Matrix origin="{name}",destination="{destination}",key="ed25519:a",sig="{signature}""#)
    }
}

/// Answers one request of a connection.
async fn answer(acceptor: TlsAcceptor, stream: TcpStream, answers: Arc<Answers>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let line = head.lines().next().unwrap_or_default();
    let what = line.rsplit_once(' ').map_or(line, |(what, _)| what).to_owned();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let Raw { status, content_type, body, is_cut } = answers.find(Asked { what, body });
    let (reason, length) = (if status == 200 { "OK" } else { "No" }, body.len());
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    // Whoever asked may have gone.
    stream.write_all(head.as_bytes()).await.ok();
    stream.write_all(&body[..if is_cut { length / 2 } else { length }]).await.ok();
    stream.shutdown().await.ok();
}

fn seed(address: SocketAddr) -> [u8; 32] {
    let mut seed = [3; 32];
    seed[..2].copy_from_slice(&address.port().to_be_bytes());
    seed
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("it is a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("it is a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("there are versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they go together");
    TlsAcceptor::from(Arc::new(config))
}

/// True if a server has signed an object with one of these keys, by ID; keys that are not among them are ignored.
pub(super) fn has_signed(object: &Value, server: &str, id: &str, key: &VerifyingKey) -> bool {
    let mut signed = object.clone();
    let Some(fields) = signed.as_object_mut() else { return false };
    let signatures = fields.remove("signatures").unwrap_or_default();
    fields.remove("unsigned");
    let signature = signatures[server][id].as_str().and_then(|text| STANDARD_NO_PAD.decode(text).ok());
    let signature = signature.and_then(|bytes| ed25519_dalek::Signature::from_slice(&bytes).ok());
    signature.is_some_and(|signature| key.verify_strict(signed.to_string().as_bytes(), &signature).is_ok())
}

/// A public key in base64.
pub(super) fn public(text: &str) -> VerifyingKey {
    let bytes = STANDARD_NO_PAD.decode(text).expect("it is unpadded base64");
    VerifyingKey::from_bytes(&bytes.try_into().expect("it has 32 bytes")).expect("it is a key")
}
