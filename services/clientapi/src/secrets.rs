//! Makes tokens, sessions and nonces, which must not be guessed, and device IDs and names, which only must not repeat.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::Rng as _;
use ruma::OwnedDeviceId;

/// Makes an access token: 256 random bits.
pub(crate) fn access_token() -> String {
    format!("pla_{}", random_text())
}

/// Makes a refresh token: 256 random bits.
pub(crate) fn refresh_token() -> String {
    format!("plr_{}", random_text())
}

/// 256 random bits, in an alphabet that needs no escaping anywhere.
pub(crate) fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Ten capital letters, as other servers make them too.
pub(crate) fn device_id() -> OwnedDeviceId {
    let mut random = rand::rng();
    let id: String = (0..10).map(|_| char::from(random.random_range(b'A'..=b'Z'))).collect();
    id.into()
}

/// A localpart for whoever does not choose one.
pub(crate) fn localpart() -> String {
    let mut random = rand::rng();
    (0..12).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}
