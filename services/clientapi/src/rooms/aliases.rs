//! Aliases and the entry of a room in the directory.

use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        DeleteAlias, Intent, RoomControl, SetAlias, SetVisibility, input_room_event::Body,
        room_control::Action,
    },
    room::v1::{ListAliasesRequest, ResolveAliasRequest},
};
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, RoomId, UserId};
use serde_json::{Map, Value};

use super::{
    Rooms, ask, broken_answer, is_rejected,
    read::{EventParts, state_key as key},
    state::hide_room,
};
use crate::clock::now_ms;

/// How often what somebody else has changed meanwhile is read again.
const MAX_ATTEMPTS: usize = 5;
/// Most aliases of other servers that an event may add: each is asked for.
const MAX_NEW_REMOTE: usize = 10;
/// Longest alias in bytes.
const MAX_ALIAS_BYTES: usize = 255;

impl Rooms {
    /// Points an alias of this server at a room.
    pub(crate) async fn set_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        room_id: &RoomId,
    ) -> Result<(), MatrixError> {
        self.check_new_alias(alias)?;
        let action = Action::SetAlias(SetAlias { alias: alias.to_string(), user_id: user.to_string() });
        self.control(room_id, action).await
    }

    /// Removes an alias, also from `m.room.canonical_alias` if the user may change that.
    pub(crate) async fn delete_alias(&self, user: &UserId, alias: &RoomAliasId) -> Result<(), MatrixError> {
        let room_id = self.resolve_alias(alias).await?;
        let action = Action::DeleteAlias(DeleteAlias { alias: alias.to_string(), user_id: user.to_string() });
        self.control(&room_id, action).await?;
        if let Err(error) = self.remove_from_canonical(user, &room_id, alias).await {
            // The alias is gone, which is what was asked; the event may stay.
            tracing::debug!(%error, room.id = %room_id, "canonical alias stays as it is");
        }
        Ok(())
    }

    /// Finds the room of an alias.
    pub(crate) async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<OwnedRoomId, MatrixError> {
        if !self.is_local(alias.server_name()) {
            return Err(MatrixError::not_found(format!("Room alias {alias} not found")));
        }
        let request = ResolveAliasRequest { alias: alias.to_string() };
        let room_id = ask(self.directory.clone().resolve_alias(request)).await?.room_id;
        room_id.try_into().map_err(|error: ruma::IdParseError| broken_answer("room ID", &error))
    }

    /// Lists the aliases of a room for somebody who may see them.
    pub(crate) async fn aliases(
        &self,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<Vec<OwnedRoomAliasId>, MatrixError> {
        let request = ListAliasesRequest { room_id: room_id.to_string(), viewer: user.to_string() };
        let aliases = hide_room(ask(self.directory.clone().list_aliases(request)).await)?.aliases;
        let parsed = aliases.into_iter().map(TryInto::try_into).collect::<Result<_, _>>();
        parsed.map_err(|error: ruma::IdParseError| broken_answer("alias", &error))
    }

    /// Whether the room is in the directory.
    pub(crate) async fn is_published(&self, room_id: &RoomId) -> Result<bool, MatrixError> {
        Ok(self.info(room_id).await?.published)
    }

    /// Puts the room into the directory, or takes it out.
    pub(crate) async fn set_published(
        &self,
        user: &UserId,
        room_id: &RoomId,
        published: bool,
    ) -> Result<(), MatrixError> {
        let action = Action::SetVisibility(SetVisibility { published, user_id: user.to_string() });
        self.control(room_id, action).await
    }

    pub(super) async fn control(&self, room_id: &RoomId, action: Action) -> Result<(), MatrixError> {
        let control = Body::Control(RoomControl { action: Some(action) });
        self.input.submit_room(room_id, control).await?;
        Ok(())
    }

    /// Refuses what cannot be an alias of this server.
    pub(super) fn check_new_alias(&self, alias: &RoomAliasId) -> Result<(), MatrixError> {
        if !self.is_local(alias.server_name()) {
            return Err(MatrixError::invalid_param(format!("{alias} is not an alias of this server")));
        }
        check_syntax(alias)
    }

    /// Refuses aliases of other servers that are new in a `m.room.canonical_alias` and do not point at the room: their
    /// servers are asked. Those of this server are checked by the room server.
    pub(super) async fn check_remote_aliases(
        &self,
        room_id: &RoomId,
        state_key: &str,
        content: &str,
    ) -> Result<(), MatrixError> {
        let content: Map<String, Value> =
            serde_json::from_str(content).map_err(|error| MatrixError::bad_json(error.to_string()))?;
        let wanted = listed_aliases(&content).ok_or_else(|| {
            MatrixError::bad_json("`alias` must be a string, `alt_aliases` a list of strings")
        })?;
        let mut remote = Vec::new();
        for alias in wanted {
            let parsed = RoomAliasId::parse(alias)
                .map_err(|error| MatrixError::invalid_param(format!("{alias} is not an alias: {error}")))?;
            if !self.is_local(parsed.server_name()) {
                remote.push((alias, parsed));
            }
        }
        if remote.is_empty() {
            return Ok(());
        }
        let keys = vec![key("m.room.canonical_alias", state_key)];
        let present = hide_room(self.state_entries(room_id, None, keys, None).await)?;
        let present = present.first().map(EventParts::of).transpose()?;
        let present = present.as_ref().and_then(|event| listed_aliases(&event.content)).unwrap_or_default();
        remote.retain(|(alias, _)| !present.contains(alias));
        let bad = |why: String| MatrixError::new(http::StatusCode::BAD_REQUEST, "M_BAD_ALIAS", why);
        if remote.len() > MAX_NEW_REMOTE {
            return Err(bad(format!("More than {MAX_NEW_REMOTE} aliases of other servers are new")));
        }
        for (_, alias) in remote {
            match self.resolve_remote_alias(&alias).await {
                Ok((found, _)) if found == room_id => {}
                Ok(_) => return Err(bad(format!("{alias} points at another room"))),
                Err(_) => return Err(bad(format!("It is not known whether {alias} points at this room"))),
            }
        }
        Ok(())
    }

    async fn remove_from_canonical(
        &self,
        user: &UserId,
        room_id: &RoomId,
        alias: &RoomAliasId,
    ) -> Result<(), MatrixError> {
        for _ in 0..MAX_ATTEMPTS {
            let keys = vec![key("m.room.canonical_alias", "")];
            let events = self.state_entries(room_id, None, keys, None).await?;
            let Some(event) = events.first() else { return Ok(()) };
            let Some(content) = without_alias(EventParts::of(event)?.content, alias.as_str()) else {
                return Ok(());
            };
            let intent = Intent {
                sender: user.to_string(),
                r#type: "m.room.canonical_alias".to_owned(),
                state_key: Some(String::new()),
                content: Value::Object(content).to_string().into_bytes().into(),
                origin_server_ts: now_ms(),
                replaces_event_id: event.event_id.clone(),
                ..Intent::default()
            };
            match self.input.submit_room(room_id, Body::Intent(intent)).await {
                // Somebody else has changed it meanwhile.
                Err(error) if is_rejected(&error, ErrorReason::BadState) => {}
                Err(error) if !is_rejected(&error, ErrorReason::Forbidden) => return Err(error.into()),
                Ok(_) | Err(_) => return Ok(()),
            }
        }
        Err(MatrixError::unavailable())
    }
}

