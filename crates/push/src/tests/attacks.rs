//! Rules and events that were made to cost. How much work they are is counted, never timed.

use ruma::room_id;
use serde_json::{Value, json};

use super::{BOB, alice, event, facts};
use crate::{Budget, EditError, Place, Reader, Rules, Spent, bounds};

/// Whether Alice is notified, and how much work it was to tell.
fn apply(rules: &Rules, event: &Value) -> (bool, u64) {
    let mut budget = Budget::new(u64::MAX);
    let reader = Reader { user: alice(), room: room_id!("!r:example.org"), display_name: Some("Alice") };
    let outcome = facts(event, 3).apply(event.to_string().as_bytes(), rules, reader, &mut budget).unwrap();
    (outcome.notifies(), budget.used())
}

/// Rules as they are stored, whatever today's bounds are.
fn stored(global: &Value) -> Rules {
    Rules::parse(json!({ "global": global }).to_string().as_bytes(), alice()).unwrap()
}

fn content_rule(id: &str, pattern: &str) -> Value {
    json!({ "rule_id": id, "default": false, "enabled": true, "pattern": pattern, "actions": ["notify"] })
}

fn override_rule(id: &str, conditions: &Value) -> Value {
    json!({ "rule_id": id, "default": false, "enabled": true, "conditions": conditions, "actions": ["notify"] })
}

fn matching(key: &str, pattern: &str) -> Value {
    json!({ "kind": "event_match", "key": key, "pattern": pattern })
}

#[test]
fn an_event_with_long_keys_costs_its_length() {
    let keys: serde_json::Map<_, _> = (0..3_900).map(|number| (format!("{number:x}"), json!(1))).collect();
    let event = event(BOB, "com.example.any", json!({ (".".repeat(31_000)): keys, "body": "cake" }));
    let rules = stored(&json!({ "content": [content_rule("cake", "cake")] }));
    let (notifies, work) = apply(&rules, &event);
    assert!(notifies, "it is still looked through");
    assert!(work < event.to_string().len() as u64 + 1_000, "{work}");
}

#[test]
fn a_pattern_of_wildcards_costs_the_length_of_the_text() {
    let event = event(BOB, "m.room.message", json!({ "msgtype": "m.notice", "body": "a".repeat(60_000) }));
    let once = event.to_string().len() as u64;
    for pattern in
        ["abcdefgh?*?*?*?*?*?*?*?*".to_owned(), "*a".repeat(8) + "b", "*".to_owned() + &"a".repeat(250) + "b"]
    {
        let rules = (0..22).map(|number| content_rule(&number.to_string(), &pattern)).collect::<Vec<_>>();
        let (_, work) = apply(&stored(&json!({ "content": rules })), &event);
        assert!(work <= once + 22 * 4 * (8 * 1024 + 1) + 1_000, "{pattern}: {work}");
    }
}

#[test]
fn stored_rules_beyond_the_bounds_do_nothing() {
    let text = event(BOB, "com.example.any", json!({ "body": "a".repeat(60_000), "x": "a".repeat(60_000) }));
    let conditions: Vec<_> = (0..33).map(|_| matching("content.body", "*")).collect();
    for global in [
        json!({ "content": [content_rule("panics", &("a".to_owned() + &"?".repeat(100_000)))] }),
        json!({ "content": [content_rule("regex", &("abcdefgh".to_owned() + &"?".repeat(10_000)))] }),
        json!({ "content": [content_rule("wildcards", &"*".repeat(17))] }),
        json!({ "override": [override_rule("glob", &json!([matching("content.x", &("*".to_owned() + &"a".repeat(30_000)))]))] }),
        json!({ "override": [override_rule("key", &json!([matching(&"content.x".repeat(100), "*")]))] }),
        json!({ "override": [override_rule("many", &json!(conditions))] }),
    ] {
        let (notifies, work) = apply(&stored(&global), &text);
        assert!(!notifies && work < 1_000, "{work}");
    }
    let rules = (0..1_000).map(|number| content_rule(&number.to_string(), "b")).collect::<Vec<_>>();
    let (_, work) = apply(&stored(&json!({ "content": rules })), &text);
    assert!(work < 130_000 + 101 * 8 * 1024, "those beyond the first hundred cost nothing: {work}");
}

