//! Joins that need more than the rules of the room alone: guests, and rooms open to the members of other rooms.

use futures::{StreamExt as _, TryStreamExt as _};
use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::room::v1::RoomEvent;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{Map, Value};

use super::{
    Rooms,
    read::{EventParts, StateQuery, state_key},
};

/// At most so many rooms that open a restricted room are looked at.
const MAX_ALLOWED_ROOMS: usize = 100;
/// At most so many users of the power levels are asked for their membership.
const MAX_CANDIDATES: usize = 1000;

/// The state that says who may join.
#[derive(Default)]
struct JoinState {
    create: Option<EventParts>,
    join_rules: Option<EventParts>,
    levels: Option<EventParts>,
    guest_access: Option<EventParts>,
}

impl Rooms {
    /// Refuses guests where guests may not join, and finds who vouches for a join to a restricted room.
    ///
    /// `None`: nobody has to, or nobody can; then the rules of the room decide.
    pub(super) async fn authorize_join(
        &self,
        room_id: &RoomId,
        user: &AuthedUser,
        invited: bool,
    ) -> Result<Option<OwnedUserId>, MatrixError> {
        if invited && !user.guest {
            return Ok(None);
        }
        let types = ["m.room.create", "m.room.join_rules", "m.room.power_levels", "m.room.guest_access"];
        let keys = types.iter().map(|event_type| state_key(event_type, "")).collect();
        let state = JoinState::read(&self.state_entries(room_id, None, keys, None).await?)?;
        if user.guest && !state.guests_may_join() {
            return Err(MatrixError::new(
                http::StatusCode::FORBIDDEN,
                "M_GUEST_ACCESS_FORBIDDEN",
                "Guests may not join this room",
            ));
        }
        let allowed = state.allowed_rooms();
        if invited || !self.is_joined_to_any(&user.id, allowed).await? {
            return Ok(None);
        }
        self.find_authorizer(room_id, &state).await
    }

