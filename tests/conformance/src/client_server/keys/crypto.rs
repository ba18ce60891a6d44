//! Keys and signatures, as clients make them.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::actor::User;

/// A key that signs.
pub(crate) struct Key(SigningKey);

impl Key {
    /// Makes one that nobody else has.
    pub(crate) fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(1);
        let mut seed = [7; 32];
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        seed[..8].copy_from_slice(&MADE.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        seed[8..24].copy_from_slice(&time.as_nanos().to_be_bytes());
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public key.
    pub(crate) fn public(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.verifying_key().to_bytes())
    }

    /// Signs an object as the key `ed25519:<id>` of a user.
    pub(crate) fn sign(&self, object: &mut Value, user: &str, id: &str) {
        let mut part = object.clone();
        if let Some(part) = part.as_object_mut() {
            part.remove("signatures");
            part.remove("unsigned");
        }
        // The keys of objects are sorted, and there is no space between them: that is the canonical form.
        let signature = STANDARD_NO_PAD.encode(self.0.sign(part.to_string().as_bytes()).to_bytes());
        object["signatures"][user][format!("ed25519:{id}")] = json!(signature);
    }

    /// A cross-signing key of this public key.
    pub(crate) fn cross_signing(&self, user: &User, usage: &str) -> Value {
        let public = self.public();
        json!({ "user_id": user.id, "usage": [usage], "keys": { (format!("ed25519:{public}")): public } })
    }
}

/// Identity keys of a device, signed by itself.
pub(crate) fn device_keys(user: &User, key: &Key) -> Value {
    let mut keys = json!({
        "user_id": user.id,
        "device_id": user.device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            (format!("ed25519:{}", user.device)): key.public(),
            (format!("curve25519:{}", user.device)): Key::new().public(),
        },
    });
    key.sign(&mut keys, &user.id, &user.device);
    keys
}
