//! Events as a server makes them: hashes, IDs and signatures of room version 11.
//! [Spec](https://spec.matrix.org/v1.19/rooms/v11/)

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::peer::Peer;

/// What is left of an event when it is redacted.
const KEPT: [&str; 12] = [
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "content",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
];

fn kept_content(kind: &str) -> &'static [&'static str] {
    match kind {
        "m.room.member" => &["membership", "join_authorised_via_users_server"],
        "m.room.join_rules" => &["join_rule", "allow"],
        "m.room.history_visibility" => &["history_visibility"],
        "m.room.power_levels" => &[
            "ban",
            "events",
            "events_default",
            "invite",
            "kick",
            "redact",
            "state_default",
            "users",
            "users_default",
        ],
        _ => &[],
    }
}

fn redacted(event: &Value) -> Map<String, Value> {
    let mut event = event.as_object().cloned().unwrap_or_default();
    event.retain(|key, _| KEPT.contains(&key.as_str()));
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind != "m.room.create"
        && let Some(content) = event.get_mut("content").and_then(Value::as_object_mut)
    {
        let invite = content.get("third_party_invite").and_then(|invite| invite.get("signed")).cloned();
        content.retain(|key, _| kept_content(&kind).contains(&key.as_str()));
        if kind == "m.room.member"
            && let Some(signed) = invite
        {
            content.insert("third_party_invite".to_owned(), json!({ "signed": signed }));
        }
    }
    event
}

/// The ID of an event.
pub(super) fn id(event: &Value) -> String {
    let mut redacted = redacted(event);
    redacted.remove("signatures");
    redacted.remove("event_id");
    let bytes = Value::Object(redacted).to_string();
    format!("${}", URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)))
}

/// Adds the content hash and the signature of a server.
pub(super) fn finish(mut event: Value, peer: &Peer) -> Value {
    for key in ["signatures", "hashes", "unsigned", "event_id"] {
        if let Some(event) = event.as_object_mut() {
            event.remove(key);
        }
    }
    let hash = STANDARD_NO_PAD.encode(Sha256::digest(event.to_string()));
    event["hashes"] = json!({ "sha256": hash });
    countersign(&mut event, peer);
    event
}

/// Adds the signature of a server.
pub(super) fn countersign(event: &mut Value, peer: &Peer) {
    let mut signed = redacted(event);
    signed.remove("signatures");
    let signature = peer.signature(Value::Object(signed).to_string().as_bytes());
    event["signatures"][&peer.name]["ed25519:a"] = signature.into();
}
