//! Reads the forward extremities of a room, the state that authorizes a new member event there, and whether the
//! rules let it be.
//!
//! Events that other servers have to see before they are sent to the room (templates, invites) are built here; the room
//! server judges them like all others when they come to it.

use std::collections::BTreeMap;

use bytes::Bytes;
use plexus_events::{
    BuildError, Built, Draft, Object, Pdu, RoomRules, SigningKey, acl::ServerAcl, auth, canonical,
};
use plexus_proto::room::v1::{GetForwardExtremitiesRequest, StateKey};
use plexus_service::RpcChannel;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId,
    events::{StateEventType, TimelineEventType},
    state_res::Event as _,
};
use serde_json::value::RawValue;
use tonic::Status;

use crate::upstream::{self, timed};

pub(crate) const MEMBER: &str = "m.room.member";
/// What is read of the state in any case.
const ALWAYS: [&str; 4] = ["m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.server_acl"];

/// Why a member event cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The rules of the room refuse it.
    #[error("{0}")]
    Refused(String),
    /// It cannot be an event.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The front of a room.
pub(crate) struct Front {
    pub(crate) rules: &'static RoomRules,
    room_id: OwnedRoomId,
    prev_events: Vec<OwnedEventId>,
    depth: i64,
    state: BTreeMap<(String, String), (Pdu, Bytes)>,
}

/// A member event that the rules let be, without hashes and signatures.
#[derive(Debug)]
pub(crate) struct Prepared {
    rules: &'static RoomRules,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    user: OwnedUserId,
    content: Object,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    depth: i64,
    origin_server_ts: i64,
}

impl Front {
    /// Reads the front of a room with what authorizes events about some users, and other entries of the state.
    pub(crate) async fn read(
        rooms: &RpcChannel,
        room_id: &RoomId,
        users: &[&UserId],
        others: &[(&str, &str)],
    ) -> Result<Self, Status> {
        let key = |kind: &str, state_key: &str| StateKey {
            r#type: kind.to_owned(),
            state_key: state_key.to_owned(),
        };
        let mut keys: Vec<StateKey> = ALWAYS.iter().map(|kind| key(kind, "")).collect();
        keys.extend(users.iter().map(|user| key(MEMBER, user.as_str())));
        keys.extend(others.iter().map(|(kind, state_key)| key(kind, state_key)));
        let request = GetForwardExtremitiesRequest { room_id: room_id.to_string(), keys };
        let front = upstream::graph(rooms).get_forward_extremities(timed(request)).await?.into_inner();
        let broken = |what: &str| Status::internal(format!("the front of the room has {what}"));
        let rules = RoomRules::of(&front.room_version).map_err(|error| broken(&error.to_string()))?;
        let ids = front.forward_extremities.into_iter().map(|event| event.event_id.try_into());
        let prev_events = ids.collect::<Result<_, _>>().map_err(|_| broken("an ID that is none"))?;
        let mut state = BTreeMap::new();
        for event in front.state {
            let id = OwnedEventId::try_from(event.event_id).map_err(|_| broken("an ID that is none"))?;
            let pdu = Pdu::from_checked(id, &event.json, false);
            let pdu = pdu.map_err(|_| broken("an event that cannot be read"))?;
            let key = (pdu.event_type().to_string(), pdu.state_key().unwrap_or_default().to_owned());
            state.insert(key, (pdu, event.json));
        }
        let depth = i64::try_from(front.next_depth).unwrap_or(i64::MAX).min(plexus_events::MAX_INTEGER);
        Ok(Self { rules, room_id: room_id.to_owned(), prev_events, depth, state })
    }

    /// Whether the ACL of the room lets a server take part.
    pub(crate) fn allows(&self, server: &ServerName) -> bool {
        let acl = self.find("m.room.server_acl", "");
        acl.is_none_or(|(pdu, _)| ServerAcl::from_content(pdu.content_text()).allows(server))
    }

    /// An entry of the state, with its JSON.
    pub(crate) fn find(&self, kind: &str, state_key: &str) -> Option<&(Pdu, Bytes)> {
        self.state.get(&(kind.to_owned(), state_key.to_owned()))
    }

    /// The membership of a user who was asked for; `None` if they never had one.
    pub(crate) fn membership_of(&self, user: &UserId) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Content {
            membership: String,
        }
        let (pdu, _) = self.find(MEMBER, user.as_str())?;
        Some(pdu.content_as::<Content>().ok()?.membership)
    }

    /// Builds a member event and checks it by the rules.
    pub(crate) fn prepare(
        &self,
        sender: &UserId,
        user: &UserId,
        content: Object,
        origin_server_ts: i64,
    ) -> Result<Prepared, PrepareError> {
        let text = String::from_utf8(canonical::object_to_vec(&content)).unwrap_or_default();
        let raw = RawValue::from_string(text).map_err(BuildError::Serialize)?;
        let state_key = Some(user.as_str());
        let types = auth::auth_types(&TimelineEventType::RoomMember, sender, state_key, &raw, self.rules)
            .map_err(|refused| PrepareError::Refused(refused.0))?;
        let cited = types.iter().filter_map(|(kind, key)| self.find(&kind.to_string(), key));
        let prepared = Prepared {
            rules: self.rules,
            room_id: self.room_id.clone(),
            sender: sender.to_owned(),
            user: user.to_owned(),
            content,
            prev_events: self.prev_events.clone(),
            auth_events: cited.map(|(pdu, _)| pdu.id().to_owned()).collect(),
            depth: self.depth,
            origin_server_ts,
        };
        self.check(&prepared)?;
        Ok(prepared)
    }

    fn check(&self, prepared: &Prepared) -> Result<(), PrepareError> {
        let hashed = prepared.draft().hash(self.rules)?;
        let id = hashed.event_id().to_owned();
        let pdu = Pdu::from_checked(id, &hashed.unsigned_json(), false)
            .map_err(|error| PrepareError::Refused(error.to_string()))?;
        let find = |kind: &StateEventType, key: &str| self.find(&kind.to_string(), key).map(|(pdu, _)| pdu);
        auth::check_dependent(&pdu, self.rules, find).map_err(|refused| PrepareError::Refused(refused.0))
    }
}

impl Prepared {
    fn draft(&self) -> Draft<'_> {
        Draft {
            room_id: Some(&self.room_id),
            sender: &self.sender,
            event_type: MEMBER,
            state_key: Some(self.user.as_str()),
            content: self.content.clone(),
            redacts: None,
            prev_events: &self.prev_events,
            auth_events: &self.auth_events,
            depth: self.depth,
            origin_server_ts: self.origin_server_ts,
        }
    }

    /// The event as a template for another server, which adds what is missing.
    pub(crate) fn template(&self, origin: &ServerName) -> serde_json::Value {
        serde_json::json!({
            "auth_events": self.auth_events,
            "content": self.content,
            "depth": self.depth,
            "origin": origin,
            "origin_server_ts": self.origin_server_ts,
            "prev_events": self.prev_events,
            "room_id": self.room_id,
            "sender": self.sender,
            "state_key": self.user,
            "type": MEMBER,
        })
    }

    /// Signs the event.
    pub(crate) fn sign(&self, server: &ServerName, key: &SigningKey) -> Result<Built, BuildError> {
        self.draft().hash(self.rules)?.sign(server, key)
    }
}
