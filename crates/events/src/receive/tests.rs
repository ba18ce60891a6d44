use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ReceiveError, parse};
use crate::{
    RoomRules, canonical,
    verify::{Integrity, PublicKeys},
};

fn event() -> Value {
    json!({
        "auth_events": ["$a"], "content": { "membership": "join" }, "depth": 1, "hashes": { "sha256": "" },
        "origin_server_ts": 1, "prev_events": ["$p"],
        "room_id": "!roooooooooooooooooooooooooooooooooooooooom", "sender": "@alice:a.test",
        "signatures": {}, "state_key": "@alice:a.test", "type": "m.room.member",
    })
}

fn result(event: &Value, rules: &'static RoomRules) -> Result<(), String> {
    parse(event.to_string().as_bytes(), rules).map(drop).map_err(|error| match error {
        ReceiveError::Json(error) => error.detail(),
        error => error.to_string(),
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut event = event();
    event[field] = value;
    event
}

#[test]
fn limits_hold_to_the_last_byte() {
    let ids = |count: usize| json!((0..count).map(|index| format!("$e{index}")).collect::<Vec<_>>());
    let long = |bytes: usize| "x".repeat(bytes);
    for rules in RoomRules::served() {
        for (field, fits, exceeds) in [
            ("prev_events", ids(20), ids(21)),
            ("auth_events", ids(10), ids(11)),
            ("type", json!(long(255)), json!(long(256))),
            ("state_key", json!(long(255)), json!(long(256))),
            // Bytes count, or code points in older versions.
            if rules.counts_code_points() {
                ("type", json!("💥".repeat(255)), json!("💥".repeat(256)))
            } else {
                ("type", json!("ü".repeat(127)), json!("ü".repeat(128)))
            },
            ("sender", json!(format!("@{}:a.test", long(247))), json!(format!("@{}:a.test", long(248)))),
            ("depth", json!(9_007_199_254_740_991_i64), json!(9_007_199_254_740_992_i64)),
            ("depth", json!(0), json!(-1)),
            ("origin_server_ts", json!(0), json!(-1)),
        ] {
            assert_eq!(result(&with(field, fits), rules), Ok(()), "version {}, {field}", rules.id);
            assert!(result(&with(field, exceeds), rules).is_err(), "version {}, {field}", rules.id);
        }
        let length = |event: &Value| {
            canonical::object_to_vec(&canonical::parse_object(event.to_string().as_bytes()).unwrap()).len()
        };
        let mut large = with("content", json!({ "body": "" }));
        let room = 65_536 - length(&large);
        large["content"]["body"] = json!(long(room));
        assert_eq!(length(&large), 65_536);
        assert_eq!(result(&large, rules), Ok(()), "version {}", rules.id);
        large["content"]["body"] = json!(long(room + 1));
        assert!(result(&large, rules).is_err(), "version {}", rules.id);
    }
}

#[test]
fn missing_and_malformed_fields_are_refused() {
    for rules in RoomRules::served() {
        assert_eq!(result(&event(), rules), Ok(()));
        for field in [
            "auth_events",
            "content",
            "depth",
            "hashes",
            "origin_server_ts",
            "prev_events",
            "room_id",
            "sender",
            "signatures",
            "type",
        ] {
            let mut event = event();
            event.as_object_mut().unwrap().remove(field);
            assert!(result(&event, rules).is_err(), "version {}, no {field}", rules.id);
            for value in [Value::Null, json!(true), json!("no ID"), json!(["no ID"]), json!([1]), json!([{}])]
            {
                // A type may be any text.
                if field == "type" && value.is_string() {
                    continue;
                }
                assert!(result(&with(field, value.clone()), rules).is_err(), "{field} {value}");
            }
        }
        assert!(result(&with("state_key", json!(1)), rules).is_err());
        // Fields that mean nothing here may hold anything.
        for field in ["redacts", "origin", "prev_state", "unsigned", "membership", "event_id"] {
            assert_eq!(result(&with(field, json!({ "a": [1] })), rules), Ok(()), "{field}");
        }
    }
}

#[test]
fn unsigned_does_not_come_in() {
    let rules = RoomRules::of("11").unwrap();
    let event = with("unsigned", json!({ "redacted_because": {}, "age": 1 }));
    let received = parse(event.to_string().as_bytes(), rules).unwrap().trust_signatures().unwrap();
    assert!(!String::from_utf8(received.json).unwrap().contains("unsigned"));
}

#[test]
fn whose_signatures_are_needed() {
    let third_party = json!({ "membership": "invite", "third_party_invite": { "signed": {} } });
    for rules in RoomRules::served() {
        let number: u8 = rules.id.as_str().parse().unwrap();
        let restricted = json!({ "membership": "join", "join_authorised_via_users_server": "@bob:b.test" });
        let authorized: &[&str] = if number >= 8 { &["a.test", "b.test"] } else { &["a.test"] };
        for (event_type, content, signers) in [
            ("m.room.member", json!({ "membership": "join" }), &["a.test"][..]),
            ("m.room.member", third_party.clone(), &[]),
            ("m.room.member", json!({ "membership": "invite", "third_party_invite": null }), &["a.test"]),
            ("m.room.member", json!({ "membership": "join", "third_party_invite": {} }), &["a.test"]),
            ("m.room.message", third_party.clone(), &["a.test"]),
            ("m.room.member", restricted.clone(), authorized),
            ("m.room.message", restricted, &["a.test"]),
        ] {
            let mut event = with("content", content);
            event["type"] = json!(event_type);
            let unverified = parse(event.to_string().as_bytes(), rules).unwrap();
            let found: Vec<String> = unverified.signers().iter().map(ToString::to_string).collect();
            assert_eq!(found, signers, "version {number}: {event}");
            assert_eq!(unverified.verify(&PublicKeys::new()).is_ok(), signers.is_empty());
        }
    }
}

#[test]
fn numbers_of_any_kind_come_in_before_version_six() {
    // Event IDs and content hashes as Synapse computes them.
    for (version, number, id, content_hash) in [
        (
            "5",
            "1.5",
            "$t1cEkDl191Cqgxkc_HM2YHrF9rODMQI2BAKV6MxaVYI",
            "t2J2Yy875zJTd7NkumCUuthhM0zG7MHvIaqQodErHgY",
        ),
        (
            "5",
            "1e16",
            "$AzfbuB4CP64GMwq7CHJ7xs1ku5EI0OvBVCE1O2OhopQ",
            "FVAclEaqchfEIeTlVGEKteXyUXbeAHYBCHQGut2INNE",
        ),
        (
            "4",
            "0.00001",
            "$Z58JpxdpD3VXSNJpPhhnv1T2HNy1608AEDi_MvO0Ji8",
            "5X4AHZyJGHCpObY8NiJvN79Bm+urtaW4lEw84wAyjzc",
        ),
        (
            "3",
            "9007199254740992",
            "$fDdshyQ/sL+m3LE4moXfbE+EGqq67NmsfmK4+QhASEU",
            "zVp2AP8qrac/tP6vT/WZINlcOU7uGQnPta6psDgpnfY",
        ),
    ] {
        let text = |hash: &str| {
            format!(
                r#"{{"auth_events":[],"prev_events":[],"content":{{"ban":{number},"x":{number}}},"depth":1,
                "hashes":{{{hash}}},"origin_server_ts":1,"room_id":"!x:d","sender":"@a:d","signatures":{{}},
                "type":"m.room.power_levels","state_key":""}}"#
            )
        };
        let rules = RoomRules::of(version).unwrap();
        let unverified = parse(text("").as_bytes(), rules).unwrap();
        assert_eq!(unverified.event_id(), id, "{number}");
        assert!(parse(text("").as_bytes(), RoomRules::of("6").unwrap()).is_err());
        let received = unverified.trust_signatures().unwrap();
        assert_eq!(received.integrity, Integrity::HashMismatch);
        assert!(!String::from_utf8(received.json).unwrap().contains("\"x\""));
        let text = text(&format!(r#""sha256":"{content_hash}""#));
        let received = parse(text.as_bytes(), rules).unwrap().trust_signatures().unwrap();
        assert_eq!(received.integrity, Integrity::Whole);
        // What was stored can be read again, and redacted.
        let again = parse(&received.json, rules).unwrap();
        assert_eq!(again.event_id(), received.pdu.id());
        let redacted = crate::redact::redact(&received.json, &received.json, rules).unwrap();
        assert_eq!(parse(&redacted, rules).unwrap().event_id(), received.pdu.id());
    }
    // Where the rules need integers, they must be.
    let rules = RoomRules::of("5").unwrap();
    for field in ["depth", "origin_server_ts"] {
        let text = event().to_string().replace(&format!("\"{field}\":1"), &format!("\"{field}\":1.0"));
        assert!(text.contains("1.0") && parse(text.as_bytes(), rules).is_err(), "{text}");
    }
    let text = event().to_string().replace("\"depth\":1", "\"depth\":-0");
    assert_eq!(parse(text.as_bytes(), rules).unwrap().trust_signatures().unwrap().pdu.depth(), 0);
}

#[test]
fn keys_that_are_needed_are_named() {
    let signatures = json!({
        "a.test": { "ed25519:1": "AA", "ed25519:2": "AA", "curve25519:3": "AA" },
        "c.test": { "ed25519:4": "AA" },
    });
    let event = with("signatures", signatures);
    let unverified = parse(event.to_string().as_bytes(), RoomRules::of("10").unwrap()).unwrap();
    let ids: BTreeSet<String> = ["ed25519:1".to_owned(), "ed25519:2".to_owned()].into();
    assert_eq!(unverified.signing_keys(), BTreeMap::from([("a.test".try_into().unwrap(), ids)]));
    // Signatures that are no base64, keys of the wrong bytes: wrong, and no reason to panic.
    let keys = BTreeMap::from([("ed25519:1".to_owned(), [0xff; 32])]);
    assert!(unverified.verify(&BTreeMap::from([("a.test".try_into().unwrap(), keys)])).is_err());
}

#[test]
fn a_create_event_names_the_room_or_makes_it() {
    let mut create = event();
    create["type"] = json!("m.room.create");
    create["state_key"] = json!("");
    create.as_object_mut().unwrap().remove("room_id");
    for rules in RoomRules::served() {
        assert_eq!(result(&create, rules).is_ok(), rules.room_id_is_create_hash(), "version {}", rules.id);
    }
}

#[test]
fn create_events_are_not_cited_where_the_room_id_says_them() {
    let hash = "r".repeat(43);
    let mut event = with("auth_events", json!([format!("${hash}")]));
    event["room_id"] = json!(format!("!{hash}"));
    assert!(result(&event, RoomRules::of("12").unwrap()).is_err());
    event["room_id"] = json!("!room:a.test");
    assert_eq!(result(&event, RoomRules::of("11").unwrap()), Ok(()));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for rules in RoomRules::served() {
            prop_assert!(parse(&bytes, rules).is_err());
        }
    }

    #[test]
    fn odd_fields_never_panic(field in "type|sender|room_id|content|depth|prev_events|hashes|signatures|state_key",
        value in prop_oneof![
            Just(json!({})), Just(json!([])), Just(json!({ "a.test": 1 })), Just(json!({ "a.test": { "ed25519:1": 1 } })),
            any::<i32>().prop_map(Into::into), ".{0,20}".prop_map(Into::into), Just(json!("m.room.create")),
        ]
    ) {
        for rules in RoomRules::served() {
            if let Ok(unverified) = parse(with(&field, value.clone()).to_string().as_bytes(), rules) {
                let keys = BTreeMap::from([("a.test".try_into().unwrap(), BTreeMap::from([("ed25519:1".to_owned(), [1; 32])]))]);
                prop_assert!(unverified.clone().verify(&keys).is_err() || unverified.signers().is_empty());
                std::hint::black_box(unverified.trust_signatures().is_ok());
            }
        }
    }
}
