//! Upgrading rooms: a new room that takes over what can be taken over, and an old one that points at it.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#room-upgrades)

mod levels;
mod settings;

use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::{
    log::v1::{AtomicBatch, Intent, SetVisibility, room_control::Action},
    room::v1::{ListAliasesRequest, RoomEvent, RoomInfo},
};
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomVersionId, UserId,
    room_version_rules::AuthorizationRules,
};
use serde_json::{Map, Value, json};

use super::{
    Rooms, ask, broken_answer,
    create::{StateEvent, rules_of},
    create_room::intents,
    profile::membership_content,
    read::{EventParts, StateQuery, state_key as key},
    state::hide_room,
};
use crate::clock::now_ms;
use levels::{Levels, Successor};
pub(super) use settings::predecessor;

/// State with an empty key that the new room takes over.
const TAKEN_OVER: [&str; 8] = [
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
];
/// Most bans and children of a space that the new room takes over.
const MAX_BANS: usize = 500;
const MAX_CHILDREN: usize = 400;

/// What the old room is.
struct OldRoom {
    info: RoomInfo,
    create: EventParts,
    levels: Option<Map<String, Value>>,
    rules: AuthorizationRules,
}

impl OldRoom {
    fn creators(&self) -> Vec<String> {
        let additional = self.create.content.get("additional_creators").and_then(Value::as_array);
        let additional = additional.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned);
        match self.create.content.get("creator").and_then(Value::as_str) {
            Some(creator) if !self.rules.use_room_create_sender => vec![creator.to_owned()],
            _ if self.rules.additional_room_creators => {
                [self.create.sender.clone()].into_iter().chain(additional).collect()
            }
            _ => vec![self.create.sender.clone()],
        }
    }
}

impl Rooms {
    /// Replaces a room by one of another version.
    pub(crate) async fn upgrade(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        version: &RoomVersionId,
        additional_creators: &[OwnedUserId],
    ) -> Result<OwnedRoomId, MatrixError> {
        let rules = rules_of(version)?;
        let old = self.old_room(user, room_id).await?;
        // Before there is a new room; the verdict on the tombstone is what counts.
        let may_end = Levels { content: old.levels.as_ref(), creators: &old.creators(), rules: &old.rules }
            .may_send_state(user.id.as_str(), "m.room.tombstone");
        if !may_end {
            return Err(MatrixError::forbidden("You cannot upgrade this room"));
        }
        let create = create_content(&old, room_id, &user.id, version, &rules, additional_creators);
        let state = self.state_of_new(user, room_id, &old, &rules, additional_creators).await?;
        let batch = AtomicBatch {
            room_version: version.to_string(),
            intents: intents(user, state, now_ms())?,
            published: old.info.published,
            ..AtomicBatch::default()
        };
        let new_id = self.submit_new(user, version, create, batch).await?;
        let tombstone = json!({ "body": "This room has been replaced", "replacement_room": new_id });
        self.send_state_as(user, room_id, "m.room.tombstone", tombstone).await?;

        // From here on the room is upgraded; what is left to do is done as far as the user may.
        if let Err(error) = self.move_aliases(user, room_id, &new_id).await {
            tracing::warn!(%error, room.id = %room_id, "aliases stay with the room that was upgraded");
        }
        if old.info.published {
            let action =
                Action::SetVisibility(SetVisibility { published: false, user_id: user.id.to_string() });
            note("directory", self.control(room_id, action).await);
        }
        if let Some(levels) = old.levels.as_ref().and_then(levels::restricted) {
            note(
                "power levels",
                self.send_state_as(user, room_id, "m.room.power_levels", Value::Object(levels)).await,
            );
        }
        self.take_over_settings(&user.id, &new_id).await;
        Ok(new_id)
    }

    async fn old_room(&self, user: &AuthedUser, room_id: &RoomId) -> Result<OldRoom, MatrixError> {
        let asked = [&*user.id];
        let members = self.memberships(room_id, &asked).await?;
        if members.of(&user.id) != Some("join") {
            return Err(MatrixError::forbidden("You are not in this room"));
        }
        let keys = vec![key("m.room.create", ""), key("m.room.power_levels", "")];
        let (info, state) =
            tokio::try_join!(self.info(room_id), self.state_entries(room_id, None, keys, None))?;
        let mut create = None;
        let mut levels = None;
        for event in &state {
            let parts = EventParts::of(event)?;
            match event_type(event)?.as_str() {
                "m.room.create" => create = Some(parts),
                _ => levels = Some(parts.content),
            }
        }
        let create = create.ok_or_else(|| broken_answer("room", &"it has no create event"))?;
        let version = RoomVersionId::try_from(info.room_version.as_str())
            .map_err(|error| broken_answer("room version", &error))?;
        let rules = version.rules().ok_or_else(|| broken_answer("room version", &info.room_version))?;
        Ok(OldRoom { info, create, levels, rules: rules.authorization })
    }

