//! Nonces of registration by shared secret: each is good once, for a minute.
//!
//! A nonce proves by itself that this server made it, so none has to be kept, and asking for many pushes out none. Only
//! those are remembered that were used by somebody who knows the secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use moka::sync::Cache;
use sha2::Sha256;

const LIFETIME: Duration = Duration::from_secs(60);
/// Used nonces that are remembered. Whoever knows the secret may create accounts, so they are no bound against anybody.
const MAX_USED: u64 = 100_000;
/// Seconds until which it is good, and what makes it unique.
const BODY: usize = 8 + 16;

/// Makes nonces and checks them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Nonces {
    mac: Option<Hmac<Sha256>>,
    used: Cache<String, ()>,
}

impl Nonces {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(secret).ok().map(|mut mac| {
            // The secret proves other things, too.
            mac.update(b"nonce of registration\0");
            mac
        });
        Self { mac, used: Cache::builder().max_capacity(MAX_USED).time_to_live(LIFETIME * 2).build() }
    }

    /// Makes one.
    pub(crate) fn issue(&self) -> String {
        self.issue_at(now())
    }

    /// Whether this server made it and it is still good; others may find so at the same time.
    pub(crate) fn is_good(&self, nonce: &str) -> bool {
        self.is_good_at(nonce, now()) && !self.used.contains_key(nonce)
    }

    /// Uses one up that is good. Returns whether nobody else has.
    pub(crate) fn use_up(&self, nonce: &str) -> bool {
        self.used.entry_by_ref(nonce).or_insert(()).is_fresh()
    }

    fn issue_at(&self, now: Duration) -> String {
        let mut bytes = Vec::with_capacity(BODY + 32);
        bytes.extend((now + LIFETIME).as_secs().to_be_bytes());
        bytes.extend(rand::random::<[u8; 16]>());
        let mac = self.mac.clone().map(|mac| mac.chain_update(&bytes).finalize().into_bytes());
        bytes.extend(mac.unwrap_or_default());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn is_good_at(&self, nonce: &str, now: Duration) -> bool {
        let (Some(mac), Ok(bytes)) = (self.mac.clone(), URL_SAFE_NO_PAD.decode(nonce)) else {
            return false;
        };
        let Some((body, claimed)) = bytes.split_at_checked(BODY) else {
            return false;
        };
        let until = body.first_chunk().map(|until| u64::from_be_bytes(*until));
        mac.chain_update(body).verify_slice(claimed).is_ok()
            && until.is_some_and(|until| now.as_secs() < until)
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_good_once() {
        let nonces = Nonces::new(b"secret");
        let nonce = nonces.issue();
        assert!(nonces.is_good(&nonce));
        assert!(nonces.use_up(&nonce));
        assert!(!nonces.use_up(&nonce));
        assert!(!nonces.is_good(&nonce));
        assert!(!nonces.is_good("made up"));
        assert!(!Nonces::new(b"other").is_good(&nonces.issue()));
    }

    #[test]
    fn nonces_end_after_a_minute() {
        let nonces = Nonces::new(b"secret");
        let begun = Duration::from_secs(1_000);
        let nonce = nonces.issue_at(begun);
        assert!(nonces.is_good_at(&nonce, begun + Duration::from_secs(59)));
        assert!(!nonces.is_good_at(&nonce, begun + LIFETIME));
    }

    #[test]
    fn asking_for_many_pushes_out_none() {
        let nonces = Nonces::new(b"secret");
        let first = nonces.issue();
        for _ in 0..10_000 {
            nonces.issue();
        }
        assert!(nonces.is_good(&first));
        assert!(nonces.use_up(&first));
    }
}
