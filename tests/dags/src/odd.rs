//! Events with odd contents, to be hashed and redacted.

use plexus_events::{canonical, hash, redact};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Map, Value, json};

use crate::room::Room;

/// Types whose redaction keeps something, or did once, and one whose keeps nothing.
const TYPES: [&str; 12] = [
    "m.room.create",
    "m.room.member",
    "m.room.join_rules",
    "m.room.power_levels",
    "m.room.history_visibility",
    "m.room.aliases",
    "m.room.redaction",
    "m.room.third_party_invite",
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.message",
    "test.type",
];

/// Names that some version keeps in some content, and others.
const FIELDS: [&str; 26] = [
    "membership",
    "join_authorised_via_users_server",
    "third_party_invite",
    "creator",
    "room_version",
    "m.federate",
    "additional_creators",
    "join_rule",
    "allow",
    "ban",
    "events",
    "events_default",
    "kick",
    "redact",
    "state_default",
    "users",
    "users_default",
    "invite",
    "notifications",
    "history_visibility",
    "aliases",
    "redacts",
    "body",
    "displayname",
    "\u{1f600}",
    "a\"\\\u{1}\u{7f}/",
];

/// Makes events with their content hash, event ID and redacted form.
pub fn events(rng: &mut StdRng, room: &Room) -> Vec<Value> {
    (0..12)
        .map(|_| {
            let text = event(rng, room).to_string();
            let event = canonical::parse_object(text.as_bytes()).expect("it has a canonical form");
            let content_hash = hash::content_hash(&event).expect("it is small");
            let event_id = hash::event_id(&event, room.rules).expect("it is small");
            let mut redacted = event.clone();
            redact::prune(&mut redacted, room.rules).expect("its fields have the right types");
            json!({ "event": event, "content_hash": content_hash, "id": event_id, "redacted": redacted })
        })
        .collect()
}

fn event(rng: &mut StdRng, room: &Room) -> Value {
    let event_type = *TYPES.choose(rng).expect("not empty");
    let mut content = Map::new();
    for field in FIELDS {
        if rng.random_bool(0.5) {
            let value = match field {
                "third_party_invite" => json!({ "display_name": "x", "signed": value(rng, 1), "other": 1 }),
                _ => value(rng, 2),
            };
            content.insert(field.to_owned(), value);
        }
    }
    let mut event = json!({
        "auth_events": [room.event(0).pdu.id()],
        "content": content,
        "depth": rng.random_range(0..1_u64 << 53),
        "hashes": { "sha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
        "origin_server_ts": rng.random_range(0..1_u64 << 53),
        "prev_events": [room.event(room.last()).pdu.id()],
        "room_id": room.room_id,
        "sender": "@alice:a.test",
        "signatures": { "a.test": { "ed25519:1": "AAAA" } },
        "type": event_type,
    });
    for (field, value) in [
        ("state_key", json!("")),
        ("origin", json!("a.test")),
        ("prev_state", json!([])),
        ("membership", json!("join")),
        ("redacts", json!("$abc")),
        ("other", json!({ "deep": [true, null, -1] })),
        ("unsigned", json!({ "age": 1 })),
    ] {
        if rng.random_bool(0.5) {
            event[field] = value;
        }
    }
    if event_type == "m.room.create" && room.rules.room_id_is_create_hash() {
        event.as_object_mut().expect("an object").remove("room_id");
        event["state_key"] = json!("");
    }
    event
}

fn value(rng: &mut StdRng, depth: u8) -> Value {
    match rng.random_range(0..if depth == 0 { 5 } else { 7 }) {
        0 => json!(rng.random_range(-(1_i64 << 53) + 1..1_i64 << 53)),
        1 => json!(["", "text", "日本語", "\u{0}\n\t\"\\/", "\u{2028}\u{10ffff}"].choose(rng)),
        2 => json!(rng.random_bool(0.5)),
        3 => Value::Null,
        4 => json!("join"),
        5 => (0..rng.random_range(0..3)).map(|_| value(rng, depth - 1)).collect(),
        _ => (0..rng.random_range(0..4))
            .map(|_| ((*FIELDS.choose(rng).expect("not empty")).to_owned(), value(rng, depth - 1)))
            .collect::<Map<_, _>>()
            .into(),
    }
}
