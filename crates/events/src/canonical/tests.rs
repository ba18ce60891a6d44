use std::hint::black_box;

use proptest::prelude::*;

use super::{MAX_DEPTH, object_to_vec, parse_object};
use crate::{Pdu, RoomRules, redact, verify};

#[test]
fn examples_of_the_specification() {
    for (text, canonical) in [
        ("{}", "{}"),
        (r#"{ "one": 1, "two": "Two" }"#, r#"{"one":1,"two":"Two"}"#),
        (r#"{ "b": "2", "a": "1" }"#, r#"{"a":"1","b":"2"}"#),
        (r#"{ "a": "日本語" }"#, r#"{"a":"日本語"}"#),
        (r#"{ "本": 2, "日": 1 }"#, r#"{"日":1,"本":2}"#),
        (r#"{ "a": "日" }"#, r#"{"a":"日"}"#),
        (r#"{ "a": null }"#, r#"{"a":null}"#),
        (
            r#"{ "auth": { "success": true, "mxid": "@john.doe:example.com", "profile": { "three_pids": [
               { "medium": "email", "address": "john.doe@example.org" } ], "display_name": "John Doe" } } }"#,
            r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"}]},"success":true}}"#,
        ),
        (
            r#"{"a":"\u0000\u001f\b\t\n\f\r\"\\\/\u007f"}"#,
            "{\"a\":\"\\u0000\\u001f\\b\\t\\n\\f\\r\\\"\\\\/\u{7f}\"}",
        ),
        (
            r#"{"a":9007199254740991,"b":-9007199254740991}"#,
            r#"{"a":9007199254740991,"b":-9007199254740991}"#,
        ),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
    ] {
        let written = object_to_vec(&parse_object(text.as_bytes()).unwrap());
        assert_eq!(String::from_utf8(written).unwrap(), canonical);
    }
}

#[test]
fn what_has_no_canonical_form_is_refused() {
    for text in [
        "",
        "[]",
        "null",
        "1",
        "\"a\"",
        "{",
        "{}x",
        r#"{"a":1.0}"#,
        r#"{"a":1e3}"#,
        r#"{"a":-0}"#,
        r#"{"a":-0.0}"#,
        r#"{"a":9007199254740992}"#,
        r#"{"a":-9007199254740992}"#,
        r#"{"a":1e400}"#,
        r#"{"a":NaN}"#,
        r#"{"a":18446744073709551616}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":01}"#,
        r#"{a:1}"#,
    ] {
        assert!(parse_object(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert!(parse_object(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert!(parse_object(nested(MAX_DEPTH + 1).as_bytes()).is_err());
    assert!(parse_object(nested(100_000).as_bytes()).is_err());
    assert!(parse_object(format!(r#"{{"a":{}"#, "[".repeat(100_000)).as_bytes()).is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,300}") {
        for input in [bytes.as_slice(), text.as_bytes()] {
            if let Ok(object) = parse_object(input) {
                let written = object_to_vec(&object);
                prop_assert_eq!(&parse_object(&written).unwrap(), &object);
                prop_assert_eq!(serde_json::to_vec(&object).unwrap(), written);
            }
            let rules = RoomRules::of("11").unwrap();
            black_box(redact::redact(input, input, rules).is_ok());
            prop_assert!(Pdu::from_checked("$e".try_into().unwrap(), input, false).is_err());
        }
    }

    #[test]
    fn odd_events_never_panic(
        fields in prop::collection::btree_map(
            "type|sender|room_id|content|depth|prev_events|auth_events|hashes|signatures|state_key|redacts|origin_server_ts",
            prop_oneof![
                Just(serde_json::json!({})), Just(serde_json::json!([])), Just(serde_json::json!(["$a"])),
                any::<i32>().prop_map(Into::into), ".{0,20}".prop_map(Into::into),
                Just(serde_json::json!("@a:b")), Just(serde_json::json!("!a:b")), Just(serde_json::json!("m.room.create")),
            ],
            0..12,
        )
    ) {
        let text = serde_json::to_vec(&fields).unwrap();
        let event = parse_object(&text).unwrap();
        for rules in RoomRules::served() {
            black_box(verify::check_format(&event, rules).is_ok());
            black_box(verify::verify_signatures(&event, &Default::default(), rules).is_ok());
            black_box(crate::hash::event_id(&event, rules).is_ok());
            black_box(crate::hash::content_hash_matches(&event));
            black_box(redact::redact(&text, &text, rules).is_ok());
            if let Ok(pdu) = Pdu::from_checked("$e".try_into().unwrap(), &text, false) {
                black_box(crate::auth::check_independent(&pdu, rules, |_| None).is_ok());
                black_box(crate::auth::check_dependent(&pdu, rules, |_, _| Some(&pdu)).is_ok());
            }
        }
    }
}
