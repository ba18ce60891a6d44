//! A room as the owner of its partition keeps it in memory.

use std::sync::Arc;

use bytes::Bytes;
use plexus_events::{RoomRules, UnsupportedVersion};
use ruma::{OwnedEventId, OwnedRoomId, RoomId};

use super::{
    event::{StoredEvent, flags},
    ids::{EventNid, NodeNid, RoomNid, Token},
    parked::Parked,
    rows::RoomRow,
    state_cache::StateCache,
    trie::Trie,
};

/// A forward extremity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardExtremity {
    /// Numeric ID.
    pub(crate) nid: EventNid,
    /// Event ID.
    pub(crate) event_id: OwnedEventId,
    /// Depth.
    pub(crate) depth: i64,
    /// Whether a user of this server sent it.
    pub(crate) local: bool,
}

/// What the database holds of a room: its row, and the extremities looked up.
#[derive(Debug, Clone)]
pub(crate) struct RoomParts {
    /// Numeric ID.
    pub(crate) nid: RoomNid,
    /// Room ID.
    pub(crate) room_id: OwnedRoomId,
    /// Partition.
    pub(crate) partition: u32,
    /// Room version.
    pub(crate) version: String,
    /// The create event.
    pub(crate) create_nid: EventNid,
    /// Its event ID.
    pub(crate) create_id: OwnedEventId,
    /// Forward extremities.
    pub(crate) forward_extremities: Vec<ForwardExtremity>,
    /// Root of the members' trie; `None` if empty.
    pub(crate) members_root: Option<NodeNid>,
    /// Root of the trie of other state; `None` if empty.
    pub(crate) other_root: Option<NodeNid>,
    /// Depth of the deepest event.
    pub(crate) depth: i64,
    /// Sequence number of the last output record.
    pub(crate) last_seq: i64,
    /// Members joined.
    pub(crate) joined_members: i32,
    /// Members invited.
    pub(crate) invited_members: i32,
    /// Whether it is listed in the directory.
    pub(crate) published: bool,
    /// Events that are parked.
    pub(crate) parked: i32,
    /// Whether the event graph has ever been other than a line.
    pub(crate) forked: bool,
    /// Whether previous events are missing that were accepted as missing.
    pub(crate) has_gaps: bool,
    /// Position of the oldest event before the timeline: negative, or 0.
    pub(crate) oldest_position: i64,
    /// The snapshot by which this server joined; `None` if the room was made here, or is only being joined.
    pub(crate) snapshot: Option<Token>,
    /// Bytes of the current state that local users sent, as far as they count.
    pub(crate) state_bytes: i64,
}

/// A room; cheap to clone. The room after an input is another value.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(super) inner: Arc<Inner>,
}

/// What changes of a room, and what does not.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub(super) identity: Arc<Identity>,
    pub(super) forward_extremities: Vec<ForwardExtremity>,
    pub(super) members: Trie,
    pub(super) other: Trie,
    pub(super) depth: i64,
    pub(super) last_seq: i64,
    pub(super) joined_members: i32,
    pub(super) invited_members: i32,
    pub(super) published: bool,
    pub(super) parked: Parked,
    pub(super) forked: bool,
    pub(super) has_gaps: bool,
    pub(super) oldest_position: i64,
    pub(super) snapshot: Option<Token>,
    pub(super) state_bytes: i64,
    /// The input that last put events before the timeline, and `oldest_position` before it.
    pub(super) filling: Option<(Bytes, i64)>,
    pub(super) state_cache: Arc<StateCache>,
}

/// What never changes of a room.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) nid: RoomNid,
    pub(super) room_id: OwnedRoomId,
    pub(super) partition: u32,
    pub(super) rules: &'static RoomRules,
    pub(super) create_nid: EventNid,
    pub(super) create_id: OwnedEventId,
}

