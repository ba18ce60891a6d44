//! Carries a user's settings of a room over to the one that replaces it: tags, direct chats, and
//! push rules.

use bytes::Bytes;
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{PutPushRule, SetAccountData, input_user_event::Command},
    user::v1::GetAccountDataRequest,
};
use ruma::{RoomId, UserId};
use serde_json::{Map, Value, json};

use crate::rooms::{
    Rooms, ask, is_rejected,
    read::{EventParts, state_key as key},
};

/// How often account data that the user has changed meanwhile is read again.
const MAX_ATTEMPTS: usize = 5;
/// Type of the account data that holds tags.
const TAGS: &str = "m.tag";
/// Type of the account data that tells which rooms are direct chats.
const DIRECT: &str = "m.direct";
/// Type of the account data that holds push rules.
const PUSH_RULES: &str = "m.push_rules";
/// Kinds of push rules that have conditions.
const CONDITIONAL: [&str; 2] = ["override", "underride"];

impl Rooms {
    /// Takes over what a user, who has just come into a room, had set for the room that it replaces, if it replaces one.
    /// A failure changes nothing of their being in the room.
    pub(in crate::rooms) async fn take_over_settings(&self, user: &UserId, room_id: &RoomId) {
        if let Err(error) = self.try_take_over(user, room_id).await {
            tracing::warn!(%error, room.id = %room_id, user.id = %user, "settings stay with the room that was replaced");
        }
    }

    async fn try_take_over(&self, user: &UserId, room_id: &RoomId) -> Result<(), MatrixError> {
        let keys = vec![key("m.room.create", "")];
        let found = self.state_entries(room_id, None, keys, None).await?;
        let Some(create) = found.first() else { return Ok(()) };
        let content = EventParts::of(create)?.content;
        let Some(old) = predecessor(&content) else { return Ok(()) };
        self.take_over_tags(user, old, room_id).await?;
        self.take_over_direct(user, old, room_id).await?;
        if let Some(rules) = self.data_of(user, "", PUSH_RULES).await? {
            for (kind, rule) in rules_for(&rules, old, room_id.as_str()) {
                let command = PutPushRule {
                    kind,
                    rule_id: room_id.to_string(),
                    rule: rule.to_string().into(),
                    ..PutPushRule::default()
                };
                self.input.submit_user(user, Command::PutPushRule(command)).await?;
            }
        }
        Ok(())
    }

