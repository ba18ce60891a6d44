//! Nonces of registration by shared secret: each is good once, for a minute.

use std::time::Duration;

use moka::sync::Cache;

use crate::secrets;

const LIFETIME: Duration = Duration::from_secs(60);
/// Beyond these the oldest are forgotten.
const MAX_NONCES: u64 = 1_000;

/// The nonces that are still good. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Nonces {
    good: Cache<String, ()>,
}

impl Nonces {
    pub(crate) fn new() -> Self {
        Self { good: Cache::builder().max_capacity(MAX_NONCES).time_to_live(LIFETIME).build() }
    }

    /// Makes one.
    pub(crate) fn issue(&self) -> String {
        let nonce = secrets::random_text();
        self.good.insert(nonce.clone(), ());
        nonce
    }

    /// Uses one up. Returns whether it was good.
    pub(crate) fn redeem(&self, nonce: &str) -> bool {
        self.good.remove(nonce).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_good_once() {
        let nonces = Nonces::new();
        let nonce = nonces.issue();
        assert!(nonces.redeem(&nonce));
        assert!(!nonces.redeem(&nonce));
        assert!(!nonces.redeem("made up"));
    }
}
