use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use plexus_events::{SigningKey, canonical};
use proptest::prelude::*;
use ruma::ServerName;
use tokio::time::Instant;

use super::{
    response::{OldKey, make, read},
    source::Wanted,
    *,
};

const DAY: i64 = 24 * 60 * 60 * 1000;
const NOW: i64 = 20_000 * DAY;

fn name(text: &str) -> OwnedServerName {
    text.try_into().unwrap()
}

fn signing(version: &str, byte: u8) -> SigningKey {
    SigningKey::from_seed(version, &[byte; 32]).unwrap()
}

fn key(valid_until_ts: i64, expired_ts: Option<i64>) -> Key {
    Key { public: [1; 32], valid_until_ts, expired_ts, fetched_ts: NOW, is_direct: true }
}

#[test]
fn requests_and_events_ask_different_things_of_a_key() {
    let event = |origin_server_ts| Purpose::Event { origin_server_ts, enforces_validity: true };
    let lax = Purpose::Event { origin_server_ts: NOW + 1_000 * DAY, enforces_validity: false };
    let current = key(NOW + DAY, None);
    let stale = key(NOW - 1, None);
    let boastful = key(NOW + 1_000 * DAY, None);
    let old = key(0, Some(NOW - DAY));
    let retired = key(NOW + DAY, Some(NOW - DAY));
    for (what, key, purpose, may) in [
        ("current", &current, Purpose::Request, true),
        ("stale", &stale, Purpose::Request, false),
        ("boastful", &boastful, Purpose::Request, true),
        // An old key proves nothing about a request.
        ("old", &old, Purpose::Request, false),
        ("retired", &retired, Purpose::Request, false),
        ("current", &current, event(NOW + DAY), true),
        ("current", &current, event(NOW + DAY + 1), false),
        ("current", &current, event(0), true),
        ("stale", &stale, event(NOW - 1), true),
        ("stale", &stale, event(NOW), false),
        // Nobody is believed for more than a week.
        ("boastful", &boastful, event(NOW + 7 * DAY), true),
        ("boastful", &boastful, event(NOW + 7 * DAY + 1), false),
        ("old", &old, event(NOW - DAY), true),
        ("old", &old, event(NOW - DAY + 1), false),
        ("retired", &retired, event(NOW - DAY + 1), false),
        // Room versions before 5 ask nothing of the time.
        ("stale", &stale, lax, true),
        ("old", &old, lax, true),
    ] {
        assert_eq!(key.may_sign(purpose, NOW), may, "{what}, {purpose:?}");
    }
}

