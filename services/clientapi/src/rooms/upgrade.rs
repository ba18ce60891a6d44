//! Upgrading rooms: a new room that takes over what can be taken over, and an old one that points at it.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#room-upgrades)

mod levels;
mod settings;

use std::{collections::HashMap, time::Duration};

use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        AtomicBatch, ExpectedState, Intent, RoomControl, UpgradeRoom, input_room_event::Body,
        room_control::Action,
    },
    room::v1::{ListAliasesRequest, RoomEvent, RoomInfo},
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, room_version_rules::AuthorizationRules};
use serde_json::{Map, Value, json};

use super::{
    Rooms, ask, broken_answer,
    create::{StateEvent, rules_of},
    create_room::intents,
    is_rejected,
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
/// State with an empty key that is read beside it. All but the create event may change meanwhile.
const READ_TOO: [&str; 4] =
    ["m.room.create", "m.room.power_levels", "m.room.canonical_alias", "m.room.tombstone"];
/// Most bans and children of a space that the new room takes over.
const MAX_BANS: usize = 500;
const MAX_CHILDREN: usize = 400;
/// Most aliases that move into the new room.
const MAX_ALIASES: usize = 1000;
/// How often a room that has changed meanwhile is read again.
const MAX_ATTEMPTS: usize = 5;
/// How long is waited for a room that somebody else is just making, and how often is looked.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// What the old room is.
struct OldRoom {
    info: RoomInfo,
    create: EventParts,
    /// State with an empty key, by type.
    entries: HashMap<&'static str, (String, EventParts)>,
    aliases: Vec<String>,
    rules: AuthorizationRules,
}

impl OldRoom {
    fn content(&self, event_type: &str) -> Option<&Map<String, Value>> {
        self.entries.get(event_type).map(|(_, parts)| &parts.content)
    }

    /// The room that replaces it, if it was replaced.
    fn replacement(&self) -> Option<&str> {
        let named = self.content("m.room.tombstone")?.get("replacement_room")?.as_str()?;
        Some(named).filter(|room| !room.is_empty())
    }

    /// The state that was read, as the room server is to find it.
    fn expected(&self) -> Vec<ExpectedState> {
        let may_change = TAKEN_OVER.iter().chain(&READ_TOO).filter(|read| **read != "m.room.create");
        let expected = |event_type: &&str| ExpectedState {
            r#type: (*event_type).to_owned(),
            state_key: String::new(),
            event_id: self.entries.get(*event_type).map(|(id, _)| id.clone()).unwrap_or_default(),
        };
        may_change.map(expected).collect()
    }

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
    /// Replaces a room by one of another version. Of several who try, one does, and the others get the same answer.
    pub(crate) async fn upgrade(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        version: &RoomVersionId,
        additional_creators: &[OwnedUserId],
    ) -> Result<OwnedRoomId, MatrixError> {
        let rules = rules_of(version)?;
        for _ in 0..MAX_ATTEMPTS {
            let old = self.old_room(user, room_id).await?;
            let creators = old.creators();
            let levels = Levels {
                content: old.content("m.room.power_levels"),
                creators: &creators,
                rules: &old.rules,
            };
            // Before anything is made; the verdict on the tombstone is what counts.
            if !levels.may_send_state(user.id.as_str(), "m.room.tombstone") {
                return Err(MatrixError::forbidden("You cannot upgrade this room"));
            }
            if let Some(replacement) = old.replacement() {
                return self.replaced_by(room_id, replacement, version).await;
            }
            let successor = Successor { creator: &user.id, additional_creators, rules: &rules };
            let create = create_content(&old, room_id, version, &successor);
            let timestamp = now_ms();
            let (new_id, create_pdu) = self.create_event(user, version, create, timestamp)?;
            let state = self.state_of_new(user, room_id, &old, &levels, &successor).await?;
            let batch = AtomicBatch {
                create_pdu: create_pdu.into(),
                room_version: version.to_string(),
                intents: intents(user, state, timestamp)?,
                published: old.info.published,
                ..AtomicBatch::default()
            };
            let upgrade = UpgradeRoom {
                user_id: user.id.to_string(),
                new_room_id: new_id.to_string(),
                batch: Some(batch.clone()),
                aliases: old.aliases.clone(),
                closing: closing(user, &old, timestamp),
                expected: old.expected(),
                published: old.info.published,
            };
            let control = Body::Control(RoomControl { action: Some(Action::Upgrade(upgrade)) });
            match self.input.submit_room(room_id, control).await {
                Ok(_) => {
                    self.make_successor(&new_id, batch).await?;
                    self.take_over_settings(&user.id, &new_id).await;
                    return Ok(new_id);
                }
                // Somebody has changed the room meanwhile, or replaced it.
                Err(error) if is_rejected(&error, ErrorReason::BadState) => {}
                Err(error) if is_rejected(&error, ErrorReason::RoomUnknown) => {
                    return Err(MatrixError::forbidden("You are not in this room"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(MatrixError::unavailable())
    }

    /// Makes the room that the tombstone names. If this goes no further, the room server makes it by itself.
    async fn make_successor(&self, new_id: &RoomId, batch: AtomicBatch) -> Result<(), MatrixError> {
        match self.input.submit_room(new_id, Body::Batch(batch)).await {
            Err(error) if !is_rejected(&error, ErrorReason::RoomInUse) => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Answers who comes second: with the room that replaces the old one, if it is of the version that they want.
    async fn replaced_by(
        &self,
        old_id: &RoomId,
        replacement: &str,
        version: &RoomVersionId,
    ) -> Result<OwnedRoomId, MatrixError> {
        let otherwise = || {
            let message = format!("The room has been replaced by {replacement} already");
            MatrixError::new(http::StatusCode::BAD_REQUEST, "M_BAD_STATE", message)
        };
        let new_id = RoomId::parse(replacement).map_err(|_| otherwise())?;
        let create = async {
            loop {
                let keys = vec![key("m.room.create", "")];
                match self.state_entries(&new_id, None, keys, None).await {
                    Err(error) if error.is("M_NOT_FOUND") => tokio::time::sleep(PAUSE).await,
                    found => return found,
                }
            }
        };
        // The one who came first may just be making it. If the tombstone names a room elsewhere, it never comes.
        let Ok(found) = tokio::time::timeout(PATIENCE, create).await else { return Err(otherwise()) };
        let found = found?;
        let create = found.first().map(EventParts::of).transpose()?.map(|parts| parts.content);
        let follows = create.is_some_and(|create| {
            predecessor(&create) == Some(old_id.as_str())
                && create.get("room_version").and_then(Value::as_str) == Some(version.as_str())
        });
        if follows { Ok(new_id) } else { Err(otherwise()) }
    }

    async fn old_room(&self, user: &AuthedUser, room_id: &RoomId) -> Result<OldRoom, MatrixError> {
        let asked = [&*user.id];
        let members = self.memberships(room_id, &asked).await?;
        if members.of(&user.id) != Some("join") {
            return Err(MatrixError::forbidden("You are not in this room"));
        }
        let read = TAKEN_OVER.iter().chain(&READ_TOO);
        let keys = read.clone().map(|event_type| key(event_type, "")).collect();
        let request = ListAliasesRequest { room_id: room_id.to_string(), viewer: String::new() };
        let aliases = async { hide_room(ask(self.directory.clone().list_aliases(request)).await) };
        let (info, state, aliases) =
            tokio::try_join!(self.info(room_id), self.state_entries(room_id, None, keys, None), aliases)?;
        let mut entries = HashMap::with_capacity(state.len());
        for event in &state {
            let event_type = event_type(event)?;
            if let Some(known) = read.clone().find(|known| **known == event_type) {
                entries.insert(*known, (event.event_id.clone(), EventParts::of(event)?));
            }
        }
        let (_, create) = entries
            .remove("m.room.create")
            .ok_or_else(|| broken_answer("room", &"it has no create event"))?;
        let version = RoomVersionId::try_from(info.room_version.as_str())
            .map_err(|error| broken_answer("room version", &error))?;
        let rules = version.rules().ok_or_else(|| broken_answer("room version", &info.room_version))?;
        let mut aliases = aliases.aliases;
        aliases.truncate(MAX_ALIASES);
        Ok(OldRoom { info, create, entries, aliases, rules: rules.authorization })
    }

    /// The state that the new room begins with. Power levels come last: until then its creator may do everything.
    async fn state_of_new(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        old: &OldRoom,
        levels: &Levels<'_>,
        successor: &Successor<'_>,
    ) -> Result<Vec<StateEvent>, MatrixError> {
        let bans = StateQuery {
            types: &["m.room.member"],
            memberships: vec!["ban".to_owned()],
            ..StateQuery::default()
        };
        let children = StateQuery { types: &["m.space.child"], ..StateQuery::default() };
        let (bans, children) =
            tokio::try_join!(self.state(room_id, None, bans), self.state(room_id, None, children))?;
        let mut state = vec![StateEvent::join(&user.id)];
        let names_aliases = levels.may_send_state(user.id.as_str(), "m.room.canonical_alias");
        if let Some(content) = canonical_alias(old).filter(|_| names_aliases) {
            state.push(StateEvent::new("m.room.canonical_alias", "", Value::Object(content)));
        }
        for event_type in TAKEN_OVER {
            if let Some(content) = old.content(event_type) {
                state.push(StateEvent::new(event_type, "", Value::Object(content.clone())));
            }
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
        let levels = levels.for_successor(successor);
        state.push(StateEvent::new("m.room.power_levels", "", Value::Object(levels)));
        Ok(state)
    }
}

/// What is said of the aliases that move into the new room: those of this server.
fn canonical_alias(old: &OldRoom) -> Option<Map<String, Value>> {
    let mut content = old.content("m.room.canonical_alias")?.clone();
    let moves =
        |alias: &Value| alias.as_str().is_some_and(|alias| old.aliases.iter().any(|own| own == alias));
    if !content.get("alias").is_some_and(moves) {
        content.remove("alias");
    }
    if let Some(alternatives) = content.get_mut("alt_aliases").and_then(Value::as_array_mut) {
        alternatives.retain(moves);
        if alternatives.is_empty() {
            content.remove("alt_aliases");
        }
    }
    (content.contains_key("alias") || content.contains_key("alt_aliases")).then_some(content)
}

/// What is said in the old room after the tombstone, as far as the user may: it has no alias, and only moderators speak.
fn closing(user: &AuthedUser, old: &OldRoom, timestamp: i64) -> Vec<Intent> {
    let intent = |event_type: &str, content: Value| Intent {
        sender: user.id.to_string(),
        r#type: event_type.to_owned(),
        state_key: Some(String::new()),
        content: content.to_string().into_bytes().into(),
        origin_server_ts: timestamp,
        ..Intent::default()
    };
    let alias = canonical_alias(old).map(|_| intent("m.room.canonical_alias", json!({})));
    let levels = old.content("m.room.power_levels").and_then(levels::restricted);
    let levels = levels.map(|levels| intent("m.room.power_levels", Value::Object(levels)));
    alias.into_iter().chain(levels).collect()
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
    version: &RoomVersionId,
    successor: &Successor<'_>,
) -> Map<String, Value> {
    let Successor { creator, additional_creators, rules } = *successor;
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
