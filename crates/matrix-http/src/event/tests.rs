use ruma::{device_id, user_id};
use serde_json::{Value, json};

use super::*;

const META: EventMeta<'_> = EventMeta {
    event_id: "$e",
    room_id: "!r:test",
    txn_id: None,
    membership: None,
    replaces_event_id: None,
    prev_content: None,
    prev_sender: None,
    now_ms: Some(1500),
    relations: None,
};

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap()
}

fn stored(more: Value) -> Vec<u8> {
    let mut event = json!({
        "type": "m.room.message", "sender": "@a:test", "room_id": "!r:test", "origin_server_ts": 1000,
        "content": {"body": "hi", "n": 1}, "depth": 4, "prev_events": ["$p"], "auth_events": [],
        "hashes": {"sha256": "x"}, "signatures": {"test": {"ed25519:1": "y"}},
    });
    for (key, value) in more.as_object().unwrap() {
        event[key] = value.clone();
    }
    serde_json::to_vec(&event).unwrap()
}

#[test]
fn clients_see_only_client_fields() {
    let event = client_event(&stored(json!({})), META, EventFormat::Client).unwrap();
    assert_eq!(
        value(&event),
        json!({
            "type": "m.room.message", "sender": "@a:test", "room_id": "!r:test", "event_id": "$e",
            "origin_server_ts": 1000, "content": {"body": "hi", "n": 1}, "unsigned": {"age": 500},
        })
    );
    let event = client_event(&stored(json!({})), META, EventFormat::Sync).unwrap();
    assert_eq!(value(&event).get("room_id"), None);
}

#[test]
fn state_tells_what_it_replaced() {
    let meta = EventMeta {
        replaces_event_id: Some("$old"),
        prev_content: Some(br#"{"name":"old"}"#),
        prev_sender: Some("@b:test"),
        membership: Some("join"),
        ..META
    };
    let json = stored(json!({"type": "m.room.name", "state_key": ""}));
    let event = value(&client_event(&json, meta, EventFormat::Client).unwrap());
    assert_eq!(event["state_key"], "");
    assert_eq!(
        event["unsigned"],
        json!({
            "age": 500, "membership": "join", "prev_content": {"name": "old"}, "prev_sender": "@b:test",
            "replaces_state": "$old",
        })
    );
}

#[test]
fn redactions_name_their_event_in_both_places() {
    let old = stored(json!({"type": "m.room.redaction", "content": {"reason": "x"}, "redacts": "$t"}));
    let new = stored(json!({"type": "m.room.redaction", "content": {"reason": "x", "redacts": "$t"}}));
    for json in [old, new] {
        let event = value(&client_event(&json, META, EventFormat::Client).unwrap());
        assert_eq!(event["redacts"], "$t");
        assert_eq!(event["content"], json!({"reason": "x", "redacts": "$t"}));
    }
    // `redacts` means nothing on other events, and odd values are not repeated.
    let event = client_event(&stored(json!({"redacts": "$t"})), META, EventFormat::Client).unwrap();
    assert_eq!(value(&event).get("redacts"), None);
    let odd = stored(json!({"type": "m.room.redaction", "content": {"redacts": 7}}));
    let event = client_event(&odd, META, EventFormat::Client).unwrap();
    assert_eq!(value(&event).get("redacts"), None);
}

#[test]
fn redacted_events_carry_the_redaction_in_client_format() {
    let redaction: Value = serde_json::from_slice(&stored(
        json!({"type": "m.room.redaction", "event_id": "$red", "content": {"redacts": "$e"}}),
    ))
    .unwrap();
    let json = stored(json!({"content": {}, "unsigned": {"redacted_because": redaction, "age": 9, "x": 1}}));
    let event = value(&client_event(&json, META, EventFormat::Client).unwrap());
    assert_eq!(
        event["unsigned"],
        json!({
            "age": 500,
            "redacted_because": {
                "type": "m.room.redaction", "sender": "@a:test", "room_id": "!r:test", "event_id": "$red",
                "origin_server_ts": 1000, "content": {"redacts": "$e"}, "redacts": "$e",
                "unsigned": {"age": 500},
            },
        })
    );
}

#[test]
fn only_the_sending_device_sees_the_transaction() {
    let event = RoomEvent {
        event_id: "$e".to_owned(),
        json: stored(json!({})).into(),
        room_id: "!r:test".to_owned(),
        txn_device_id: "D".to_owned(),
        txn_id: "t".to_owned(),
        ..RoomEvent::default()
    };
    let seen = |user: &UserId, device: &DeviceId| {
        let event = client_room_event(&event, user, device, 1500, EventFormat::Client).unwrap();
        value(&event)["unsigned"].get("transaction_id").cloned()
    };
    assert_eq!(seen(user_id!("@a:test"), device_id!("D")), Some(json!("t")));
    assert_eq!(seen(user_id!("@a:test"), device_id!("E")), None);
    assert_eq!(seen(user_id!("@b:test"), device_id!("D")), None);
}

#[test]
fn escapes_and_odd_rows_are_survived() {
    let json = br#"{"type":"a\n\"b","sender":"@\u0061:test","content":{"k":"\u0000"},"origin_server_ts":-5,"state_key":"\\"}"#;
    let event = value(&client_event(json, META, EventFormat::Client).unwrap());
    assert_eq!(event["type"], "a\n\"b");
    assert_eq!(event["sender"], "@a:test");
    assert_eq!(event["state_key"], "\\");
    for json in [&b"{}"[..], b"", b"[]", b"\xff", br#"{"type":1}"#] {
        client_event(json, META, EventFormat::Client).unwrap_err();
        stripped_event(json).unwrap_err();
    }
}

#[test]
fn stripped_state_has_four_fields() {
    let json = stored(json!({"type": "m.room.name", "state_key": "", "content": {"name": "x"}}));
    assert_eq!(
        value(&stripped_event(&json).unwrap()),
        json!({"type": "m.room.name", "state_key": "", "sender": "@a:test", "content": {"name": "x"}})
    );
}
