//! The keys of this server, as others are told.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use parking_lot::Mutex;
use plexus_events::{SigningKey, key_file, verify};
use plexus_s2s::{
    ServerKeys,
    authorization::is_key_id,
    keys::{
        Key,
        response::{self, OldKey},
    },
};
use plexus_service::config::FederationConfig;
use ruma::{OwnedServerName, ServerName};

/// For how long others may keep what they were told.
const VALIDITY_MS: i64 = 24 * 60 * 60 * 1000;

/// Our keys, and the answer that tells them.
pub(crate) struct OwnKeys {
    name: OwnedServerName,
    /// The one that signs comes first.
    current: Vec<SigningKey>,
    old: Vec<OldKey>,
    answer: Mutex<Option<Answer>>,
}

#[derive(Clone)]
struct Answer {
    valid_until_ts: i64,
    body: Bytes,
}

impl OwnKeys {
    /// Reads the keys that the configuration names.
    pub(crate) fn new(
        name: OwnedServerName,
        key: SigningKey,
        config: &FederationConfig,
    ) -> anyhow::Result<Self> {
        let mut current = vec![key];
        if let Some(path) = &config.next_signing_key {
            let next = key_file::load_or_create(path).context("`next_signing_key` in [federation]")?;
            if next.key_id() == current[0].key_id() {
                let is_same = next.public_key() == current[0].public_key();
                ensure!(is_same, "`next_signing_key` in [federation] has the ID of `signing_key`");
            } else {
                current.push(next);
            }
        }
        let mut old: Vec<OldKey> = Vec::new();
        for key in &config.old_signing_keys {
            let public = verify::public_key(&key.key).filter(|_| is_key_id(&key.id));
            let public = public.with_context(|| format!("`{}` in `old_signing_keys` is no key", key.id))?;
            ensure!(
                old.iter().all(|known| known.key_id != key.id),
                "`{}` is in `old_signing_keys` twice",
                key.id
            );
            old.push(OldKey { key_id: key.id.clone(), public, expired_ts: key.expired_ts });
        }
        Ok(Self { name, current, old, answer: Mutex::new(None) })
    }

    /// The answer to whoever asks for our keys. It is signed anew when half of its time is over.
    pub(crate) fn answer(&self, now: i64) -> Bytes {
        let mut answer = self.answer.lock();
        if let Some(answer) = &*answer
            && answer.valid_until_ts - now > VALIDITY_MS / 2
            && answer.valid_until_ts - now <= VALIDITY_MS
        {
            return answer.body.clone();
        }
        let valid_until_ts = now + VALIDITY_MS;
        let body = response::make(&self.name, &self.current, &self.old, valid_until_ts);
        *answer = Some(Answer { valid_until_ts, body: body.clone() });
        body
    }

    /// Signs what another server has signed, as its notary.
    pub(crate) fn countersign(&self, object: &mut plexus_events::Object) {
        response::sign(object, &self.name, &self.current[0]);
    }

    /// Our keys as those of a server that nobody has to be asked for.
    pub(crate) fn as_server_keys(&self) -> ServerKeys {
        let key = |public, valid_until_ts, expired_ts| Key {
            public,
            valid_until_ts,
            expired_ts,
            fetched_ts: i64::MAX / 2,
            is_direct: true,
        };
        let current =
            self.current.iter().map(|it| (it.key_id().to_owned(), key(it.public_key(), i64::MAX / 2, None)));
        let old = self.old.iter().map(|it| (it.key_id.clone(), key(it.public, 0, Some(it.expired_ts))));
        ServerKeys { keys: old.chain(current).collect(), ..ServerKeys::none(self.name.clone()) }
    }

    /// Our server name.
    pub(crate) fn name(&self) -> &ServerName {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use plexus_service::config::OldSigningKey;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn key(version: &str, byte: u8) -> SigningKey {
        SigningKey::from_seed(version, &[byte; 32]).unwrap()
    }

    fn old(id: &str) -> OldSigningKey {
        let key = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw".to_owned();
        OldSigningKey { id: id.to_owned(), key, expired_ts: NOW - 1 }
    }

    fn keys(old: Vec<OldSigningKey>) -> anyhow::Result<OwnKeys> {
        let config = FederationConfig { old_signing_keys: old, ..FederationConfig::default() };
        OwnKeys::new("example.org".try_into().unwrap(), key("new", 1), &config)
    }

    #[test]
    fn what_we_say_of_our_keys_is_read_by_others() {
        let own = keys(vec![old("ed25519:old"), old("ed25519:new")]).unwrap();
        let read = response::read(&own.answer(NOW), own.name(), NOW, true).unwrap();
        assert_eq!(read.valid_until_ts, NOW + VALIDITY_MS);
        assert_eq!(read.keys["ed25519:new"].expired_ts, None);
        assert_eq!(read.keys["ed25519:new"].public, key("new", 1).public_key());
        assert_eq!(read.keys["ed25519:old"].expired_ts, Some(NOW - 1));
        assert_eq!(read.keys.len(), 2);
        // A key that is current is not told as an old one.
        let text = String::from_utf8(own.answer(NOW).to_vec()).unwrap();
        assert_eq!(text.matches("\"ed25519:new\"").count(), 2, "{text}");
    }

    #[test]
    fn the_answer_is_signed_anew_when_half_of_its_time_is_over() {
        let own = keys(Vec::new()).unwrap();
        let first = own.answer(NOW);
        assert_eq!(own.answer(NOW + VALIDITY_MS / 2 - 1), first);
        let second = own.answer(NOW + VALIDITY_MS / 2);
        assert_ne!(second, first);
        // A clock that was set back does not make it valid for longer.
        assert_ne!(own.answer(NOW - 1), second);
    }

    #[test]
    fn keys_that_are_none_are_errors() {
        for old in [
            vec![old("ed25519:a"), old("ed25519:a")],
            vec![old("a")],
            vec![OldSigningKey { key: "AAAA".to_owned(), ..old("ed25519:a") }],
        ] {
            assert!(keys(old).is_err());
        }
    }
}
