//! The key that signs events: the one place that makes signatures.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD},
};
use ed25519_dalek::Signer as _;
use ruma::{AnyKeyName, OwnedSigningKeyId, ServerName, signatures};

use crate::{canonical::Object, version::RoomRules};

/// An event that cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("failed to sign the event: {0}")]
pub struct SignError(String);

/// Adds this server's signature to an event that carries its hashes.
///
/// # Errors
///
/// Fails if the event is malformed.
pub fn sign_event(
    event: &mut Object,
    server_name: &ServerName,
    key: &SigningKey,
    rules: &RoomRules,
) -> Result<(), SignError> {
    signatures::sign_event(server_name.as_str(), key, event, &rules.rules.redaction)
        .map_err(|error| SignError(error.to_string()))
}

/// Reads seeds as other homeservers write them: with or without padding, and with stray bits at the end.
const SEED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An Ed25519 key with its version.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    key_id: String,
}

/// The text of a key file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyParseError {
    /// It is not `ed25519 <version> <seed>`.
    #[error("expected one line: `ed25519 <version> <unpadded base64 of the 32 byte seed>`")]
    Format,
    /// The version has characters that a key ID may not have.
    #[error("the version of the key may only hold letters, digits and `_`")]
    Version,
    /// The seed is not the base64 of 32 bytes.
    #[error("the seed is not the base64 of 32 bytes")]
    Seed,
}

impl SigningKey {
    /// Makes a key from its seed.
    ///
    /// # Errors
    ///
    /// Fails if the version has characters that a key ID may not have.
    pub fn from_seed(version: &str, seed: &[u8; 32]) -> Result<Self, KeyParseError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if version.is_empty() || version.len() > 64 || !version.bytes().all(allowed) {
            return Err(KeyParseError::Version);
        }
        Ok(Self { key: ed25519_dalek::SigningKey::from_bytes(seed), key_id: format!("ed25519:{version}") })
    }

    /// Reads the text of a key file: `ed25519 <version> <unpadded base64 of the seed>`.
    ///
    /// # Errors
    ///
    /// Fails if the text has another form.
    pub fn parse(text: &str) -> Result<Self, KeyParseError> {
        let mut words = text.split_whitespace();
        let (Some("ed25519"), Some(version), Some(seed), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyParseError::Format);
        };
        let seed = SEED.decode(seed).map_err(|_| KeyParseError::Seed)?;
        let seed: [u8; 32] = seed.try_into().map_err(|_| KeyParseError::Seed)?;
        Self::from_seed(version, &seed)
    }

    /// Returns the text of the key file.
    #[must_use]
    pub fn to_file_text(&self) -> String {
        let version = self.version();
        format!("ed25519 {version} {}\n", STANDARD_NO_PAD.encode(self.key.to_bytes()))
    }

    /// Signs bytes and returns the signature as unpadded base64.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        STANDARD_NO_PAD.encode(self.key.sign(message).to_bytes())
    }

    /// The ID of the key, such as `ed25519:a_b1c2`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The version of the key: what follows the colon in its ID.
    #[must_use]
    pub fn version(&self) -> &str {
        self.key_id.strip_prefix("ed25519:").unwrap_or_default()
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }
}

impl signatures::KeyPair for SigningKey {
    fn sign(&self, message: &[u8]) -> signatures::Signature {
        let id: OwnedSigningKeyId<AnyKeyName> =
            self.key_id.as_str().try_into().expect("the version was checked when the key was made");
        signatures::Signature::new(id, self.key.sign(message).to_bytes().to_vec())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyParseError, SigningKey};

    #[test]
    fn key_of_the_specification_signs_as_the_specification_says() {
        // Appendix "Cryptographic test vectors", signing of `{}`.
        let key = SigningKey::parse("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
        assert_eq!(
            key.sign(b"{}"),
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"
        );
    }

    #[test]
    fn key_survives_the_file() {
        let key = SigningKey::from_seed("a_1", &[7; 32]).unwrap();
        let read = SigningKey::parse(&key.to_file_text()).unwrap();
        assert_eq!((read.key_id(), read.public_key()), (key.key_id(), key.public_key()));
        assert_eq!(key.version(), "a_1");
        assert!(!format!("{key:?}").contains("BwcHBw"));
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, error) in [
            ("", KeyParseError::Format),
            ("ed25519 1", KeyParseError::Format),
            ("rsa 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1", KeyParseError::Format),
            ("ed25519 a:b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1", KeyParseError::Version),
            ("ed25519 1 AAAA", KeyParseError::Seed),
            ("ed25519 1 !", KeyParseError::Seed),
        ] {
            assert_eq!(SigningKey::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
