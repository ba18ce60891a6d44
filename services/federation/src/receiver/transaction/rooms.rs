//! The rooms that a transaction speaks of, each asked about once.

use std::collections::HashMap;

use parking_lot::Mutex;
use plexus_events::{RoomRules, acl::ServerAcl};
use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{GetForwardExtremitiesRequest, ListJoinedServersRequest, StateKey},
};
use plexus_service::{RpcChannel, refusal::reason_of};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use tonic::Status;

use crate::{
    Federation,
    blocks::Blocks,
    upstream::{self, timed},
};

/// Most rooms of a transaction that are remembered: one for each event and each EDU, and receipts name several.
const MAX_ROOMS: usize = 200;

/// How a server stands to a room.
#[derive(Debug, Clone)]
pub(super) struct RoomContext {
    /// The rules of the room's version.
    pub(super) rules: &'static RoomRules,
    /// Whether this server is in the room.
    pub(super) is_resident: bool,
    /// Why nothing of the room is taken from the server, if so.
    pub(super) refusal: Option<&'static str>,
}

/// The rooms of a transaction.
pub(super) struct Rooms {
    channel: RpcChannel,
    blocks: Blocks,
    own_name: OwnedServerName,
    origin: OwnedServerName,
    known: Mutex<HashMap<OwnedRoomId, Option<RoomContext>>>,
}

impl Rooms {
    /// Nothing has been asked yet.
    pub(super) fn new(federation: &Federation, origin: &ServerName) -> Self {
        Self {
            channel: federation.rooms.clone(),
            blocks: federation.blocks.clone(),
            own_name: federation.name.clone(),
            origin: origin.to_owned(),
            known: Mutex::default(),
        }
    }

    /// How the origin stands to a room; `None` if the room is not known here.
    pub(super) async fn get(&self, room_id: &RoomId) -> Result<Option<RoomContext>, Status> {
        if let Some(standing) = self.known.lock().get(room_id) {
            return Ok(standing.clone());
        }
        let standing = self.ask(room_id).await?;
        let mut known = self.known.lock();
        if known.len() < MAX_ROOMS {
            known.insert(room_id.to_owned(), standing.clone());
        }
        Ok(standing)
    }

    async fn ask(&self, room_id: &RoomId) -> Result<Option<RoomContext>, Status> {
        let key = StateKey { r#type: "m.room.server_acl".to_owned(), state_key: String::new() };
        let (mut graph, mut other) = (upstream::graph(&self.channel), upstream::graph(&self.channel));
        let room = room_id.to_string();
        let front = graph.get_forward_extremities(timed(GetForwardExtremitiesRequest {
            room_id: room.clone(),
            keys: vec![key],
        }));
        let ours = other.list_joined_servers(timed(ListJoinedServersRequest {
            room_id: room,
            server: self.own_name.to_string(),
        }));
        let (front, ours) = match tokio::try_join!(front, ours) {
            Ok((front, ours)) => (front.into_inner(), ours.into_inner()),
            Err(status) if reason_of(&status) == Some(ErrorReason::RoomUnknown) => return Ok(None),
            Err(status) => return Err(status),
        };
        let Ok(rules) = RoomRules::of(&front.room_version) else { return Ok(None) };
        let is_resident = ours.servers.iter().any(|server| server.members > 0);
        let is_denied = front.state.iter().any(|event| !acl(&event.json).allows(&self.origin));
        let refusal = if !is_resident {
            Some("this server is not in the room")
        } else if self.blocks.has_room(room_id) {
            Some("an operator of this server has blocked the room")
        } else if is_denied {
            Some("the ACL of the room denies the server that sent the event")
        } else {
            None
        };
        Ok(Some(RoomContext { rules, is_resident, refusal }))
    }
}

fn acl(event: &[u8]) -> ServerAcl {
    let event: serde_json::Value = serde_json::from_slice(event).unwrap_or_default();
    ServerAcl::from_content(&event.get("content").map(ToString::to_string).unwrap_or_default())
}
