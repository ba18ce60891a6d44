//! What a user has set for a room goes with them into the one that replaces it: tags, and the push rule of the room.

use bytes::Bytes;
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    log::v1::{PutPushRule, SetAccountData, input_user_event::Command},
    user::v1::GetAccountDataRequest,
};
use ruma::{RoomId, UserId};
use serde_json::{Map, Value, json};

use crate::rooms::{
    Rooms, ask,
    read::{EventParts, state_key as key},
};

/// Type of the account data that holds tags.
const TAGS: &str = "m.tag";
/// Type of the account data that holds push rules.
const PUSH_RULES: &str = "m.push_rules";

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
        if let Some(tags) = self.data_of(user, old, TAGS).await?
            && self.data_of(user, room_id.as_str(), TAGS).await?.is_none()
        {
            let command =
                SetAccountData { room_id: room_id.to_string(), r#type: TAGS.to_owned(), content: tags };
            self.input.submit_user(user, Command::SetAccountData(command)).await?;
        }
        if let Some(rules) = self.data_of(user, "", PUSH_RULES).await?
            && let Some(rule) = room_rule(&rules, old, room_id.as_str())
        {
            let command = PutPushRule {
                kind: "room".to_owned(),
                rule_id: room_id.to_string(),
                rule: rule.to_string().into(),
                ..PutPushRule::default()
            };
            self.input.submit_user(user, Command::PutPushRule(command)).await?;
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
fn predecessor(create: &Map<String, Value>) -> Option<&str> {
    let room_id = create.get("predecessor")?.get("room_id")?.as_str()?;
    <&RoomId>::try_from(room_id).ok().filter(|_| !room_id.contains('\0')).map(RoomId::as_str)
}

/// The rule for the room that replaces another, if there is one for that one and none for it.
fn room_rule(push_rules: &[u8], old: &str, new: &str) -> Option<Value> {
    let rules = serde_json::from_slice::<Value>(push_rules).ok()?;
    let rules = rules.pointer("/global/room")?.as_array()?;
    let find = |id: &str| {
        let named = |rule: &&Value| rule.get("rule_id").and_then(Value::as_str) == Some(id);
        rules.iter().find(named)
    };
    let actions = find(old)?.get("actions")?;
    find(new).is_none().then(|| json!({ "actions": actions }))
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
            room_rule(&rules(&["!old:x"]), "!old:x", "!new"),
            Some(json!({ "actions": ["dont_notify"] }))
        );
        assert_eq!(room_rule(&rules(&["!old:x", "!new"]), "!old:x", "!new"), None);
        assert_eq!(room_rule(&rules(&["!other:x"]), "!old:x", "!new"), None);
        assert_eq!(room_rule(b"[]", "!old:x", "!new"), None);
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