/// What parsers let pass, and nobody can type or link to.
fn check_syntax(alias: &RoomAliasId) -> Result<(), MatrixError> {
    let localpart = alias.alias();
    let odd = |character: char| character.is_whitespace() || character.is_control();
    if localpart.is_empty() || localpart.contains(odd) || alias.as_str().len() > MAX_ALIAS_BYTES {
        return Err(MatrixError::invalid_param(format!("Room alias {alias} is not valid")));
    }
    Ok(())
}

/// Returns the aliases in the content of a `m.room.canonical_alias`; `None` if they have wrong types.
fn listed_aliases(content: &Map<String, Value>) -> Option<Vec<&str>> {
    let mut aliases = Vec::new();
    match content.get("alias") {
        None | Some(Value::Null) => {}
        // Old clients remove the alias so.
        Some(Value::String(alias)) if alias.is_empty() => {}
        Some(alias) => aliases.push(alias.as_str()?),
    }
    match content.get("alt_aliases") {
        None | Some(Value::Null) => {}
        Some(alternatives) => {
            for alias in alternatives.as_array()? {
                aliases.push(alias.as_str()?);
            }
        }
    }
    Some(aliases)
}

/// Removes an alias from the content of a `m.room.canonical_alias`; `None` if it is not in it.
fn without_alias(mut content: Map<String, Value>, alias: &str) -> Option<Map<String, Value>> {
    let canonical = content.get("alias").and_then(Value::as_str) == Some(alias);
    if canonical {
        content.remove("alias");
    }
    let mut removed = canonical;
    if let Some(alternatives) = content.get_mut("alt_aliases").and_then(Value::as_array_mut) {
        let before = alternatives.len();
        alternatives.retain(|entry| entry != alias);
        removed |= alternatives.len() != before;
        if alternatives.is_empty() {
            content.remove("alt_aliases");
        }
    }
    removed.then_some(content)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn aliases_of_an_event_are_listed() {
        let content = object(json!({ "alias": "#a:x", "alt_aliases": ["#b:x"] }));
        assert_eq!(listed_aliases(&content).unwrap(), ["#a:x", "#b:x"]);
        assert!(listed_aliases(&object(json!({ "alias": "", "alt_aliases": null }))).unwrap().is_empty());
        for content in
            [json!({ "alias": 1 }), json!({ "alt_aliases": "#a:x" }), json!({ "alt_aliases": [1] })]
        {
            assert_eq!(listed_aliases(&object(content.clone())), None, "{content}");
        }
    }

    #[test]
    fn deleted_alias_leaves_the_event() {
        let content = object(json!({ "alias": "#a:x", "alt_aliases": ["#a:x", "#b:x"], "kept": 1 }));
        let expected = object(json!({ "alt_aliases": ["#b:x"], "kept": 1 }));
        assert_eq!(without_alias(content.clone(), "#a:x"), Some(expected));
        assert_eq!(without_alias(content, "#c:x"), None);
    }

    #[test]
    fn odd_aliases_are_refused() {
        for alias in ["#:x", "#a b:x", "#a\u{7}:x", "#a\u{a0}:x"] {
            if let Ok(alias) = RoomAliasId::parse(alias) {
                assert!(check_syntax(&alias).unwrap_err().is("M_INVALID_PARAM"));
            }
        }
        check_syntax(&RoomAliasId::parse("#süß/1:x").unwrap()).unwrap();
    }
}
