use proptest::prelude::*;
use ruma::{OwnedEventId, RoomId, RoomVersionId, ServerName, UserId, serde::Base64};
use serde_json::json;

use super::{BuildError, Built, Draft};
use crate::{
    RoomRules, SigningKey,
    canonical::{self, Object},
    create::unsigned_create_event,
    hash, redact, verify,
};

const ROOM: &str = "!room:example.org";
const ALICE: &str = "@alice:example.org";

fn key() -> SigningKey {
    SigningKey::from_seed("1", &[9; 32]).unwrap()
}

fn object(value: &serde_json::Value) -> Object {
    canonical::parse_object(value.to_string().as_bytes()).unwrap()
}

fn draft<'a>(event_type: &'a str, state_key: Option<&'a str>, content: Object) -> Draft<'a> {
    Draft {
        room_id: Some(<&RoomId>::try_from(ROOM).unwrap()),
        sender: <&UserId>::try_from(ALICE).unwrap(),
        event_type,
        state_key,
        content,
        redacts: None,
        prev_events: &[],
        auth_events: &[],
        depth: 7,
        origin_server_ts: 1_700_000_000_000,
    }
}

fn build(draft: Draft<'_>, rules: &RoomRules) -> Result<Built, BuildError> {
    draft.hash(rules)?.sign(<&ServerName>::try_from("example.org").unwrap(), &key())
}

/// Checks an event with ruma's own functions, which know nothing of how it was built.
fn check(built: &Built, rules: &RoomRules) {
    let event = canonical::parse_object(&built.json).unwrap();
    assert_eq!(canonical::object_to_vec(&event), built.json, "canonical");
    assert_eq!(serde_json::to_vec(&event).unwrap(), built.json, "as ruma writes it");
    assert!(hash::content_hash_matches(&event));
    assert_eq!(hash::event_id(&event, rules).unwrap(), built.event_id);
    let keys = [("1".to_owned(), ())];
    let keys =
        keys.map(|(version, ())| (format!("ed25519:{version}"), Base64::new(key().public_key().to_vec())));
    let keys = [("example.org".to_owned(), keys.into())].into();
    assert_eq!(verify::verify_signatures(&event, &keys, rules).unwrap(), verify::Integrity::Whole);
    verify::check_format(&event, rules).unwrap();
}

#[test]
fn events_of_every_version_and_type_verify() {
    let target: OwnedEventId = "$2bYrT7jcxKn0Q2nQ5xk3S1fLFM5C6wr8o0mTPvHzXaA".try_into().unwrap();
    for rules in RoomRules::served() {
        for (event_type, state_key, content) in [
            ("m.room.message", None, json!({ "body": "\u{7f}\u{1}\"\\\n☃🎉", "n": [1, null, true, {}] })),
            ("m.room.member", Some(ALICE), json!({ "membership": "join", "displayname": "A" })),
            (
                "m.room.power_levels",
                Some(""),
                json!({ "ban": 5, "invite": 3, "x": 1, "users": { ALICE: 100 } }),
            ),
            ("m.room.join_rules", Some(""), json!({ "join_rule": "public", "allow": [], "y": 2 })),
            ("m.room.history_visibility", Some(""), json!({ "history_visibility": "joined", "z": 1 })),
            ("m.room.aliases", Some("example.org"), json!({ "aliases": [] })),
            ("m.room.redaction", None, json!({ "redacts": target, "reason": "r" })),
            ("org.example.\"odd\"", Some("\u{1}"), json!({ "\u{0}": "\u{0}" })),
        ] {
            let mut draft = draft(event_type, state_key, object(&content));
            let ids = [target.clone(), target.clone()];
            (draft.prev_events, draft.auth_events) = (&ids, &ids[..1]);
            draft.redacts = (event_type == "m.room.redaction").then_some(&*target);
            check(&build(draft, rules).unwrap(), rules);
        }
    }
}

#[test]
fn redacted_event_keeps_its_id() {
    for rules in RoomRules::served() {
        let built = build(draft("m.room.message", None, object(&json!({ "body": "x" }))), rules).unwrap();
        let because = br#"{"type":"m.room.redaction","unsigned":{"age":1},"content":{}}"#;
        let json = redact::redact(&built.json, because, rules).unwrap();
        let event = canonical::parse_object(&json).unwrap();
        assert_eq!(hash::event_id(&event, rules).unwrap(), built.event_id);
        assert_eq!(event["content"].as_object().unwrap().len(), 0);
        let unsigned = event["unsigned"].as_object().unwrap();
        let because = unsigned["redacted_because"].as_object().unwrap();
        assert!(because["event_id"].as_str().unwrap().starts_with('$'));
        assert_eq!(because.keys().collect::<Vec<_>>(), ["content", "event_id", "type"]);
    }
}

