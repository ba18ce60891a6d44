//! Push rules and tags.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        DeletePushRule, EnablePushRule, PutPushRule, SetAccountData, SetPushRuleActions, SetTag,
        input_user_event::Command, output_user_event::Fact,
    },
};
use serde_json::{Value, json};

use super::Story;

const ROOM: &str = "!room:example.org";

fn put(kind: &str, rule_id: &str, rule: Value) -> Command {
    Command::PutPushRule(PutPushRule {
        kind: kind.to_owned(),
        rule_id: rule_id.to_owned(),
        rule: rule.to_string().into(),
        ..PutPushRule::default()
    })
}

fn enable(kind: &str, rule_id: &str, enabled: bool) -> Command {
    Command::EnablePushRule(EnablePushRule { kind: kind.to_owned(), rule_id: rule_id.to_owned(), enabled })
}

fn tag(tag: &str, content: &'static str) -> Command {
    let content = content.as_bytes().into();
    Command::SetTag(SetTag { room_id: ROOM.to_owned(), tag: tag.to_owned(), content })
}

/// The only fact: account data of this room and type.
#[track_caller]
fn data(facts: &[Fact], room_id: &str, kind: &str) -> Value {
    let [Fact::AccountDataChanged(changed)] = facts else { panic!("{facts:?}") };
    assert_eq!((changed.room_id.as_str(), changed.r#type.as_str()), (room_id, kind));
    serde_json::from_slice(&changed.content).unwrap()
}

#[test]
fn rules_are_told_as_account_data() {
    let mut story = Story::registered();
    let facts = story.happens(put("content", "cake", json!({ "pattern": "cake", "actions": ["notify"] })));
    let rules = data(&facts, "", "m.push_rules");
    assert_eq!(rules["global"]["content"][0]["rule_id"], "cake");
    assert_eq!(rules["global"]["override"][0]["rule_id"], ".m.rule.master");
    let rules = data(&story.happens(enable("content", "cake", false)), "", "m.push_rules");
    assert_eq!(rules["global"]["content"][0]["enabled"], false);
    let actions = Command::SetPushRuleActions(SetPushRuleActions {
        kind: "underride".to_owned(),
        rule_id: ".m.rule.message".to_owned(),
        actions: "[]".into(),
    });
    let rules = data(&story.happens(actions), "", "m.push_rules");
    let messages = rules["global"]["underride"].as_array().unwrap();
    assert!(messages.iter().any(|rule| rule["rule_id"] == ".m.rule.message" && rule["actions"] == json!([])));
    let delete = |rule_id: &str| {
        let rule_id = rule_id.to_owned();
        Command::DeletePushRule(DeletePushRule { kind: "content".to_owned(), rule_id })
    };
    let rules = data(&story.happens(delete("cake")), "", "m.push_rules");
    assert_eq!(rules["global"]["content"], json!([]));
    assert_eq!(story.refused(delete("cake")), ErrorReason::NotFound);
}

#[test]
fn nonsense_about_rules_is_refused() {
    let mut story = Story::registered();
    assert_eq!(story.refused(enable("content", "cake", true)), ErrorReason::NotFound);
    assert_eq!(story.refused(put("content", ".m.rule.master", json!({}))), ErrorReason::InvalidParam);
    assert_eq!(story.refused(put("override", "a", json!({ "actions": 1 }))), ErrorReason::InvalidParam);
    let set = SetAccountData {
        room_id: String::new(),
        r#type: "m.push_rules".to_owned(),
        content: "{}".into(),
        position: None,
        replaces: None,
    };
    assert_eq!(story.refused(Command::SetAccountData(set)), ErrorReason::InvalidParam);
    assert!(story.user.contents.is_empty());
}

#[test]
fn tags_are_set_one_by_one() {
    let mut story = Story::registered();
    data(&story.happens(tag("u.work", r#"{"order":0.5}"#)), ROOM, "m.tag");
    let tags = data(&story.happens(tag("m.favourite", "{}")), ROOM, "m.tag");
    assert_eq!(tags, json!({ "tags": { "u.work": { "order": 0.5 }, "m.favourite": {} } }));
    let tags = data(&story.happens(tag("u.work", "")), ROOM, "m.tag");
    assert_eq!(tags, json!({ "tags": { "m.favourite": {} } }));
    assert!(story.happens(tag("u.work", "")).is_empty());
    assert_eq!(story.refused(tag("u.work", "[]")), ErrorReason::BadJson);
    assert_eq!(story.refused(tag("", "{}")), ErrorReason::InvalidParam);
    for number in 0..99 {
        story.happens(tag(&format!("u.{number}"), "{}"));
    }
    assert_eq!(story.refused(tag("u.more", "{}")), ErrorReason::LimitExceeded);
    // Clients may write over all of it.
    let set = SetAccountData {
        position: None,
        replaces: None,
        room_id: ROOM.to_owned(),
        r#type: "m.tag".to_owned(),
        content: r#"{"tags":1}"#.into(),
    };
    story.happens(Command::SetAccountData(set));
    let tags = data(&story.happens(tag("u.work", "{}")), ROOM, "m.tag");
    assert_eq!(tags, json!({ "tags": { "u.work": {} } }));
}
