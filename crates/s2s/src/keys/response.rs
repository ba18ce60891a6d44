//! The answer of `/_matrix/key/v2/server`: reading and making it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use plexus_events::{
    Object, SigningKey, Value,
    canonical::{self, CanonicalError},
    verify,
};
use ruma::{Int, ServerName};

use super::{Key, ServerKeys};
use crate::authorization::is_key_id;

/// Most bytes of an answer.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most keys of one answer that are looked at, current and old.
const MAX_KEYS: usize = 256;

/// An answer that proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// It is too long.
    #[error("the answer is too long")]
    TooLarge,
    /// It has no canonical form.
    #[error(transparent)]
    Json(#[from] CanonicalError),
    /// A field is missing, or something else.
    #[error("`{0}` is missing or malformed")]
    Field(&'static str),
    /// It is about another server.
    #[error("the answer is about another server")]
    OtherServer,
    /// None of the current keys has signed it, or one has not that should have.
    #[error("the answer is not signed by the server's keys")]
    Unsigned,
}

/// Reads what a server signed, and checks that one of its current keys signed it and none wrongly.
pub fn read(
    body: &[u8],
    server: &ServerName,
    now: i64,
    is_direct: bool,
) -> Result<ServerKeys, ResponseError> {
    if body.len() > MAX_BYTES {
        return Err(ResponseError::TooLarge);
    }
    let object = canonical::parse_object(body)?;
    if object.get("server_name").and_then(Value::as_str) != Some(server.as_str()) {
        return Err(ResponseError::OtherServer);
    }
    let valid_until_ts = integer(&object, "valid_until_ts")?;
    let mut keys = BTreeMap::new();
    for (id, fields) in object_of(&object, "old_verify_keys")? {
        let expired_ts = Some(integer(fields, "expired_ts")?);
        if let Some(public) = public(id, fields)? {
            let key = Key { public, valid_until_ts: 0, expired_ts, fetched_ts: now, is_direct };
            keys.insert(id.to_owned(), key);
        }
    }
    let current = object_of(&object, "verify_keys")?;
    if current.is_empty() {
        return Err(ResponseError::Field("verify_keys"));
    }
    let mut signers = BTreeMap::new();
    for (id, fields) in current {
        if let Some(public) = public(id, fields)? {
            signers.insert(id.to_owned(), public);
            let key = Key { public, valid_until_ts, expired_ts: None, fetched_ts: now, is_direct };
            // A key that is in both maps is current.
            keys.insert(id.to_owned(), key);
        }
    }
    if keys.len() > MAX_KEYS {
        return Err(ResponseError::Field("verify_keys"));
    }
    if !is_signed(&object, server, &signers) {
        return Err(ResponseError::Unsigned);
    }
    Ok(ServerKeys {
        server: server.to_owned(),
        keys,
        response: Bytes::copy_from_slice(body),
        valid_until_ts,
        fetched_ts: now,
    })
}

/// True if an object is signed by at least one of the keys of a server, and by none of them wrongly.
#[must_use]
pub fn is_signed(object: &Object, server: &ServerName, keys: &BTreeMap<String, [u8; 32]>) -> bool {
    let signatures = object.get("signatures").and_then(Value::as_object);
    let Some(claimed) = signatures.and_then(|all| all.get(server.as_str())).and_then(Value::as_object) else {
        return false;
    };
    let signed = signed_bytes(object);
    let mut verified = false;
    for (id, signature) in claimed {
        let Some(key) = keys.get(id) else { continue };
        if !signature.as_str().is_some_and(|signature| verify::is_signed(&signed, signature, key)) {
            return false;
        }
        verified = true;
    }
    verified
}

/// What is signed of an object: all but its signatures.
fn signed_bytes(object: &Object) -> Vec<u8> {
    let kept = object.iter().filter(|(key, _)| !matches!(key.as_str(), "signatures" | "unsigned"));
    canonical::object_to_vec(&kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Adds the signature of a server to what it, or another, has signed.
pub fn sign(object: &mut Object, server: &ServerName, key: &SigningKey) {
    let signature = key.sign(&signed_bytes(object));
    let signatures = object.entry("signatures".to_owned()).or_insert_with(|| Value::Object(Object::new()));
    if !matches!(signatures, Value::Object(_)) {
        *signatures = Value::Object(Object::new());
    }
    if let Value::Object(signatures) = signatures {
        let own = signatures.entry(server.to_string()).or_insert_with(|| Value::Object(Object::new()));
        if !matches!(own, Value::Object(_)) {
            *own = Value::Object(Object::new());
        }
        if let Value::Object(own) = own {
            own.insert(key.key_id().to_owned(), Value::String(signature));
        }
    }
}

/// A key of ours that signs nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldKey {
    /// Its ID.
    pub key_id: String,
    /// The public key.
    pub public: [u8; 32],
    /// When it was taken out of use.
    pub expired_ts: i64,
}

/// Makes our own answer: canonical JSON, signed by every current key. A key is never both current and old.
#[must_use]
pub fn make(server: &ServerName, current: &[SigningKey], old: &[OldKey], valid_until_ts: i64) -> Bytes {
    let text = |text: &str| Value::String(text.to_owned());
    let number = |number: i64| Value::Integer(Int::new_saturating(number));
    let field = |key: &[u8; 32]| ("key".to_owned(), text(&STANDARD_NO_PAD.encode(key)));
    let verify_keys = current
        .iter()
        .map(|key| (key.key_id().to_owned(), Value::Object([field(&key.public_key())].into())))
        .collect();
    let is_current = |old: &OldKey| current.iter().any(|key| key.key_id() == old.key_id);
    let old_verify_keys = old
        .iter()
        .filter(|key| !is_current(key))
        .map(|key| {
            let expired = ("expired_ts".to_owned(), number(key.expired_ts));
            (key.key_id.clone(), Value::Object([expired, field(&key.public)].into()))
        })
        .collect();
    let mut object = Object::from([
        ("old_verify_keys".to_owned(), Value::Object(old_verify_keys)),
        ("server_name".to_owned(), text(server.as_str())),
        ("valid_until_ts".to_owned(), number(valid_until_ts)),
        ("verify_keys".to_owned(), Value::Object(verify_keys)),
    ]);
    for key in current {
        sign(&mut object, server, key);
    }
    Bytes::from(canonical::object_to_vec(&object))
}

fn integer(object: &Object, field: &'static str) -> Result<i64, ResponseError> {
    object.get(field).and_then(Value::as_integer).map(i64::from).ok_or(ResponseError::Field(field))
}

fn object_of<'a>(
    object: &'a Object,
    field: &'static str,
) -> Result<Vec<(&'a str, &'a Object)>, ResponseError> {
    let Some(value) = object.get(field) else { return Ok(Vec::new()) };
    let fields = value.as_object().ok_or(ResponseError::Field(field))?;
    let inner = |(id, value): (&'a String, &'a Value)| {
        value.as_object().map(|inner| (id.as_str(), inner)).ok_or(ResponseError::Field(field))
    };
    fields.iter().map(inner).collect()
}

/// A key of an algorithm that we know.
fn public(id: &str, fields: &Object) -> Result<Option<[u8; 32]>, ResponseError> {
    if !id.starts_with("ed25519:") || !is_key_id(id) {
        return Ok(None);
    }
    let key = fields.get("key").and_then(Value::as_str).and_then(verify::public_key);
    key.map(Some).ok_or(ResponseError::Field("key"))
}
