//! Bodies that make sense: what the mutations begin with.

use serde_json::{Value, json};

use super::{dice::Dice, scene::Scene};

/// A body for an operation, by the specification's name. One that is not known here gets a little of everything.
pub(super) fn body(operation: &str, scene: &Scene, dice: &mut Dice) -> Value {
    match operation {
        "createRoom" => json!({
            "visibility": "public", "preset": "public_chat", "name": "Pub", "topic": "Beer", "room_version": "11",
            "room_alias_name": "pub", "invite": [scene.victim_id], "is_direct": false,
            "creation_content": { "m.federate": true, "type": "m.space" },
            "initial_state": [{ "type": "m.room.topic", "state_key": "", "content": { "topic": "Tea" } }],
            "power_level_content_override": { "users": { &scene.user_id: 100 }, "events": { "a": 1 }, "ban": 50 },
            "invite_3pid": [],
        }),
        "sendMessage" | "setRoomStateWithKey" => content(scene, dice),
        "defineFilter" => json!({
            "event_fields": ["type", "content.body"], "event_format": "client",
            "presence": { "types": [], "limit": 1 },
            "account_data": { "types": ["*"], "not_types": ["a*b"], "limit": 5 },
            "room": {
                "rooms": [scene.room], "not_rooms": [], "include_leave": true,
                "timeline": { "limit": 10, "types": ["m.*"], "senders": [scene.user_id], "contains_url": false,
                    "related_by_rel_types": ["m.thread"], "unread_thread_notifications": true },
                "state": { "lazy_load_members": true, "include_redundant_members": true },
                "ephemeral": { "types": ["m.typing"] }, "account_data": {},
            },
        }),
        "setPushRule" => json!({
            "actions": ["notify", { "set_tweak": "sound", "value": "default" }], "pattern": "te?*",
            "conditions": [
                { "kind": "event_match", "key": "content.body", "pattern": "a*b" },
                { "kind": "room_member_count", "is": ">=2" },
                { "kind": "sender_notification_permission", "key": "room" },
            ],
        }),
        "setPushRuleActions" => json!({ "actions": ["notify"] }),
        "setPushRuleEnabled" => json!({ "enabled": true }),
        "login" => json!({
            "type": "m.login.password", "identifier": { "type": "m.id.user", "user": scene.user_id },
            "password": "wrong", "device_id": "D", "initial_device_display_name": "phone", "refresh_token": true,
        }),
        "register" => json!({
            "auth": { "type": "m.login.dummy", "session": "x" }, "username": "x", "password": "correct horse",
            "device_id": "D", "inhibit_login": false, "refresh_token": true, "guest_access_token": "x",
        }),
        "changePassword" | "deactivateAccount" | "deleteDevice" | "deleteDevices" => json!({
            "auth": { "type": "m.login.password", "session": "x", "password": "wrong",
                "identifier": { "type": "m.id.user", "user": scene.user_id } },
            "new_password": "battery staple", "logout_devices": false, "erase": true, "devices": ["D"],
        }),
        "queryPublicRooms" => json!({
            "limit": 5, "since": "x", "include_all_networks": false, "third_party_instance_id": "irc",
            "filter": { "generic_search_term": "pub", "room_types": [null, "m.space"] },
        }),
        "setTyping" => json!({ "typing": true, "timeout": 1000 }),
        "setReadMarker" => {
            json!({ "m.fully_read": scene.event, "m.read": scene.event, "m.read.private": scene.event })
        }
        "setRoomTag" => json!({ "order": 0.5 }),
        "slidingSync" => json!({
            "conn_id": "c", "lists": { "a": { "ranges": [[0, 5], [7, 9]], "timeline_limit": 2,
                "required_state": [["m.room.member", "$LAZY"], ["*", "*"]],
                "filters": { "is_dm": false, "spaces": [scene.room], "room_types": [null], "not_tags": ["m.favourite"] } } },
            "room_subscriptions": { (scene.room.as_str()): { "timeline_limit": 5, "required_state": [["m.room.name", ""]] } },
            "extensions": { "account_data": { "enabled": true, "lists": ["a"] }, "receipts": { "enabled": true },
                "typing": { "enabled": true, "rooms": [scene.room] }, "e2ee": { "enabled": true },
                "to_device": { "enabled": true, "limit": 10, "since": "s3_AQAAAAAA" } },
        }),
        "slidingSyncMerged" => json!({
            "lists": { "a": { "range": [0, 5], "timeline_limit": 2,
                "required_state": { "include": [{ "type": "m.room.member" }], "lazy_members": true } } },
            "room_subscriptions": { (scene.room.as_str()): { "timeline_limit": 5 } },
        }),
        "upgradeRoom" => json!({ "new_version": "12", "additional_creators": [scene.victim_id] }),
        _ => json!({
            "user_id": scene.victim_id, "room_id": scene.room, "reason": "because", "displayname": "Eve",
            "avatar_url": "mxc://a/b", "visibility": "public", "search_term": "a", "limit": 5,
            "thread_id": "main", "score": -50, "third_party_signed": { "sender": "a", "token": "b" },
            "refresh_token": "x", "display_name": "phone", "additional_creators": [scene.victim_id],
            "m.custom": { "a": [1, 2, { "b": null }] },
        }),
    }
}

