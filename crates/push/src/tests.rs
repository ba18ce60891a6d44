//! Rules and events.

use std::sync::Arc;

use ruma::{UserId, room_id, user_id};
use serde_json::{Value, json};

mod attacks;

use crate::{Budget, EditError, Facts, Place, Power, Reader, Rules};

fn alice() -> &'static UserId {
    user_id!("@alice:example.org")
}

fn power() -> Arc<Power> {
    let levels = ruma::power_levels::NotificationPowerLevels::new();
    let users = [(user_id!("@bob:example.org").to_owned(), 50.into())].into_iter().collect();
    let rules = ruma::room_version_rules::RoomPowerLevelsRules::new(
        &ruma::room_version_rules::AuthorizationRules::V11,
        [],
    );
    Arc::new(Power::new(users, 0.into(), levels, rules))
}

fn event(sender: &str, kind: &str, content: Value) -> Value {
    json!({ "type": kind, "sender": sender, "room_id": "!r:example.org", "content": content })
}

fn facts(event: &Value, members: u64) -> Facts {
    Facts::of(event.to_string().as_bytes(), members, Some(power()))
}

/// Whether Alice is notified, and whether it is highlighted.
fn outcome(rules: &Rules, event: &Value, members: u64) -> (bool, bool) {
    let facts = facts(event, members);
    let json = event.to_string();
    crate::facts::tests::assert_agrees(&facts, &json);
    let reader = Reader { user: alice(), room: room_id!("!r:example.org"), display_name: Some("Alice") };
    let outcome = facts.apply(json.as_bytes(), rules, reader, &mut Budget::new(1_000_000)).unwrap();
    (outcome.notifies(), outcome.highlights())
}

const BOB: &str = "@bob:example.org";
const CAROL: &str = "@carol:example.org";

#[test]
fn predefined_rules_do_what_they_say() {
    let text = |extra: Value| {
        let mut content = json!({ "msgtype": "m.text", "body": "hello" });
        content.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        content
    };
    let mention = json!({ "m.mentions": { "user_ids": ["@alice:example.org"] } });
    let of_all = json!({ "m.mentions": { "room": true } });
    let mut tombstone = event(BOB, "m.room.tombstone", json!({}));
    let plain_tombstone = tombstone.clone();
    tombstone["state_key"] = json!("");
    let mut invite = event(BOB, "m.room.member", json!({ "membership": "invite" }));
    invite["state_key"] = json!("@alice:example.org");
    let mut other_invite = invite.clone();
    other_invite["state_key"] = json!(CAROL);
    let edit = json!({ "m.relates_to": { "rel_type": "m.replace", "event_id": "$e" } });
    for (event, expected) in [
        (event(BOB, "m.room.message", text(json!({}))), (true, false)),
        (event(BOB, "m.room.encrypted", json!({})), (true, false)),
        (event(BOB, "M.Room.Message", text(json!({ "msgtype": "M.NOTICE" }))), (false, false)),
        (event(BOB, "m.room.message", text(json!({ "m.mentions": { "room": "true" } }))), (true, false)),
        (event(BOB, "m.call.invite", json!({})), (true, false)),
        (event(BOB, "m.room.message", json!({ "msgtype": "m.notice", "body": "x" })), (false, false)),
        (event(BOB, "m.room.message", text(mention.clone())), (true, true)),
        (event(BOB, "com.example.any", mention), (true, true)),
        (event(BOB, "m.room.message", text(of_all.clone())), (true, true)),
        // Carol may not notify all; it is still a message.
        (event(CAROL, "m.room.message", text(of_all)), (true, false)),
        (event(BOB, "m.room.message", text(edit)), (false, false)),
        (event(BOB, "m.reaction", json!({})), (false, false)),
        (event(BOB, "m.room.topic", json!({ "topic": "x" })), (false, false)),
        (event("@alice:example.org", "m.room.message", text(json!({}))), (false, false)),
        (tombstone, (true, true)),
        (plain_tombstone, (false, false)),
        (invite, (true, false)),
        (other_invite, (false, false)),
        // What is of the wrong type is as if it were not there.
        (event(BOB, "m.room.message", text(json!({ "m.mentions": 1 }))), (true, false)),
        (event(BOB, "m.room.message", text(json!({ "m.mentions": { "user_ids": [1, {}] } }))), (true, false)),
        (event(BOB, "m.room.message", json!([])), (true, false)),
    ] {
        assert_eq!(outcome(&Rules::shared(), &event, 3), expected, "{event}");
        // The shared rules and the user's own say the same.
        assert_eq!(outcome(&Rules::predefined(alice()), &event, 3), expected, "{event}");
    }
}

#[test]
fn nonsense_matches_nothing() {
    for json in ["", "null", "[]", "{", "1"] {
        let facts = Facts::of(json.as_bytes(), 2, None);
        let reader = Reader { user: alice(), room: room_id!("!r:example.org"), display_name: None };
        let rules = Rules::shared();
        let outcome = facts.apply(json.as_bytes(), &rules, reader, &mut Budget::new(1_000_000)).unwrap();
        assert!(!outcome.notifies(), "{json}");
    }
}

