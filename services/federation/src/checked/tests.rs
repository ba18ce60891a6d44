use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use plexus_events::{SigningKey, hash::content_hash, signing::sign_event};
use plexus_s2s::{
    KeyStore, ServerKeys,
    keys::{BannedKeys, Key, KeyRingDeps, KeySource, SourceError, StoreError, source::Wanted},
};
use ruma::server_name;
use serde_json::{Value, json};

use super::*;

const ROOM: &str = "!room:a.test";
const TS: i64 = 1_700_000_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// Keeps the keys of a few servers; nobody else answers.
struct Known(Vec<ServerKeys>);

#[async_trait]
impl KeyStore for Known {
    async fn load(&self, servers: &[OwnedServerName]) -> Result<Vec<ServerKeys>, StoreError> {
        Ok(self.0.iter().filter(|keys| servers.contains(&keys.server)).cloned().collect())
    }

    async fn save(&self, _: &[ServerKeys]) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Nobody;

#[async_trait]
impl KeySource for Nobody {
    async fn ask(&self, server: &ServerName) -> Result<Bytes, SourceError> {
        Err(SourceError(format!("{server} does not answer")))
    }

    async fn ask_notary(&self, _: &ServerName, _: &[Wanted]) -> Result<Vec<Bytes>, SourceError> {
        Err(SourceError("there is no notary".to_owned()))
    }
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed("1", &[byte; 32]).unwrap()
}

fn known(server: &str, byte: u8, valid_until_ts: i64) -> ServerKeys {
    let public = Key {
        public: key(byte).public_key(),
        valid_until_ts,
        expired_ts: None,
        fetched_ts: TS,
        is_direct: true,
    };
    let mut keys = ServerKeys::none(server.try_into().unwrap());
    keys.keys.insert("ed25519:1".to_owned(), public);
    keys
}

fn ring() -> KeyRing {
    let hour = 60 * 60 * 1000;
    KeyRing::new(KeyRingDeps {
        store: Arc::new(Known(vec![known("a.test", 1, TS + hour), known("b.test", 2, TS - hour)])),
        source: Arc::new(Nobody),
        notaries: Vec::new(),
        banned: BannedKeys::default(),
        own: known("us.test", 9, i64::MAX),
        clock: || TS,
    })
}

/// An event, hashed and signed by servers.
fn event(version: &str, change: impl FnOnce(&mut Value), signers: &[(&str, u8)]) -> Vec<u8> {
    let rules = RoomRules::of(version).unwrap();
    let mut event = json!({
        "auth_events": [], "content": { "body": "hello" }, "depth": 5, "origin_server_ts": TS,
        "prev_events": [], "room_id": ROOM, "sender": "@alice:a.test", "type": "m.room.message",
    });
    change(&mut event);
    let mut object = canonical::parse_object(event.to_string().as_bytes()).unwrap();
    let hash = content_hash(&object).unwrap();
    (event["hashes"], event["signatures"]) = (json!({ "sha256": hash }), json!({}));
    object = canonical::parse_object(event.to_string().as_bytes()).unwrap();
    for (server, byte) in signers {
        sign_event(&mut object, (*server).try_into().unwrap(), &key(*byte), rules).unwrap();
    }
    canonical::object_to_vec(&object)
}

async fn check(json: &[u8], version: &str) -> Result<CheckedPdu, CheckError> {
    let room_id = <&RoomId>::try_from(ROOM).unwrap();
    let read = read(json, room_id, RoomRules::of(version).unwrap())?;
    let (id, checked) = verify(&ring(), vec![read], SECOND).await.pop().unwrap();
    if let Ok(checked) = &checked {
        assert_eq!(checked.event_id(), id);
        assert_eq!(checked.room_id(), ROOM);
    }
    checked
}

const ALICE: [(&str, u8); 1] = [("a.test", 1)];

/// An event that has passed, of room version 11.
pub(crate) async fn signed(change: impl FnOnce(&mut Value)) -> CheckedPdu {
    check(&event("11", change, &ALICE), "11").await.unwrap()
}

#[tokio::test]
async fn what_is_signed_by_the_server_of_its_sender_comes_in() {
    for rules in RoomRules::served() {
        let version = rules.id.as_str();
        let json = event(version, |_| {}, &ALICE);
        let checked = check(&json, version).await.unwrap();
        assert_eq!(checked.json(), json, "version {version}");
        let input = checked.to_input(Kind::New, server_name!("b.test"));
        assert_eq!((input.kind(), input.integrity()), (Kind::New, v1::pdu::Integrity::Whole));
        assert_eq!((input.origin.as_str(), input.room_version.as_str()), ("b.test", version));
    }
}

#[tokio::test]
async fn what_nobody_has_proven_does_not_come_in() {
    let is_signature = |error: &CheckError| matches!(error, CheckError::Signature(_));
    let is_no_key = |error: &CheckError| matches!(error, CheckError::NoKey(_));
    type Case<'a> = (&'a str, Vec<u8>, &'a dyn Fn(&CheckError) -> bool);
    let cases: Vec<Case<'_>> = vec![
        ("not signed", event("11", |_| {}, &[]), &is_signature),
        ("signed by another server", event("11", |_| {}, &[("us.test", 9)]), &is_signature),
        ("signed with another key", event("11", |_| {}, &[("a.test", 7)]), &is_signature),
        ("signed by one of whom no key is known", event("11", to("c.test"), &[("c.test", 3)]), &is_no_key),
        (
            "signed with a key that was not valid then",
            event("11", to("b.test"), &[("b.test", 2)]),
            &is_no_key,
        ),
        ("claimed to be of this server", event("11", to("us.test"), &[("us.test", 1)]), &is_signature),
        ("a join that this server has not authorized", event("11", authorize, &ALICE), &is_signature),
    ];
    for (what, json, expected) in cases {
        let error = check(&json, "11").await.expect_err(what);
        assert!(expected(&error), "{what}: {error}");
    }
    // Room versions before 5 do not ask when a key was valid.
    check(&event("4", to("b.test"), &[("b.test", 2)]), "4").await.unwrap();
    let join = event("11", authorize, &[("a.test", 1), ("us.test", 9)]);
    check(&join, "11").await.unwrap();
}