#[test]
fn answers_prove_that_their_server_made_them() {
    let server = name("a.org");
    let old = OldKey { key_id: "ed25519:old".to_owned(), public: [3; 32], expired_ts: NOW - DAY };
    let keys = [signing("a", 1), signing("b", 2)];
    let body = make(&server, &keys, std::slice::from_ref(&old), NOW + DAY);
    let keys_of = read(&body, &server, NOW, true).unwrap();
    assert_eq!(keys_of.keys.len(), 3);
    assert_eq!(keys_of.response, body);
    assert_eq!(keys_of.keys["ed25519:old"].expired_ts, Some(NOW - DAY));
    assert_eq!(keys_of.keys["ed25519:b"].public, keys[1].public_key());
    assert_eq!(keys_of.keys["ed25519:b"].valid_until_ts, NOW + DAY);
    // Whatever is changed, it is no longer signed, or it is about another server.
    let text = String::from_utf8(body.to_vec()).unwrap();
    for (from, to) in [
        ("a.org", "b.org"),
        ("\"valid_until_ts\":", "\"valid_until_ts\":1"),
        ("ed25519:old", "ed25519:older"),
        ("\"expired_ts\":", "\"expired_ts\":1"),
        ("\"old_verify_keys\"", "\"x\":1,\"old_verify_keys\""),
        ("\"signatures\":{", "\"signatures\":{},\"x\":{"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(read(changed.as_bytes(), &server, NOW, true).is_err(), "{from}");
    }
    assert!(read(&body, &name("b.org"), NOW, true).is_err());
    // One right signature does not make up for a wrong one by another current key; unknown ones are ignored.
    let mut object = canonical::parse_object(&body).unwrap();
    response::sign(&mut object, &server, &signing("unknown", 9));
    read(&canonical::object_to_vec(&object), &server, NOW, true).unwrap();
    response::sign(&mut object, &server, &signing("b", 9));
    assert!(read(&canonical::object_to_vec(&object), &server, NOW, true).is_err());
    for body in ["", "[]", "{}", r#"{"server_name":"a.org","valid_until_ts":1.5}"#] {
        assert!(read(body.as_bytes(), &server, NOW, true).is_err(), "{body}");
    }
    assert!(read(&vec![b' '; 65_537], &server, NOW, true).is_err());
}

#[test]
fn banned_keys_are_named_in_two_ways() {
    let parse = |entry: &str| BannedKeys::parse(&[entry.to_owned()]);
    let public = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw";
    let key = Key { public: plexus_events::verify::public_key(public).unwrap(), ..key(NOW, None) };
    assert!(parse(public).unwrap().contains("any.org", "ed25519:x", &key));
    let named = parse("a.org ed25519:a").unwrap();
    assert!(named.contains("a.org", "ed25519:a", &key));
    assert!(!named.contains("b.org", "ed25519:a", &key));
    for wrong in ["", "AAAA", "a.org", "a.org x", "a.org ed25519:a b"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(&body, &name("a.org"), NOW, true).ok();
    }

    /// The order in which two words of a server come does not matter to what is believed of a key.
    #[test]
    fn merging_forgets_nothing(words in proptest::collection::vec((0_u8..3, 0..2_000_i64, proptest::option::of(0..2_000_i64)), 1..6)) {
        let word = |(id, valid, expired): &(u8, i64, Option<i64>)| {
            let key = Key { public: [*id; 32], ..key(*valid, *expired) };
            let id = format!("ed25519:{id}");
            ServerKeys { keys: [(id, key)].into(), ..ServerKeys::none(name("a.org")) }
        };
        let merged = |words: &mut dyn Iterator<Item = ServerKeys>| {
            let mut all = ServerKeys::none(name("a.org"));
            for word in words {
                assert!(all.merge(word).is_empty());
            }
            all
        };
        let forward = merged(&mut words.iter().map(word));
        let backward = merged(&mut words.iter().rev().map(word));
        prop_assert_eq!(&forward, &backward);
        for (id, valid, expired) in &words {
            let kept = &forward.keys[&format!("ed25519:{id}")];
            prop_assert!(kept.valid_until_ts >= *valid);
            prop_assert!(expired.is_none_or(|expired| kept.expired_ts.is_some_and(|kept| kept <= expired)));
        }
    }
}

/// What a notary signs with, and what it tells of others.
type Notary = (SigningKey, HashMap<OwnedServerName, Bytes>);

/// Servers that answer, or do not, and what was asked of them.
#[derive(Default)]
struct Network {
    answers: Mutex<HashMap<OwnedServerName, Bytes>>,
    notaries: Mutex<HashMap<OwnedServerName, Notary>>,
    asked: AtomicUsize,
    asked_notaries: AtomicUsize,
}

#[async_trait]
impl KeySource for Network {
    async fn ask(&self, server: &ServerName) -> Result<Bytes, SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let answer = self.answers.lock().get(server).cloned();
        answer.ok_or_else(|| SourceError("nobody is there".to_owned()))
    }

    async fn ask_notary(&self, notary: &ServerName, wanted: &[Wanted]) -> Result<Vec<Bytes>, SourceError> {
        self.asked_notaries.fetch_add(1, Ordering::Relaxed);
        let notaries = self.notaries.lock();
        let (key, known) = notaries.get(notary).ok_or_else(|| SourceError("no notary".to_owned()))?;
        let signed = wanted.iter().filter_map(|wanted| {
            let mut object = canonical::parse_object(known.get(&wanted.server)?).unwrap();
            response::sign(&mut object, notary, key);
            Some(canonical::object_to_vec(&object).into())
        });
        Ok(signed.collect())
    }
}

#[derive(Default)]
struct Memory {
    kept: Mutex<HashMap<OwnedServerName, ServerKeys>>,
    loads: AtomicUsize,
}

#[async_trait]
impl KeyStore for Memory {
    async fn load(&self, servers: &[OwnedServerName]) -> Result<Vec<ServerKeys>, StoreError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let kept = self.kept.lock();
        Ok(servers.iter().filter_map(|server| kept.get(server).cloned()).collect())
    }

    async fn save(&self, keys: &[ServerKeys]) -> Result<(), StoreError> {
        for new in keys {
            let mut kept = self.kept.lock();
            kept.entry(new.server.clone())
                .or_insert_with(|| ServerKeys::none(new.server.clone()))
                .merge(new.clone());
        }
        Ok(())
    }
}

