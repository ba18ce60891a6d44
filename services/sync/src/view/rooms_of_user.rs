//! All rooms of a user at a cut, as lists of rooms look at them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use ruma::{OwnedRoomId, RoomId, UserId};
use serde::Deserialize;

use super::{At, Attention, Candidate, Membership, MembershipChange, Room};

/// Type of the account data that names direct rooms.
pub(super) const DIRECT: &str = "m.direct";
/// Type of the account data that holds the tags of a room.
pub(super) const TAG: &str = "m.tag";

/// A room of a user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoomOfUser<'a> {
    pub(crate) room: &'a Arc<Room>,
    /// The last change of the membership.
    pub(crate) now: &'a MembershipChange,
    /// `seq` of the change by which the user first had to do with the room.
    pub(crate) first: u64,
    /// Hash of the room's ID and of that: tells the user's rooms apart from others.
    pub(crate) place: u32,
    /// `seq` of the change since which the user has had the membership.
    pub(crate) since: u64,
    pub(crate) forgotten: bool,
}

/// Rooms of a user, and what of the user's account concerns them.
pub(crate) struct RoomsOfUser<'a> {
    /// By partition and by when the user first had to do with them: in this order they never change places.
    pub(crate) rooms: Vec<RoomOfUser<'a>>,
    pub(crate) user: &'a UserId,
    /// Partition of the user.
    pub(crate) partition: usize,
    pub(super) account_data: &'a BTreeMap<String, BTreeMap<String, (u64, Bytes)>>,
    pub(super) room_data_seq: u64,
    /// By room.
    pub(super) tags: &'a HashMap<String, HashSet<String>>,
    pub(crate) direct: &'a Direct,
    pub(crate) attention: &'a Attention,
    pub(super) blocks_invites: bool,
}

/// Rooms that `m.direct` names, and what the last change of it changed.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    seq: u64,
    rooms: HashSet<OwnedRoomId>,
    /// What it named before, and since when; `None` if that is not known.
    before: Option<(u64, HashSet<OwnedRoomId>)>,
}

/// What tells one room of a user from others, the same on every replica and in every version.
pub(super) fn place_hash(room: &RoomId, first: u64) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in room.as_bytes().iter().copied().chain(first.to_le_bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: HashMap<String, serde::de::IgnoredAny>,
}

/// Reads the tags of a room. What makes no sense is none.
pub(super) fn read_tags(content: &[u8]) -> HashSet<String> {
    let read = serde_json::from_slice::<Tags>(content).ok();
    read.map(|read| read.tags.into_keys().collect()).unwrap_or_default()
}

impl Direct {
    /// Takes new content. What makes no sense names no rooms.
    pub(super) fn change(&mut self, seq: u64, content: &[u8]) {
        let by_user: HashMap<String, Vec<String>> = serde_json::from_slice(content).unwrap_or_default();
        let ids = by_user.into_values().flatten();
        let rooms = ids.filter_map(|id| OwnedRoomId::try_from(id).ok()).collect();
        let before = std::mem::replace(&mut self.rooms, rooms);
        self.before = (self.seq > 0).then_some((self.seq, before));
        self.seq = seq;
    }

    pub(crate) fn contains(&self, room: &RoomId) -> bool {
        self.rooms.contains(room)
    }

    /// Whether a room became direct or ceased to be after a position; `None` if that is not known any more.
    pub(crate) fn changed(&self, room: &RoomId, position: u64) -> Option<bool> {
        if self.seq <= position {
            return Some(false);
        }
        let (since, before) = self.before.as_ref()?;
        (*since <= position).then(|| before.contains(room) != self.rooms.contains(room))
    }
}

impl RoomOfUser<'_> {
    /// When something last happened that the user may see, in milliseconds since the Unix epoch.
    pub(crate) fn activity(&self) -> i64 {
        match self.now.membership {
            Membership::Join => self.room.traits.activity().max(self.now.ts),
            Membership::Invite | Membership::Knock | Membership::Leave | Membership::Ban => self.now.ts,
        }
    }

    /// When something last happened that moves the room up in the lists of clients.
    pub(crate) fn bump(&self) -> i64 {
        match (self.now.membership, self.room.traits.bump()) {
            (Membership::Join, bump) if bump > 0 => bump,
            (
                Membership::Join
                | Membership::Invite
                | Membership::Knock
                | Membership::Leave
                | Membership::Ban,
                _,
            ) => self.now.ts,
        }
    }
}

impl RoomsOfUser<'_> {
    /// Whether the user is to be told of an invite.
    pub(crate) fn shows_invite(&self, room: &RoomOfUser<'_>) -> bool {
        !self.blocks_invites && !self.attention.ignored.contains(&room.now.sender)
    }

    /// `seq` of the newest account data of a room, if that is after a position.
    pub(crate) fn data_moved_since(&self, room: &RoomId, position: u64) -> bool {
        self.room_data_seq > position
            && self
                .account_data
                .get(room.as_str())
                .is_some_and(|data| data.values().any(|(seq, _)| *seq > position))
    }

    /// Account data after a position; of a room, or global ones.
    pub(crate) fn data_since(&self, room: &str, position: u64) -> Vec<(String, Bytes)> {
        let data = self.account_data.get(room).into_iter().flatten();
        let data = data.filter(|(_, (seq, _))| *seq > position);
        data.map(|(kind, (_, content))| (kind.clone(), content.clone())).collect()
    }

    /// Whether a room has one of these tags.
    pub(crate) fn has_tag(&self, room: &RoomId, tags: &[String]) -> bool {
        self.tags.get(room.as_str()).is_some_and(|known| tags.iter().any(|tag| known.contains(tag)))
    }

    /// A room, to be shown.
    pub(crate) fn candidate(&self, room: &RoomOfUser<'_>) -> Candidate {
        Candidate {
            room: Arc::clone(room.room),
            now: room.now.clone(),
            then: At::Nothing,
            forgotten: room.forgotten,
            since: room.since,
            account_data: Vec::new(),
        }
    }
}