fn to(server: &'static str) -> impl FnOnce(&mut Value) {
    move |event| event["sender"] = json!(format!("@alice:{server}"))
}

fn authorize(event: &mut Value) {
    event["type"] = json!("m.room.member");
    event["state_key"] = json!("@alice:a.test");
    event["content"] = json!({ "membership": "join", "join_authorised_via_users_server": "@us:us.test" });
}

#[tokio::test]
async fn an_event_with_another_content_than_was_hashed_is_redacted() {
    let json = event("11", |_| {}, &ALICE);
    let changed = String::from_utf8(json.clone()).unwrap().replace("hello", "goodbye");
    let checked = check(changed.as_bytes(), "11").await.unwrap();
    assert_eq!(checked.event_id(), check(&json, "11").await.unwrap().event_id());
    let input = checked.to_input(Kind::New, server_name!("a.test"));
    assert_eq!(input.integrity(), v1::pdu::Integrity::HashMismatch);
    let object: Value = serde_json::from_slice(checked.json()).unwrap();
    assert_eq!(object["content"], json!({}));
}

#[tokio::test]
async fn what_breaks_the_form_of_its_version_does_not_come_in() {
    let json = |event: Vec<u8>| String::from_utf8(event).unwrap();
    let good = json(event("11", |_| {}, &ALICE));
    for (what, broken) in [
        ("a float", good.replace("\"hello\"", "1.5")),
        ("an integer out of range", good.replace("\"hello\"", "9007199254740992")),
        ("a depth out of range", good.replace("\"depth\":5", "\"depth\":9007199254740992")),
        ("a negative depth", good.replace("\"depth\":5", "\"depth\":-1")),
        ("no object", "[]".to_owned()),
        ("no JSON", good.replace('}', "")),
        ("no sender", good.replace("\"sender\"", "\"sended\"")),
        ("a NUL in the type", good.replace("m.room.message", "m.room\\u0000")),
        ("more than 64 KiB", good.replace("hello", &"x".repeat(65_536))),
    ] {
        let error = check(broken.as_bytes(), "11").await.expect_err(what);
        assert!(matches!(error, CheckError::Format(_)), "{what}: {error}");
    }
    let elsewhere = event("11", |event| event["room_id"] = json!("!other:a.test"), &ALICE);
    assert!(matches!(check(&elsewhere, "11").await, Err(CheckError::OtherRoom)));
    // Floats are part of events of older versions.
    let error = check(good.replace("\"hello\"", "1.5").as_bytes(), "5").await;
    assert!(!matches!(error, Err(CheckError::Format(_))));
}

#[tokio::test]
async fn keys_that_do_not_come_hold_nobody_else_up() {
    let room_id = <&RoomId>::try_from(ROOM).unwrap();
    let rules = RoomRules::of("11").unwrap();
    let events = [
        event("11", to("c.test"), &[("c.test", 3)]),
        event("11", |_| {}, &ALICE),
        event("11", to("d.test"), &[("d.test", 3)]),
    ];
    let read = events.iter().map(|json| read(json, room_id, rules).unwrap()).collect::<Vec<_>>();
    let ids: Vec<OwnedEventId> = read.iter().map(|event| event.event_id().to_owned()).collect();
    let checked = verify(&ring(), read, Duration::ZERO).await;
    assert_eq!(checked.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), ids);
    let passed: Vec<bool> = checked.iter().map(|(_, checked)| checked.is_ok()).collect();
    assert_eq!(passed, [false, true, false]);
}
