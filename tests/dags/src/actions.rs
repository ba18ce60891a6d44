//! What people do in a room: a random intent that has some chance of being allowed.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use plexus_events::{RoomRules, SigningKey, canonical, signing::SigningKey as Key};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom as _};
use ruma::{OwnedUserId, events::StateEventType};
use serde_json::{Value, json};

use crate::room::{Intent, Room, State};

/// Users of three servers.
#[must_use]
pub fn users() -> Vec<OwnedUserId> {
    let names =
        ["@alice:a.test", "@bob:a.test", "@carol:b.test", "@dave:b.test", "@erin:c.test", "@frank:c.test"];
    names.iter().map(|name| (*name).try_into().expect("a user ID")).collect()
}

/// Picks something to do.
pub fn random(rng: &mut StdRng, room: &Room, state: &State, users: &[OwnedUserId]) -> Intent {
    let sender = users.choose(rng).expect("there are users").clone();
    let target = users.choose(rng).expect("there are users").clone();
    let (event_type, state_key, content) = match rng.random_range(0..100) {
        0..16 => member(rng, room, state, &sender, &sender, "join"),
        16..22 => member(rng, room, state, &sender, &sender, "leave"),
        22..27 => member(rng, room, state, &sender, &sender, "knock"),
        27..36 => member(rng, room, state, &sender, &target, "invite"),
        36..43 => member(rng, room, state, &sender, &target, "leave"),
        43..50 => member(rng, room, state, &sender, &target, "ban"),
        50..66 => ("m.room.power_levels", String::new(), power_levels(rng, room, state, users)),
        66..76 => ("m.room.join_rules", String::new(), join_rules(rng, room.rules)),
        76..86 => ("m.room.topic", String::new(), json!({ "topic": rng.random_range(0..1000) })),
        86..90 => ("test.own", sender.to_string(), json!({ "is": rng.random_range(0..1000) })),
        90..94 => {
            ("test.keyed", rng.random_range(0..3).to_string(), json!({ "is": rng.random_range(0..1000) }))
        }
        94..97 => third_party_invite(rng),
        _ => {
            let body = rng.random_range(0..1_000_000).to_string();
            return intent(rng, sender, "m.room.message", None, json!({ "body": body }));
        }
    };
    intent(rng, sender, event_type, Some(state_key), content)
}

fn intent(
    rng: &mut StdRng,
    sender: OwnedUserId,
    event_type: &str,
    state_key: Option<String>,
    content: Value,
) -> Intent {
    // Clocks that agree to the second, mostly: ties are what the orderings have to break.
    let jitter = match rng.random_range(0..10) {
        0 => rng.random_range(-100..100),
        1..4 => rng.random_range(0..3),
        _ => 0,
    };
    Intent {
        sender,
        event_type: event_type.to_owned(),
        state_key,
        content,
        origin_server_ts: 1_700_000_000_000 + jitter,
    }
}

type Parts = (&'static str, String, Value);

fn member(
    rng: &mut StdRng,
    room: &Room,
    state: &State,
    sender: &OwnedUserId,
    target: &OwnedUserId,
    membership: &str,
) -> Parts {
    let mut content = json!({ "membership": membership, "nonce": rng.random_range(0..1000) });
    if membership == "join" && room.rules.rules.authorization.restricted_join_rule && rng.random_bool(0.5) {
        content["join_authorised_via_users_server"] =
            json!(joined(rng, room, state).unwrap_or(sender.to_string()));
    }
    let tokens = state.keys().filter(|key| key.0 == StateEventType::RoomThirdPartyInvite);
    let tokens: Vec<&str> = tokens.map(|key| key.1.as_str()).collect();
    if membership == "invite"
        && rng.random_bool(0.7)
        && let Some(token) = tokens.choose(rng)
    {
        content["third_party_invite"] = json!({
            "display_name": "somebody",
            "signed": signed_invite(rng, target, token),
        });
    }
    ("m.room.member", target.to_string(), content)
}

/// A user who is joined.
fn joined(rng: &mut StdRng, room: &Room, state: &State) -> Option<String> {
    let members = state.iter().filter(|(key, nid)| {
        key.0 == StateEventType::RoomMember
            && room.event(**nid).pdu.content_text().contains(r#""membership":"join""#)
    });
    let members: Vec<&str> = members.map(|(key, _)| key.1.as_str()).collect();
    members.choose(rng).map(|user| (*user).to_owned())
}

fn power_levels(rng: &mut StdRng, room: &Room, state: &State, users: &[OwnedUserId]) -> Value {
    let current = state.get(&(StateEventType::RoomPowerLevels, String::new()));
    let mut content = match current {
        Some(nid) => room.event(*nid).pdu.content_as().expect("it is an object"),
        None => json!({ "users": {} }),
    };
    if current.is_none() && !room.rules.room_id_is_create_hash() {
        content["users"][users[0].as_str()] = json!(100);
    }
    let rules = &room.rules.rules.authorization;
    for _ in 0..rng.random_range(1..3) {
        let level = *[0, 0, 25, 50, 50, 75, 100, 100].choose(rng).expect("not empty");
        // Before version 10 a level may be the text of an integer.
        let value = if !rules.integer_power_levels && rng.random_bool(0.1) {
            json!(level.to_string())
        } else {
            json!(level)
        };
        match rng.random_range(0..10) {
            0..6 => {
                let user = users.choose(rng).expect("there are users");
                content["users"][user.as_str()] = value;
            }
            6..8 => {
                let events = ["m.room.topic", "m.room.join_rules", "m.room.power_levels", "test.keyed"];
                content["events"][*events.choose(rng).expect("not empty")] = value;
            }
            8 => {
                let fields =
                    ["ban", "kick", "invite", "redact", "state_default", "events_default", "users_default"];
                content[*fields.choose(rng).expect("not empty")] = value;
            }
            _ => content["notifications"]["room"] = value,
        }
    }
    content
}

fn join_rules(rng: &mut StdRng, rules: &RoomRules) -> Value {
    let rules = &rules.rules.authorization;
    let mut known = vec!["public", "public", "invite"];
    if rules.knocking {
        known.push("knock");
    }
    if rules.restricted_join_rule {
        known.push("restricted");
    }
    if rules.knock_restricted_join_rule {
        known.push("knock_restricted");
    }
    json!({ "join_rule": known.choose(rng).expect("not empty"), "nonce": rng.random_range(0..1000) })
}

/// The key of an identity server.
fn identity_key() -> Key {
    SigningKey::from_seed("0", &[5; 32]).expect("a version")
}

fn third_party_invite(rng: &mut StdRng) -> Parts {
    let key = STANDARD_NO_PAD.encode(identity_key().public_key());
    let content = json!({
        "display_name": "somebody",
        "key_validity_url": "https://id.test/valid",
        "public_key": key,
        "public_keys": [{ "public_key": key }],
    });
    ("m.room.third_party_invite", format!("token{}", rng.random_range(0..2)), content)
}

/// What an identity server signs; now and then wrongly.
fn signed_invite(rng: &mut StdRng, target: &OwnedUserId, token: &str) -> Value {
    let mut signed = json!({ "mxid": target, "token": token });
    let object = canonical::parse_object(signed.to_string().as_bytes()).expect("canonical");
    let mut signature = identity_key().sign(&canonical::object_to_vec(&object));
    if rng.random_bool(0.1) {
        signature.replace_range(0..1, if signature.starts_with('A') { "B" } else { "A" });
    }
    signed["signatures"] = json!({ "id.test": { "ed25519:0": signature } });
    signed
}