#[test]
fn own_rules_come_before_predefined_ones() {
    let mut rules = Rules::predefined(alice());
    let message = event(BOB, "m.room.message", json!({ "msgtype": "m.text", "body": "have some Cake." }));
    rules.put("room", "!r:example.org", br#"{"actions":["dont_notify"]}"#, Place::default()).unwrap();
    assert_eq!(outcome(&rules, &message, 3), (false, false), "what is historical does nothing");
    let kept = rules.global().unwrap();
    assert_eq!(kept["room"][0]["actions"], json!(["dont_notify"]), "and is kept");
    let cake = br#"{"pattern":"cake","actions":["notify",{"set_tweak":"highlight"}]}"#;
    rules.put("content", "cake", cake, Place::default()).unwrap();
    assert_eq!(outcome(&rules, &message, 3), (true, true), "content comes before room");
    rules.enable("content", "cake", false).unwrap();
    assert_eq!(outcome(&rules, &message, 3), (false, false));
    let mute =
        br#"{"conditions":[{"kind":"event_match","key":"room_id","pattern":"!r:example.org"}],"actions":[]}"#;
    rules.put("override", "mute", mute, Place::default()).unwrap();
    rules.enable("content", "cake", true).unwrap();
    assert_eq!(outcome(&rules, &message, 3), (false, false), "override comes before content");
    rules.delete("override", "mute").unwrap();
    rules.enable("override", ".m.rule.master", true).unwrap();
    assert_eq!(outcome(&rules, &message, 3), (false, false));
    let unknown = br#"{"conditions":[{"kind":"com.example.never"}],"actions":["notify"]}"#;
    rules.put("override", "unknown", unknown, Place::default()).unwrap();
    rules.enable("override", ".m.rule.master", false).unwrap();
    rules.delete("content", "cake").unwrap();
    assert_eq!(outcome(&rules, &message, 3), (false, false), "unknown conditions match nothing");
}

#[test]
fn predefined_rules_can_be_changed_but_not_removed() {
    let mut rules = Rules::predefined(alice());
    let message = event(BOB, "m.room.message", json!({ "msgtype": "m.text", "body": "x" }));
    rules.set_actions("underride", ".m.rule.message", b"[]").unwrap();
    assert_eq!(outcome(&rules, &message, 3), (false, false));
    assert_eq!(outcome(&rules, &message, 2), (true, false), "a room of two has a rule of its own");
    assert!(matches!(rules.delete("underride", ".m.rule.message"), Err(EditError::Invalid(_))));
    let content = rules.content().unwrap();
    let read = Rules::parse(&content, alice()).unwrap();
    assert_eq!(outcome(&read, &message, 3), (false, false), "what was changed survives being stored");
    assert_eq!(read.content().unwrap(), content);
}

#[test]
fn rules_are_placed_as_asked() {
    let mut rules = Rules::predefined(alice());
    let body = br#"{"pattern":"x","actions":[]}"#;
    let mut put = |id: &str, before, after| rules.put("content", id, body, Place { before, after });
    put("a", None, None).unwrap();
    put("b", None, None).unwrap();
    put("c", None, Some("a")).unwrap();
    put("d", Some("a"), None).unwrap();
    // Moving a rule that is there.
    put("b", None, Some("c")).unwrap();
    put("c", None, Some("b")).unwrap();
    assert!(matches!(put("e", Some("d"), Some("c")), Err(EditError::Invalid(_))));
    assert!(matches!(put("e", Some("nosuch"), None), Err(EditError::Invalid(_))));
    assert!(matches!(put("a", Some("a"), None), Err(EditError::Invalid(_))));
    assert!(matches!(put("e", Some(".m.rule.master"), None), Err(EditError::Invalid(_))));
    let ids: Vec<_> = rules.ruleset().content.iter().map(|rule| rule.rule_id.as_str()).collect();
    assert_eq!(ids, ["d", "a", "b", "c"]);
    rules.put("override", "first", br#"{"actions":[]}"#, Place::default()).unwrap();
    let ids: Vec<_> = rules.ruleset().override_.iter().take(2).map(|rule| rule.rule_id.as_str()).collect();
    assert_eq!(ids, [".m.rule.master", "first"]);
}

#[test]
fn nonsense_is_refused() {
    let mut rules = Rules::predefined(alice());
    let before = rules.content().unwrap();
    for (kind, id, body) in [
        ("nokind", "a", r#"{"actions":[]}"#),
        ("override", ".a", r#"{"actions":[]}"#),
        ("override", "a/b", r#"{"actions":[]}"#),
        ("override", "a\\b", r#"{"actions":[]}"#),
        ("override", "", r#"{"actions":[]}"#),
        ("override", "a", "{}"),
        ("override", "a", r#"{"actions":["explode"]}"#),
        ("override", "a", r#"{"actions":[{}]}"#),
        ("override", "a", r#"{"actions":[],"conditions":[{}]}"#),
        ("override", "a", r#"{"actions":[],"conditions":1}"#),
        ("content", "a", r#"{"actions":[]}"#),
        ("room", "a", r#"{"actions":[]}"#),
        ("sender", "a", r#"{"actions":[]}"#),
    ] {
        assert!(rules.put(kind, id, body.as_bytes(), Place::default()).is_err(), "{kind} {id} {body}");
    }
    assert_eq!(rules.enable("override", "nosuch", true), Err(EditError::NotFound));
    assert_eq!(rules.set_actions("override", "nosuch", b"[]"), Err(EditError::NotFound));
    assert_eq!(rules.delete("override", "nosuch"), Err(EditError::NotFound));
    assert!(Rules::parse(b"[", alice()).is_err());
    assert_eq!(rules.content().unwrap(), before);
}
