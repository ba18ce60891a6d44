//! Media IDs.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#security-considerations-5)

/// Most characters of a media ID.
pub const MAX_MEDIA_ID: usize = 255;

/// Tells whether a text may be a media ID: `[A-Za-z0-9_-]`, and not too long.
#[must_use]
pub fn is_media_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_MEDIA_ID).contains(&text.len()) && text.bytes().all(is_plain)
}