    /// The state that the new room begins with. Power levels come last: until then its creator may do everything.
    async fn state_of_new(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        old: &OldRoom,
        rules: &AuthorizationRules,
        additional_creators: &[OwnedUserId],
    ) -> Result<Vec<StateEvent>, MatrixError> {
        let keys = TAKEN_OVER.iter().map(|event_type| key(event_type, "")).collect();
        let bans = StateQuery {
            types: &["m.room.member"],
            memberships: vec!["ban".to_owned()],
            ..StateQuery::default()
        };
        let children = StateQuery { types: &["m.space.child"], ..StateQuery::default() };
        let (profile, single, bans, children) = tokio::try_join!(
            self.profile(&user.id),
            self.state_entries(room_id, None, keys, None),
            self.state(room_id, None, bans),
            self.state(room_id, None, children),
        )?;
        let mut state =
            vec![StateEvent::new("m.room.member", user.id.as_str(), profile.member_content("join", None))];
        for event in &single {
            let content = EventParts::of(event)?.content;
            state.push(StateEvent::new(&event_type(event)?, "", Value::Object(content)));
        }
        for child in children.iter().take(MAX_CHILDREN) {
            let EventParts { state_key, content, .. } = EventParts::of(child)?;
            if content.get("via").is_some_and(Value::is_array) {
                state.push(StateEvent::new(
                    "m.space.child",
                    &state_key.unwrap_or_default(),
                    Value::Object(content),
                ));
            }
        }
        for ban in bans.iter().take(MAX_BANS) {
            let EventParts { state_key, content, .. } = EventParts::of(ban)?;
            let reason = content.get("reason").and_then(Value::as_str);
            let banned = state_key.unwrap_or_default();
            if banned != user.id.as_str() {
                state.push(StateEvent::new("m.room.member", &banned, membership_content("ban", reason)));
            }
        }
        let old_levels =
            Levels { content: old.levels.as_ref(), creators: &old.creators(), rules: &old.rules };
        let successor = Successor { creator: &user.id, additional_creators, rules };
        let levels = old_levels.for_successor(&successor);
        state.push(StateEvent::new("m.room.power_levels", "", Value::Object(levels)));
        Ok(state)
    }

    async fn send_state_as(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        event_type: &str,
        content: Value,
    ) -> Result<(), MatrixError> {
        let intent = Intent {
            sender: user.id.to_string(),
            r#type: event_type.to_owned(),
            state_key: Some(String::new()),
            content: content.to_string().into_bytes().into(),
            origin_server_ts: now_ms(),
            skip_if_unchanged: true,
            ..Intent::default()
        };
        self.send_intent(room_id, intent).await.map(drop)
    }

    /// Points the aliases of this server at the new room, as far as the user may, and tells the members of both.
    async fn move_aliases(&self, user: &AuthedUser, old: &RoomId, new: &RoomId) -> Result<(), MatrixError> {
        let request = ListAliasesRequest { room_id: old.to_string(), viewer: String::new() };
        let aliases = hide_room(ask(self.directory.clone().list_aliases(request)).await)?.aliases;
        let mut moved: Vec<OwnedRoomAliasId> = Vec::new();
        for alias in aliases {
            let Ok(alias) = RoomAliasId::parse(&alias) else { continue };
            match self.move_alias(&user.id, &alias, old, new).await {
                Ok(()) => moved.push(alias),
                Err(error) => tracing::debug!(%error, room.id = %old, "alias stays where it is"),
            }
        }
        let keys = vec![key("m.room.canonical_alias", "")];
        let found = self.state_entries(old, None, keys, None).await?;
        let Some(event) = found.first() else { return Ok(()) };
        let mut content = EventParts::of(event)?.content;
        let is_moved = |alias: &Value| alias.as_str().is_some_and(|alias| moved.iter().any(|m| m == alias));
        if !content.get("alias").is_some_and(is_moved) {
            content.remove("alias");
        }
        if let Some(alternatives) = content.get_mut("alt_aliases").and_then(Value::as_array_mut) {
            alternatives.retain(is_moved);
        }
        if !moved.is_empty() {
            note("canonical alias", self.send_state_as(user, old, "m.room.canonical_alias", json!({})).await);
            self.send_state_as(user, new, "m.room.canonical_alias", Value::Object(content)).await?;
        }
        Ok(())
    }
}

/// What is done as far as it can be: a refusal is no failure of the upgrade.
fn note(what: &'static str, result: Result<(), MatrixError>) {
    if let Err(error) = result {
        tracing::debug!(%error, what, "left as it was by the upgrade");
    }
}

fn event_type(event: &RoomEvent) -> Result<String, MatrixError> {
    #[derive(serde::Deserialize)]
    struct Type {
        #[serde(rename = "type")]
        event_type: String,
    }
    let parsed = serde_json::from_slice::<Type>(&event.json);
    parsed.map(|event| event.event_type).map_err(|error| broken_answer("event", &error))
}

/// The create event of the new room: of the same type, and with a link to the old one.
fn create_content(
    old: &OldRoom,
    room_id: &RoomId,
    creator: &UserId,
    version: &RoomVersionId,
    rules: &AuthorizationRules,
    additional_creators: &[OwnedUserId],
) -> Map<String, Value> {
    let mut content = Map::new();
    for kept in ["type", "m.federate"] {
        if let Some(value) = old.create.content.get(kept) {
            content.insert(kept.to_owned(), value.clone());
        }
    }
    if !rules.use_room_create_sender {
        content.insert("creator".to_owned(), Value::from(creator.as_str()));
    }
    content.insert("room_version".to_owned(), Value::from(version.as_str()));
    let mut predecessor = json!({ "room_id": room_id });
    // From version 12 on it may be left out, and says nothing that the tombstone does not.
    if let Some(last) = old.info.latest_event_ids.first().filter(|_| !rules.room_create_event_id_as_room_id) {
        predecessor["event_id"] = Value::from(last.as_str());
    }
    content.insert("predecessor".to_owned(), predecessor);
    if rules.additional_room_creators {
        let mut seen = std::collections::BTreeSet::new();
        let others = additional_creators.iter().filter(|user| **user != creator && seen.insert(*user));
        let others = others.map(|user| Value::from(user.as_str())).collect::<Vec<_>>();
        if !others.is_empty() {
            content.insert("additional_creators".to_owned(), Value::Array(others));
        }
    }
    content
}