    async fn is_joined_to_any(&self, user: &UserId, rooms: Vec<OwnedRoomId>) -> Result<bool, MatrixError> {
        let memberships = futures::stream::iter(rooms)
            .map(|room_id| async move {
                let members = self.memberships(&room_id, &[user]).await?;
                Ok::<_, MatrixError>(members.of(user) == Some("join"))
            })
            .buffer_unordered(8);
        let mut memberships = std::pin::pin!(memberships);
        while let Some(joined) = memberships.try_next().await? {
            if joined {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Finds a member of this server who may invite: first among those with a level of their own, then among all.
    async fn find_authorizer(
        &self,
        room_id: &RoomId,
        state: &JoinState,
    ) -> Result<Option<OwnedUserId>, MatrixError> {
        let mut candidates = state.users_who_may_invite();
        candidates.retain(|user| self.is_local(user.server_name()));
        candidates.truncate(MAX_CANDIDATES);
        if !candidates.is_empty() {
            let asked: Vec<&UserId> = candidates.iter().map(|user| &**user).collect();
            let members = self.memberships(room_id, &asked).await?;
            let joined = candidates.iter().find(|user| members.of(user) == Some("join"));
            if let Some(user) = joined {
                return Ok(Some(user.clone()));
            }
        }
        if !state.everybody_may_invite() {
            return Ok(None);
        }
        let query = StateQuery {
            types: &["m.room.member"],
            memberships: vec!["join".to_owned()],
            ..StateQuery::default()
        };
        for event in self.state(room_id, None, query).await? {
            let Some(user) =
                EventParts::of(&event)?.state_key.and_then(|key| OwnedUserId::try_from(key).ok())
            else {
                continue;
            };
            if self.is_local(user.server_name()) && state.may_invite(&user) {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }
}

impl JoinState {
    fn read(events: &[RoomEvent]) -> Result<Self, MatrixError> {
        #[derive(serde::Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            event_type: String,
        }
        let mut state = Self::default();
        for event in events {
            let Ok(typed) = serde_json::from_slice::<Typed>(&event.json) else { continue };
            let parts = Some(EventParts::of(event)?);
            match typed.event_type.as_str() {
                "m.room.create" => state.create = parts,
                "m.room.join_rules" => state.join_rules = parts,
                "m.room.power_levels" => state.levels = parts,
                "m.room.guest_access" => state.guest_access = parts,
                _ => {}
            }
        }
        Ok(state)
    }

    fn guests_may_join(&self) -> bool {
        let access = self.guest_access.as_ref().and_then(|event| event.content.get("guest_access"));
        access.and_then(Value::as_str) == Some("can_join")
    }

    /// Rooms whose members may join this one.
    fn allowed_rooms(&self) -> Vec<OwnedRoomId> {
        let Some(rules) = &self.join_rules else { return Vec::new() };
        let rule = rules.content.get("join_rule").and_then(Value::as_str);
        if !matches!(rule, Some("restricted" | "knock_restricted")) {
            return Vec::new();
        }
        let allow = rules.content.get("allow").and_then(Value::as_array);
        allow
            .into_iter()
            .flatten()
            .filter(|entry| entry["type"] == "m.room_membership")
            .filter_map(|entry| OwnedRoomId::try_from(entry["room_id"].as_str()?).ok())
            .take(MAX_ALLOWED_ROOMS)
            .collect()
    }

    fn level(&self, key: &str, default: i64) -> i64 {
        let level = self.levels.as_ref().and_then(|event| integer(event.content.get(key)?));
        level.unwrap_or(default)
    }

    fn listed_users(&self) -> Option<&Map<String, Value>> {
        self.levels.as_ref()?.content.get("users")?.as_object()
    }

    /// Creators: in rooms without power levels, and in versions that give them power of their own.
    fn creators(&self) -> Vec<OwnedUserId> {
        let Some(create) = &self.create else { return Vec::new() };
        let version = create.content.get("room_version").and_then(Value::as_str).unwrap_or("1");
        let rules = ruma::RoomVersionId::try_from(version).ok().and_then(|version| version.rules());
        let privileged = rules.is_some_and(|rules| rules.authorization.explicitly_privilege_room_creators);
        if !privileged && self.levels.is_some() {
            return Vec::new();
        }
        let additional = create.content.get("additional_creators").filter(|_| privileged);
        let additional = additional.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let creators = std::iter::once(create.sender.as_str()).chain(additional);
        creators.filter_map(|user| OwnedUserId::try_from(user).ok()).collect()
    }

    /// Users with enough power of their own, the same for every reader of the same state.
    fn users_who_may_invite(&self) -> Vec<OwnedUserId> {
        let invite = self.level("invite", 0);
        let listed = self.listed_users().into_iter().flatten();
        let listed = listed
            .filter(|(_, level)| integer(level).is_some_and(|level| level >= invite))
            .filter_map(|(user, _)| OwnedUserId::try_from(user.as_str()).ok());
        self.creators().into_iter().chain(listed).collect()
    }

    fn everybody_may_invite(&self) -> bool {
        self.level("users_default", 0) >= self.level("invite", 0)
    }

    fn may_invite(&self, user: &UserId) -> bool {
        let own = self.listed_users().and_then(|users| integer(users.get(user.as_str())?));
        own.unwrap_or_else(|| self.level("users_default", 0)) >= self.level("invite", 0)
    }
}

/// Levels of old rooms may be strings.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(events: &[Value]) -> JoinState {
        let event =
            |event: &Value| RoomEvent { json: event.to_string().into_bytes().into(), ..RoomEvent::default() };
        JoinState::read(&events.iter().map(event).collect::<Vec<_>>()).unwrap()
    }

    fn event(event_type: &str, content: Value) -> Value {
        json!({ "type": event_type, "sender": "@alice:x", "state_key": "", "content": content })
    }

    #[test]
    fn only_restricted_rooms_are_open_to_members_of_others() {
        let allow = json!([
            { "type": "m.room_membership", "room_id": "!a:x" },
            { "type": "org.example", "room_id": "!b:x" },
            { "type": "m.room_membership", "room_id": 1 },
            "x",
        ]);
        let rules = |rule: &str| event("m.room.join_rules", json!({ "join_rule": rule, "allow": allow }));
        assert_eq!(state(&[rules("restricted")]).allowed_rooms(), ["!a:x"]);
        assert_eq!(state(&[rules("knock_restricted")]).allowed_rooms(), ["!a:x"]);
        assert!(state(&[rules("invite")]).allowed_rooms().is_empty());
        assert!(state(&[]).allowed_rooms().is_empty());
    }

    #[test]
    fn who_may_invite_follows_the_power_levels() {
        let levels = event(
            "m.room.power_levels",
            json!({ "invite": 50, "users": { "@bob:x": 50, "@carol:x": 49, "@dan:x": "60" } }),
        );
        let v11 = event("m.room.create", json!({ "room_version": "11" }));
        let v12 = event("m.room.create", json!({ "room_version": "12", "additional_creators": ["@eve:x"] }));
        let in_v11 = state(&[v11.clone(), levels.clone()]);
        assert_eq!(in_v11.users_who_may_invite(), ["@bob:x", "@dan:x"]);
        assert!(!in_v11.everybody_may_invite());
        assert_eq!(state(&[v12, levels]).users_who_may_invite(), ["@alice:x", "@eve:x", "@bob:x", "@dan:x"]);
        let without_levels = state(&[v11]);
        assert_eq!(without_levels.users_who_may_invite(), ["@alice:x"]);
        assert!(without_levels.everybody_may_invite());
    }

    #[test]
    fn guests_need_an_invitation_to_all_guests() {
        let access = |access: &str| state(&[event("m.room.guest_access", json!({ "guest_access": access }))]);
        assert!(access("can_join").guests_may_join());
        assert!(!access("forbidden").guests_may_join());
        assert!(!state(&[]).guests_may_join());
    }
}