/// Types of events that mean something.
const TYPES: &[&str] = &[
    "m.room.message",
    "m.reaction",
    "m.room.member",
    "m.room.topic",
    "m.room.name",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.power_levels",
    "m.room.server_acl",
    "m.room.pinned_events",
    "m.room.encryption",
    "m.room.tombstone",
    "m.room.third_party_invite",
    "m.room.aliases",
    "m.room.redaction",
    "m.space.child",
    "m.space.parent",
    "m.call.invite",
    "org.example.custom",
];

/// A type of events.
pub(super) fn event_type(dice: &mut Dice) -> &'static str {
    dice.pick(TYPES)
}

/// A content that has something of every type of events.
fn content(scene: &Scene, dice: &mut Dice) -> Value {
    let event = &scene.event;
    let mut all = json!({
        "msgtype": "m.text", "body": "hello @room", "url": "mxc://a/b", "format": "org.matrix.custom.html",
        "membership": dice.pick(&["join", "invite", "leave", "ban", "knock"]), "displayname": "Eve",
        "avatar_url": "mxc://a/b", "reason": "because", "is_direct": true, "third_party_invite": {},
        "join_authorised_via_users_server": scene.user_id,
        "m.relates_to": {
            "rel_type": dice.pick(&["m.replace", "m.thread", "m.annotation", "m.reference"]), "event_id": event,
            "key": "+1", "is_falling_back": true, "m.in_reply_to": { "event_id": event },
        },
        "m.new_content": { "msgtype": "m.text", "body": "better" },
        "m.mentions": { "user_ids": [scene.victim_id], "room": true },
        "topic": "Beer", "name": "Pub", "alias": "#pub:plexus.test", "alt_aliases": [], "pinned": [event],
        "join_rule": "public", "allow": [{ "type": "m.room_membership", "room_id": scene.room }],
        "history_visibility": "shared", "guest_access": "can_join", "deny": ["*.evil"], "allow_ip_literals": true,
        "users": { &scene.user_id: 100 }, "users_default": 0, "events": { "m.room.name": 50 }, "invite": 0,
        "notifications": { "room": 50 }, "algorithm": "m.megolm.v1.aes-sha2", "replacement_room": scene.room,
        "via": ["plexus.test"], "order": "a", "suggested": true, "canonical": true, "redacts": event,
    });
    // Not all of it, or nothing would be missing.
    if let Some(map) = all.as_object_mut() {
        let keep = 2 + dice.roll(12);
        let keys: Vec<String> = map.keys().cloned().collect();
        for key in keys {
            if dice.roll(24) >= keep {
                map.remove(&key);
            }
        }
    }
    all
}