#[test]
fn globs_on_other_keys_cost_the_beginning_of_the_value() {
    let event =
        event(BOB, "com.example.any", json!({ "x": "a".repeat(60_000), "body": "a ".repeat(21_500) }));
    let glob = "*".to_owned() + &"a".repeat(200) + "b";
    let rules = stored(&json!({
        "override": [override_rule("x", &json!([matching("content.x", &glob)]))],
        "content": [content_rule("words", "aa")],
    }));
    let (notifies, work) = apply(&rules, &event);
    assert!(!notifies);
    assert!(work <= event.to_string().len() as u64 + 5 * (8 * 1024 + 1) + 1_000, "{work}");
}

#[test]
fn a_long_list_costs_its_beginning() {
    let list: Vec<_> = (0..30_000).collect();
    let event = event(BOB, "com.example.any", json!({ "list": list }));
    let contains =
        |value: u64| json!({ "kind": "event_property_contains", "key": "content.list", "value": value });
    let rule = |value| stored(&json!({ "override": [override_rule("a", &json!([contains(value)]))] }));
    assert!(apply(&rule(999), &event).0);
    let (notifies, work) = apply(&rule(29_999), &event);
    assert!(!notifies && work < event.to_string().len() as u64 + 2_000, "{work}");
}

#[test]
fn work_ends_with_the_budget() {
    let event = event(BOB, "com.example.any", json!({ "body": "a".repeat(60_000) }));
    let rules = stored(&json!({ "content": [content_rule("b", "b")] }));
    let reader = Reader { user: alice(), room: room_id!("!r:example.org"), display_name: None };
    for steps in [0, 100, 60_200] {
        let mut budget = Budget::new(steps);
        let applied = facts(&event, 3).apply(event.to_string().as_bytes(), &rules, reader, &mut budget);
        assert_eq!(applied.unwrap_err(), Spent);
        assert_eq!(budget.left(), 0);
    }
}

#[test]
fn rules_beyond_the_bounds_are_refused() {
    let mut rules = Rules::predefined(alice());
    let mut put = |kind: &str, id: &str, body: &Value| {
        rules.put(kind, id, body.to_string().as_bytes(), Place::default())
    };
    let pattern = |pattern: String| json!({ "pattern": pattern, "actions": [] });
    let conditions = |conditions: Vec<Value>| json!({ "conditions": conditions, "actions": [] });
    for (kind, good, bad) in [
        ("content", pattern("a".repeat(256)), pattern("a".repeat(257))),
        ("content", pattern("?*".repeat(8)), pattern("?*".repeat(8) + "?")),
        (
            "override",
            conditions(vec![matching("a", &"b".repeat(256))]),
            conditions(vec![matching("a", &"b".repeat(257))]),
        ),
        (
            "override",
            conditions(vec![matching(&"a".repeat(256), "b")]),
            conditions(vec![matching(&"a".repeat(257), "b")]),
        ),
        ("underride", conditions(vec![matching("a", "b"); 32]), conditions(vec![matching("a", "b"); 33])),
        ("room", json!({ "actions": vec!["notify"; 16] }), json!({ "actions": vec!["notify"; 17] })),
    ] {
        let id = if kind == "room" { "!r:example.org" } else { "it" };
        put(kind, id, &good).unwrap();
        assert!(matches!(put(kind, id, &bad), Err(EditError::Invalid(_))), "{bad}");
    }
}

#[test]
fn rules_that_look_into_events_are_few_and_others_may_be_many() {
    let mut rules = Rules::predefined(alice());
    let mut put = |kind: &str, id: &str, body: &Value| {
        rules.put(kind, id, body.to_string().as_bytes(), Place::default())
    };
    let word = json!({ "pattern": "x", "actions": [] });
    let looking = json!({ "conditions": [matching("content.body", "x")], "actions": [] });
    let muted = json!({ "conditions": [matching("room_id", "!r:example.org")], "actions": [] });
    for number in 0..bounds::MAX_SEARCHING_RULES {
        put("content", &number.to_string(), &word).unwrap();
        put("override", &number.to_string(), &muted).unwrap();
    }
    for (kind, body) in [("content", &word), ("override", &looking), ("underride", &looking)] {
        assert_eq!(put(kind, "one more", body), Err(EditError::TooMany), "{kind}");
    }
    assert_eq!(put("override", "5", &looking), Err(EditError::TooMany), "nor may another become one");
    put("content", "5", &json!({ "pattern": "y", "actions": [] })).unwrap();
    for number in 100..900 {
        put("override", &number.to_string(), &muted).unwrap();
        put("room", &format!("!{number}:example.org"), &json!({ "actions": [] })).unwrap();
    }
}
