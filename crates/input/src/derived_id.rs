//! IDs of inputs that are made of what they are.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Names an input by what it is, so that a repeat makes the same one: 16 bytes of a hash of these parts, in order.
#[must_use]
pub fn derived_id(parts: &[&[u8]]) -> Bytes {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    Bytes::copy_from_slice(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::derived_id;

    #[test]
    fn parts_are_told_apart() {
        assert_eq!(derived_id(&[b"a", b"b"]), derived_id(&[b"a", b"b"]));
        assert_ne!(derived_id(&[b"a", b"b"]), derived_id(&[b"ab", b""]));
        assert_eq!(derived_id(&[]).len(), 16);
    }
}