#[test]
fn limits_are_exact() {
    let rules = RoomRules::of("12").unwrap();
    let size = |body: usize| {
        let content = object(&json!({ "body": "x".repeat(body) }));
        build(draft("m", None, content), rules).map(|built| built.json.len())
    };
    let overhead = size(0).unwrap();
    assert_eq!(size(65_536 - overhead).unwrap(), 65_536);
    assert!(matches!(size(65_537 - overhead), Err(BuildError::TooLarge)));
    let long = "x".repeat(256);
    let refused = |draft: Draft<'_>| build(draft, rules).unwrap_err();
    assert!(matches!(refused(draft(&long, None, Object::new())), BuildError::FieldTooLarge("type")));
    assert!(matches!(
        refused(draft("m", Some(&long), Object::new())),
        BuildError::FieldTooLarge("state_key")
    ));
    let ids: Vec<OwnedEventId> = (0..21).map(|n| format!("$e{n}").try_into().unwrap()).collect();
    let many = |prev: usize, auth: usize| Draft {
        prev_events: &ids[..prev],
        auth_events: &ids[..auth],
        ..draft("m", None, Object::new())
    };
    assert!(build(many(20, 10), rules).is_ok());
    assert!(matches!(refused(many(21, 0)), BuildError::TooMany("prev_events")));
    assert!(matches!(refused(many(0, 11)), BuildError::TooMany("auth_events")));
    for depth in [-1, 1 << 53] {
        let draft = Draft { depth, ..draft("m", None, Object::new()) };
        assert!(matches!(refused(draft), BuildError::OutOfRange("depth")));
    }
}

#[test]
fn room_id_of_a_create_event_fits_its_version() {
    let alice = <&UserId>::try_from(ALICE).unwrap();
    let room = <&RoomId>::try_from(ROOM).unwrap();
    for rules in RoomRules::served() {
        let given = (!rules.room_id_is_create_hash()).then_some(room);
        let make = |room_id| unsigned_create_event(&rules.id, alice, room_id, serde_json::Map::new(), 5);
        let (room_id, json) = make(given).unwrap();
        let event = canonical::parse_object(&json).unwrap();
        assert!(hash::content_hash_matches(&event));
        assert!(!event.contains_key("signatures"));
        let content = event["content"].as_object().unwrap();
        assert_eq!(content["room_version"].as_str(), Some(rules.id.as_str()));
        assert_eq!(content.contains_key("creator"), !rules.rules.authorization.use_room_create_sender);
        if rules.room_id_is_create_hash() {
            let id = hash::event_id(&event, rules).unwrap();
            assert_eq!(id.as_str()[1..], room_id.as_str()[1..]);
            assert!(!event.contains_key("room_id"));
            assert!(matches!(make(Some(room)), Err(BuildError::RoomId)));
        } else {
            assert_eq!(room_id, room);
            assert!(matches!(make(None), Err(BuildError::RoomId)));
            let foreign = <&RoomId>::try_from("!x:elsewhere.org").unwrap();
            assert!(matches!(make(Some(foreign)), Err(BuildError::RoomId)));
        }
    }
    let make = |version: &str, content: serde_json::Value| {
        let version = RoomVersionId::try_from(version).unwrap();
        unsigned_create_event(&version, alice, None, content.as_object().unwrap().clone(), 5)
    };
    assert!(matches!(make("1", json!({})), Err(BuildError::Version(_))));
    assert!(matches!(make("org.example", json!({})), Err(BuildError::Version(_))));
    assert!(matches!(make("12", json!({ "x": 0.5 })), Err(BuildError::Content(_))));
}

#[test]
fn minimal_event_of_the_specification_hashes_as_the_specification_says() {
    // Appendix "Cryptographic test vectors", event signing: the content hash of a minimal event.
    let event = object(&json!({
        "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1_000_000,
        "type": "X", "content": {}, "prev_events": [], "auth_events": [], "depth": 3,
        "unsigned": { "age_ts": 1_000_000 }
    }));
    assert_eq!(hash::content_hash(&event).unwrap(), "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos");
}

proptest! {
    #[test]
    fn any_strings_build_what_verifies(event_type in ".{0,60}", state_key in prop::option::of(".{0,60}"), body in ".{0,200}", number in -9_007_199_254_740_991_i64..=9_007_199_254_740_991) {
        let rules = RoomRules::of("11").unwrap();
        let content = object(&json!({ "body": body, "n": { "m": number } }));
        match build(draft(&event_type, state_key.as_deref(), content), rules) {
            // Nothing that names something has a NUL: whoever receives it refuses it.
            Ok(built) if event_type.contains('\0') || state_key.as_deref().unwrap_or_default().contains('\0') => {
                let event = canonical::parse_object(&built.json).unwrap();
                prop_assert!(verify::check_format(&event, rules).is_err());
            }
            Ok(built) => check(&built, rules),
            Err(BuildError::FieldTooLarge(_)) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