    async fn take_over_direct(&self, user: &UserId, old: &str, room_id: &RoomId) -> Result<(), MatrixError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(direct) = self.data_of(user, "", DIRECT).await? else { return Ok(()) };
            let Some(content) = with_direct(&direct, old, room_id.as_str()) else { return Ok(()) };
            let command = SetAccountData {
                r#type: DIRECT.to_owned(),
                content: content.to_string().into(),
                replaces: Some(direct),
                ..SetAccountData::default()
            };
            match self.input.submit_user(user, Command::SetAccountData(command)).await {
                // The user has changed it meanwhile.
                Err(error) if is_rejected(&error, ErrorReason::BadState) => {}
                result => return Ok(result.map(drop)?),
            }
        }
        Err(MatrixError::unavailable())
    }

    async fn take_over_tags(&self, user: &UserId, old: &str, room_id: &RoomId) -> Result<(), MatrixError> {
        if let Some(tags) = self.data_of(user, old, TAGS).await?
            && self.data_of(user, room_id.as_str(), TAGS).await?.is_none()
        {
            let command = SetAccountData {
                room_id: room_id.to_string(),
                r#type: TAGS.to_owned(),
                content: tags,
                position: None,
                replaces: Some(Bytes::new()),
            };
            match self.input.submit_user(user, Command::SetAccountData(command)).await {
                // The user has tagged the new room meanwhile.
                Err(error) if is_rejected(&error, ErrorReason::BadState) => {}
                result => drop(result?),
            }
        }
        Ok(())
    }

    async fn data_of(
        &self,
        user: &UserId,
        room_id: &str,
        data_type: &str,
    ) -> Result<Option<Bytes>, MatrixError> {
        let request = GetAccountDataRequest {
            user_id: user.to_string(),
            room_id: room_id.to_owned(),
            r#type: data_type.to_owned(),
        };
        match ask(self.users.clone().get_account_data(request)).await {
            Ok(answer) => Ok(Some(answer.content)),
            Err(error) if error.is("M_NOT_FOUND") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The room that a room replaces, by the content of its create event.
pub(in crate::rooms) fn predecessor(create: &Map<String, Value>) -> Option<&str> {
    let room_id = create.get("predecessor")?.get("room_id")?.as_str()?;
    <&RoomId>::try_from(room_id).ok().filter(|_| !room_id.contains('\0')).map(RoomId::as_str)
}

/// The direct chats of a user with the room that replaces another, wherever that one is; `None` if nothing changes.
fn with_direct(direct: &[u8], old: &str, new: &str) -> Option<Value> {
    let mut direct = serde_json::from_slice::<Map<String, Value>>(direct).ok()?;
    let has = |rooms: &[Value], id: &str| rooms.iter().any(|room| room == id);
    let mut changed = false;
    for rooms in direct.values_mut().filter_map(Value::as_array_mut) {
        if has(rooms, old) && !has(rooms, new) {
            rooms.push(Value::from(new));
            changed = true;
        }
    }
    changed.then_some(Value::Object(direct))
}

/// The rules for the room that replaces another, with their kinds: the rule of that one, and those with a condition that
/// asks for it. Clients mute a room by either. A kind in which the room has a rule already gets none.
fn rules_for(push_rules: &[u8], old: &str, new: &str) -> Vec<(String, Value)> {
    let rules = serde_json::from_slice::<Value>(push_rules).unwrap_or_default();
    let of_kind = |kind: &str| {
        let rules = rules.get("global").and_then(|global| global.get(kind)).and_then(Value::as_array);
        let rules = rules.map(Vec::as_slice).unwrap_or_default();
        let is_new = |rule: &Value| rule.get("rule_id").and_then(Value::as_str) == Some(new);
        if rules.iter().any(is_new) { &[] } else { rules }
    };
    let is_on = |rule: &&Value| rule.get("enabled") != Some(&Value::Bool(false));
    let mut taken = Vec::new();
    let of_room = |rule: &&Value| rule.get("rule_id").and_then(Value::as_str) == Some(old);
    let of_room = of_kind("room").iter().filter(is_on).find(of_room);
    if let Some(actions) = of_room.and_then(|rule| rule.get("actions")) {
        taken.push(("room".to_owned(), json!({ "actions": actions })));
    }
    for kind in CONDITIONAL {
        let rule = of_kind(kind).iter().filter(is_on).find_map(|rule| {
            let conditions = rule.get("conditions")?.as_array()?;
            let asks = |condition: &Value| {
                let text = |key: &str| condition.get(key).and_then(Value::as_str);
                text("key") == Some("room_id") && text("pattern") == Some(old)
            };
            conditions.iter().any(asks).then_some(())?;
            let mut conditions = conditions.clone();
            for condition in conditions.iter_mut().filter(|condition| asks(condition)) {
                condition["pattern"] = Value::from(new);
            }
            Some(json!({ "actions": rule.get("actions")?, "conditions": conditions }))
        });
        taken.extend(rule.map(|rule| (kind.to_owned(), rule)));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_taken_over_once() {
        let rules = |ids: &[&str]| {
            let rules = ids.iter().map(|id| json!({ "rule_id": id, "actions": ["dont_notify"] }));
            json!({ "global": { "room": rules.collect::<Vec<_>>() } }).to_string().into_bytes()
        };
        assert_eq!(
            rules_for(&rules(&["!old:x"]), "!old:x", "!new"),
            [("room".to_owned(), json!({ "actions": ["dont_notify"] }))]
        );
        assert_eq!(rules_for(&rules(&["!old:x", "!new"]), "!old:x", "!new"), []);
        assert_eq!(rules_for(&rules(&["!other:x"]), "!old:x", "!new"), []);
        assert_eq!(rules_for(b"[]", "!old:x", "!new"), []);
    }

    #[test]
    fn rules_that_ask_for_the_room_are_taken_over() {
        let condition = |room: &str| json!({ "kind": "event_match", "key": "room_id", "pattern": room });
        let more = json!({ "kind": "event_match", "key": "content.body", "pattern": "!old:x" });
        let rule = |room: &str, enabled: bool| {
            let conditions = json!([condition(room), more]);
            json!({ "rule_id": "r", "actions": [], "enabled": enabled, "conditions": conditions })
        };
        let rules = |rule: Value| json!({ "global": { "override": [rule] } }).to_string().into_bytes();
        let expected = json!({ "actions": [], "conditions": [condition("!new"), more] });
        assert_eq!(
            rules_for(&rules(rule("!old:x", true)), "!old:x", "!new"),
            [("override".to_owned(), expected)]
        );
        assert_eq!(rules_for(&rules(rule("!old:x", false)), "!old:x", "!new"), []);
        assert_eq!(rules_for(&rules(rule("!other:x", true)), "!old:x", "!new"), []);
    }

    #[test]
    fn a_direct_chat_stays_one() {
        let of = |content: Value| with_direct(content.to_string().as_bytes(), "!old:x", "!new");
        assert_eq!(
            of(json!({ "@b:x": ["!old:x"], "@c:x": ["!z:x"], "d": 1 })),
            Some(json!({ "@b:x": ["!old:x", "!new"], "@c:x": ["!z:x"], "d": 1 }))
        );
        assert_eq!(of(json!({ "@b:x": ["!old:x", "!new"] })), None);
        assert_eq!(of(json!([])), None);
    }

    #[test]
    fn only_a_room_can_be_replaced() {
        let of = |content: Value| predecessor(content.as_object().unwrap()).map(ToOwned::to_owned);
        assert_eq!(of(json!({ "predecessor": { "room_id": "!old:x" } })).as_deref(), Some("!old:x"));
        for content in
            [json!({}), json!({ "predecessor": "!old:x" }), json!({ "predecessor": { "room_id": "x" } })]
        {
            assert_eq!(of(content), None);
        }
    }
}
