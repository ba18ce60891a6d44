//! Events of each room version that Synapse has made (`tests/oracle/vectors.py`), and those of the specification.

use std::collections::{BTreeMap, BTreeSet};

use plexus_events::{
    Object, RoomRules, SigningKey,
    canonical::{self, Value},
    hash,
    receive::{self, ReceiveError},
    redact, signing,
    verify::{Integrity, PublicKeys, VerifyError},
};

fn object(value: &serde_json::Value) -> Object {
    canonical::parse_object(value.to_string().as_bytes()).expect("a vector")
}

fn key() -> SigningKey {
    SigningKey::parse("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").expect("a vector")
}

fn keys() -> PublicKeys {
    BTreeMap::from([(
        "domain".try_into().expect("a vector"),
        BTreeMap::from([("ed25519:1".to_owned(), key().public_key())]),
    )])
}

/// Calls a check with each vector: rules, event as JSON text, event ID, redacted event.
fn each(mut check: impl FnMut(&'static RoomRules, &Object, &str, Object)) {
    let mut versions = BTreeSet::new();
    for line in include_str!("vectors.jsonl").lines() {
        let vector: serde_json::Value = serde_json::from_str(line).expect("a vector");
        let rules = RoomRules::of(vector["version"].as_str().expect("a vector")).expect("a vector");
        versions.insert(rules.id.to_string());
        check(
            rules,
            &object(&vector["event"]),
            vector["id"].as_str().expect("a vector"),
            object(&vector["redacted"]),
        );
    }
    let served: BTreeSet<_> = RoomRules::served().map(|rules| rules.id.to_string()).collect();
    assert_eq!(versions, served);
}

#[test]
fn ids_hashes_signatures_and_redaction_are_those_of_synapse() {
    each(|rules, event, id, redacted| {
        let json = canonical::object_to_vec(event);
        let unverified = receive::parse(&json, rules).unwrap();
        assert_eq!(unverified.event_id(), id, "version {}", rules.id);
        let received = unverified.verify(&keys()).unwrap();
        assert_eq!(received.integrity, Integrity::Whole);
        assert_eq!(received.pdu.id(), id);

        let mut pruned = event.clone();
        redact::prune(&mut pruned, rules).unwrap();
        pruned.remove("unsigned");
        assert_eq!(pruned, redacted, "version {}: {event:?}", rules.id);
        assert_eq!(hash::event_id(&pruned, rules).unwrap(), id);

        // Signed again, it is the same.
        let mut again = event.clone();
        again.insert("signatures".to_owned(), Value::Object(Object::new()));
        signing::sign_event(&mut again, "domain".try_into().unwrap(), &key(), rules).unwrap();
        assert_eq!(&again, event);
    });
}

#[test]
fn changed_content_leaves_the_redacted_event() {
    each(|rules, event, id, redacted| {
        let mut changed = event.clone();
        let Some(Value::Object(content)) = changed.get_mut("content") else { panic!("no content") };
        content.insert("smuggled".to_owned(), Value::Bool(true));
        // Whose redaction keeps all of its content are not to be smuggled into.
        if rules.id.as_str().parse::<u8>().unwrap() >= 11
            && event["type"] == Value::String("m.room.create".into())
        {
            let unverified = receive::parse(&canonical::object_to_vec(&changed), rules).unwrap();
            assert!(unverified.verify(&keys()).is_err());
            return;
        }
        let received =
            receive::parse(&canonical::object_to_vec(&changed), rules).unwrap().verify(&keys()).unwrap();
        assert_eq!(received.integrity, Integrity::HashMismatch);
        assert_eq!(received.pdu.id(), id);
        assert_eq!(received.json, canonical::object_to_vec(&redacted));
    });
}

#[test]
fn changed_fields_break_the_signature() {
    each(|rules, event, _, _| {
        for (field, value) in [
            ("origin_server_ts", Value::Integer(1_000_001.into())),
            ("depth", Value::Integer(4.into())),
            ("type", Value::String("Y".to_owned())),
            ("state_key", Value::String("other".to_owned())),
        ] {
            let mut changed = event.clone();
            changed.insert(field.to_owned(), value);
            if field == "type" && !changed.contains_key("room_id") {
                continue;
            }
            let result = receive::parse(&canonical::object_to_vec(&changed), rules).unwrap().verify(&keys());
            let third_party = receive::parse(&canonical::object_to_vec(&changed), rules).unwrap().signers();
            if third_party.is_empty() {
                // An invite that a third-party invite led to needs no signature.
                assert!(result.is_ok());
                continue;
            }
            assert!(
                matches!(result, Err(ReceiveError::Check(VerifyError::Signature(_)))),
                "version {}, {field}: {result:?}",
                rules.id
            );
        }
    });
}

#[test]
fn signing_of_the_specification() {
    // Appendix "Cryptographic Test Vectors".
    let rules = RoomRules::of("6").unwrap();
    let key = key();
    let signed = canonical::object_to_vec(&object(&serde_json::json!({ "two": "Two", "one": 1 })));
    assert_eq!(
        key.sign(&signed),
        "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"
    );
    let minimal = serde_json::json!({
        "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1_000_000,
        "signatures": {}, "hashes": {}, "type": "X", "content": {}, "prev_events": [], "auth_events": [],
        "depth": 3, "unsigned": { "age_ts": 1_000_000 },
    });
    let redactable = serde_json::json!({
        "content": { "body": "Here is the message content" }, "event_id": "$0:domain", "origin": "domain",
        "origin_server_ts": 1_000_000, "type": "m.room.message", "room_id": "!r:domain", "sender": "@u:domain",
        "signatures": {}, "unsigned": { "age_ts": 1_000_000 },
    });
    for (event, content_hash, signature) in [
        (
            minimal,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            redactable,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ] {
        let mut event = object(&event);
        assert_eq!(hash::content_hash(&event).unwrap(), content_hash);
        let hashes = object(&serde_json::json!({ "sha256": content_hash }));
        event.insert("hashes".to_owned(), Value::Object(hashes));
        signing::sign_event(&mut event, "domain".try_into().unwrap(), &key, rules).unwrap();
        let signatures = object(&serde_json::json!({ "domain": { "ed25519:1": signature } }));
        assert_eq!(event["signatures"], Value::Object(signatures));
    }
}