impl Room {
    /// Makes the room that the database holds. Its state is loaded as it is needed.
    ///
    /// # Errors
    ///
    /// Fails if the room version is not served by this version of the program.
    pub(crate) fn from_parts(parts: RoomParts) -> Result<Self, UnsupportedVersion> {
        let identity = Identity {
            nid: parts.nid,
            room_id: parts.room_id,
            partition: parts.partition,
            rules: RoomRules::of(&parts.version)?,
            create_nid: parts.create_nid,
            create_id: parts.create_id,
        };
        let inner = Inner {
            identity: Arc::new(identity),
            forward_extremities: parts.forward_extremities,
            members: Trie::stored(parts.members_root),
            other: Trie::stored(parts.other_root),
            depth: parts.depth,
            last_seq: parts.last_seq,
            joined_members: parts.joined_members,
            invited_members: parts.invited_members,
            published: parts.published,
            parked: Parked::stored(parts.parked),
            forked: parts.forked,
            has_gaps: parts.has_gaps,
            oldest_position: parts.oldest_position,
            snapshot: parts.snapshot,
            state_bytes: parts.state_bytes,
            filling: None,
            state_cache: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a room of its parts in memory.
    pub(super) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Numeric ID.
    pub(crate) fn nid(&self) -> RoomNid {
        self.inner.identity.nid
    }

    /// Room ID.
    pub(crate) fn room_id(&self) -> &RoomId {
        &self.inner.identity.room_id
    }

    /// About how many bytes of it are in memory. Looks at every node that is.
    pub(crate) fn loaded_bytes(&self) -> usize {
        let Inner { members, other, parked, state_cache, .. } = self.inner.as_ref();
        size_of::<Inner>()
            + members.loaded_bytes()
            + other.loaded_bytes()
            + parked.loaded_bytes()
            + state_cache.bytes()
    }

    /// Whether the room is only being joined: its state has begun to arrive, and nobody here is in it yet.
    pub(crate) fn is_incipient(&self) -> bool {
        self.inner.forward_extremities.is_empty()
    }
}

impl From<&StoredEvent> for ForwardExtremity {
    fn from(event: &StoredEvent) -> Self {
        Self {
            nid: event.nid,
            event_id: event.event_id.clone(),
            depth: event.depth,
            local: event.flags & flags::LOCAL != 0,
        }
    }
}

impl Inner {
    /// A room before its first event.
    pub(super) fn empty(identity: Identity) -> Self {
        Self {
            identity: Arc::new(identity),
            forward_extremities: Vec::new(),
            members: Trie::default(),
            other: Trie::default(),
            depth: 0,
            last_seq: 0,
            joined_members: 0,
            invited_members: 0,
            published: false,
            parked: Parked::default(),
            forked: false,
            has_gaps: false,
            oldest_position: 0,
            snapshot: None,
            state_bytes: 0,
            filling: None,
            state_cache: Arc::default(),
        }
    }

    /// IDs of the forward extremities.
    pub(super) fn extremity_ids(&self) -> Vec<String> {
        self.forward_extremities.iter().map(|extremity| extremity.event_id.to_string()).collect()
    }
    /// The room's row as it is now.
    pub(super) fn row(&self) -> RoomRow {
        RoomRow {
            nid: self.identity.nid,
            room_id: self.identity.room_id.clone(),
            partition: self.identity.partition,
            version: self.identity.rules.id.as_str().to_owned(),
            create_nid: self.identity.create_nid,
            latest_nids: self.forward_extremities.iter().map(|extremity| extremity.nid).collect(),
            members_root: self.members.root_column(),
            other_root: self.other.root_column(),
            depth: self.depth,
            last_seq: self.last_seq,
            joined_members: self.joined_members,
            invited_members: self.invited_members,
            published: self.published,
            parked: self.parked.count(),
            forked: self.forked,
            has_gaps: self.has_gaps,
            oldest_position: self.oldest_position,
            snapshot: self.snapshot,
            state_bytes: self.state_bytes,
        }
    }
}