static CLOCK: AtomicI64 = AtomicI64::new(NOW);

fn ring(network: &Arc<Network>, store: &Arc<Memory>, banned: BannedKeys) -> KeyRing {
    KeyRing::new(KeyRingDeps {
        store: Arc::clone(store) as _,
        source: Arc::clone(network) as _,
        notaries: vec![name("notary.org")],
        banned,
        own: ServerKeys {
            keys: [("ed25519:own".to_owned(), key(i64::MAX, None))].into(),
            ..ServerKeys::none(name("us.org"))
        },
        clock: || CLOCK.load(Ordering::Relaxed),
    })
}

fn answer(server: &str, version: &str, byte: u8) -> (OwnedServerName, Bytes) {
    (name(server), make(&name(server), &[signing(version, byte)], &[], NOW + DAY))
}

#[tokio::test(start_paused = true)]
async fn a_key_is_fetched_once_for_all_who_ask() {
    let (network, store) = (Arc::<Network>::default(), Arc::<Memory>::default());
    network.answers.lock().extend([answer("a.org", "a", 1)]);
    let ring = ring(&network, &store, BannedKeys::default());
    let server = name("a.org");
    let find = |id: &'static str| ring.find(&server, id, Purpose::Request);
    let all = futures::future::join_all((0..40).map(|_| find("ed25519:a"))).await;
    assert!(all.into_iter().all(|found| found == Ok(signing("a", 1).public_key())));
    assert_eq!(network.asked.load(Ordering::Relaxed), 1);
    // Whoever claims other keys does not make us ask again at once.
    for _ in 0..10 {
        assert_eq!(find("ed25519:b").await, Err(KeyError::NotValid));
    }
    assert_eq!(network.asked.load(Ordering::Relaxed), 1);
    network.answers.lock().extend([answer("a.org", "b", 2)]);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(find("ed25519:b").await, Ok(signing("b", 2).public_key()));
    assert_eq!(network.asked.load(Ordering::Relaxed), 2);
    // Ours are asked of nobody.
    assert_eq!(ring.find(&name("us.org"), "ed25519:own", Purpose::Request).await, Ok([1; 32]));
    assert_eq!(ring.find(&name("us.org"), "ed25519:x", Purpose::Request).await, Err(KeyError::NotValid));
    assert_eq!(network.asked.load(Ordering::Relaxed), 2);
    // Another process finds them in the store.
    let another = self::ring(&network, &store, BannedKeys::default());
    assert!(another.find(&server, "ed25519:b", Purpose::Request).await.is_ok());
    assert_eq!(network.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn dead_servers_are_asked_seldom_and_their_keys_still_prove_events() {
    let (network, store) = (Arc::<Network>::default(), Arc::<Memory>::default());
    let mut dead = read(&answer("dead.org", "a", 1).1, &name("dead.org"), NOW, true).unwrap();
    dead.fetched_ts = NOW - 100 * DAY;
    for key in dead.keys.values_mut() {
        (key.fetched_ts, key.valid_until_ts) = (NOW - 100 * DAY, NOW - 99 * DAY);
    }
    store.save(&[dead]).await.unwrap();
    let ring = ring(&network, &store, BannedKeys::default());
    let find = async |purpose| ring.find(&name("dead.org"), "ed25519:a", purpose).await;
    let event = |origin_server_ts| Purpose::Event { origin_server_ts, enforces_validity: true };
    assert!(find(event(NOW - 200 * DAY)).await.is_ok());
    assert_eq!(network.asked.load(Ordering::Relaxed), 0);
    assert!(matches!(find(Purpose::Request).await, Err(KeyError::Unavailable(_))));
    assert_eq!(
        (network.asked.load(Ordering::Relaxed), network.asked_notaries.load(Ordering::Relaxed)),
        (2, 0)
    );
    for _ in 0..20 {
        assert!(matches!(find(Purpose::Request).await, Err(KeyError::Unavailable(_))));
        assert!(find(event(NOW - 200 * DAY)).await.is_ok());
    }
    assert_eq!(network.asked.load(Ordering::Relaxed), 2);
    // Once more after a minute, and then not for two.
    let mut seen = Vec::new();
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(33)).await;
        find(Purpose::Request).await.ok();
        seen.push(network.asked.load(Ordering::Relaxed));
    }
    assert!((5..=9).contains(seen.last().unwrap()), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn notaries_are_believed_only_with_both_signatures() {
    let (network, store) = (Arc::<Network>::default(), Arc::<Memory>::default());
    let notary = signing("n", 7);
    network.answers.lock().extend([(
        name("notary.org"),
        make(&name("notary.org"), std::slice::from_ref(&notary), &[], NOW + DAY),
    )]);
    let known =
        HashMap::from([answer("dead.org", "a", 1), (name("forged.org"), answer("other.org", "a", 1).1)]);
    network.notaries.lock().insert(name("notary.org"), (notary, known.clone()));
    let ring = ring(&network, &store, BannedKeys::default());
    let found = ring.find(&name("dead.org"), "ed25519:a", Purpose::Request).await;
    assert_eq!(found, Ok(signing("a", 1).public_key()));
    assert!(!store.kept.lock()[&name("dead.org")].keys["ed25519:a"].is_direct);
    let forged = ring.find(&name("forged.org"), "ed25519:a", Purpose::Request).await;
    assert!(matches!(forged, Err(KeyError::Unavailable(_))));
    // A notary that signs with another key is none.
    network.notaries.lock().insert(name("notary.org"), (signing("n", 8), known));
    let another = self::ring(&network, &Arc::default(), BannedKeys::default());
    assert!(another.find(&name("dead.org"), "ed25519:a", Purpose::Request).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn keys_for_a_join_come_in_few_questions_and_in_time() {
    let (network, store) = (Arc::<Network>::default(), Arc::<Memory>::default());
    let notary = signing("n", 7);
    network.answers.lock().extend([(
        name("notary.org"),
        make(&name("notary.org"), std::slice::from_ref(&notary), &[], NOW + DAY),
    )]);
    let known = (0..120).map(|n| answer(&format!("s{n}.org"), "a", 1)).collect();
    network.notaries.lock().insert(name("notary.org"), (notary, known));
    network.answers.lock().extend([answer("direct.org", "a", 1)]);
    let ring = ring(&network, &store, BannedKeys::default());
    let servers: Vec<String> =
        (0..160).map(|n| format!("s{n}.org")).chain(["direct.org".to_owned()]).collect();
    let wanted = |server: &String| Wanted {
        server: name(server),
        key_id: Some("ed25519:a".to_owned()),
        minimum_valid_until_ts: NOW,
    };
    let deadline = Instant::now() + Duration::from_secs(2);
    ring.prefetch(servers.iter().map(wanted).collect(), deadline).await;
    assert!(Instant::now() <= deadline);
    // One load, four questions to the notary; then those that are left are asked, and the notary once more for each.
    let mut found = 0;
    for server in &servers {
        found += usize::from(ring.known(&name(server)).await.unwrap().keys.contains_key("ed25519:a"));
    }
    assert_eq!(found, 121);
    let asked = network.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 1 + 40 + 1);
    ring.prefetch(servers.iter().map(wanted).collect(), deadline).await;
    assert_eq!(network.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test(start_paused = true)]
async fn banned_and_contradicting_keys_verify_nothing_new() {
    let (network, store) = (Arc::<Network>::default(), Arc::<Memory>::default());
    network.answers.lock().extend([answer("a.org", "a", 1), answer("b.org", "a", 1)]);
    let banned = BannedKeys::parse(&["a.org ed25519:a".to_owned()]).unwrap();
    let ring = ring(&network, &store, banned);
    assert_eq!(ring.find(&name("a.org"), "ed25519:a", Purpose::Request).await, Err(KeyError::Banned));
    assert_eq!(
        ring.find(&name("b.org"), "ed25519:a", Purpose::Request).await,
        Ok(signing("a", 1).public_key())
    );
    // The same ID with other bytes: what was first stays.
    network.answers.lock().extend([answer("b.org", "a", 2)]);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(ring.find(&name("b.org"), "ed25519:none", Purpose::Request).await, Err(KeyError::NotValid));
    assert_eq!(
        ring.find(&name("b.org"), "ed25519:a", Purpose::Request).await,
        Ok(signing("a", 1).public_key())
    );
}
