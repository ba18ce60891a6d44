//! Requests to load data, and the keys by which it is loaded.
//!
//! The caller loads all of a request in one round trip, puts it into the loaded data, and decides
//! again.

use std::collections::{HashMap, HashSet};

use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId};

use super::ids::{EventNid, NodeNid, ParkedNid, RoomNid, Token};

/// Where an alias points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasTarget {
    /// Room.
    pub(crate) room_id: OwnedRoomId,
    /// Who created it.
    pub(crate) creator: OwnedUserId,
}

/// A receipt of a member: there is one for each type and thread.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReceiptKey {
    /// Room.
    pub(crate) room: RoomNid,
    /// User.
    pub(crate) user: OwnedUserId,
    /// `m.read` or `m.read.private`.
    pub(crate) kind: &'static str,
    /// Thread root, or `main`; empty for a receipt that regards no threads.
    pub(crate) thread: String,
}

/// What the profile of a user of this server says in member events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberProfile {
    /// Display name.
    pub(crate) displayname: Option<String>,
    /// URL of the avatar.
    pub(crate) avatar_url: Option<String>,
    /// Grows with each change of the two; 0 if there was none.
    pub(crate) version: i64,
}

/// Annotations of an event by one user that say the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AnnotationKey {
    /// Room.
    pub(crate) room: RoomNid,
    /// The event that is annotated.
    pub(crate) target: OwnedEventId,
    /// Who annotates it.
    pub(crate) sender: OwnedUserId,
    /// Type of the annotations.
    pub(crate) event_type: String,
    /// First half of the SHA-256 of their key.
    pub(crate) key: [u8; 16],
}

/// A server in a room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServerKey {
    /// Room.
    pub(crate) room: RoomNid,
    /// Server.
    pub(crate) server: OwnedServerName,
}

/// How many aliases there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AliasCounts {
    /// Those that point at a room.
    pub(crate) of_room: usize,
    /// Those that a user has created.
    pub(crate) of_user: usize,
}

/// What is known of an event before it arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Whether an accepted event cites it as a previous event.
    pub(crate) referenced: bool,
    /// Events that redact it.
    pub(crate) redactions: Vec<EventNid>,
}

/// Data that a decision lacks. All of it is to be loaded before the next call; each call gets further. Nodes and events by
/// numeric ID exist: a database that does not have them is damaged, and asking again would go on forever.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct LoadRequest {
    /// Nodes of state tries, by room.
    pub(crate) nodes: HashMap<RoomNid, HashSet<NodeNid>>,
    /// Events by numeric ID. They exist.
    pub(crate) events: HashSet<EventNid>,
    /// Events by event ID. They may not exist.
    pub(crate) event_ids: HashSet<OwnedEventId>,
    /// Local aliases. They may not exist.
    pub(crate) aliases: HashSet<OwnedRoomAliasId>,
    /// Rooms and users of which it is wanted how many aliases they have.
    pub(crate) alias_counts: HashSet<(OwnedRoomId, OwnedUserId)>,
    /// Current memberships in other rooms. They may not exist.
    pub(crate) memberships: HashSet<(OwnedRoomId, OwnedUserId)>,
    /// Rooms of which some joined users of this server are wanted.
    pub(crate) joined_local: HashSet<RoomNid>,
    /// Receipts. They may not exist.
    pub(crate) receipts: HashSet<ReceiptKey>,
    /// Profiles of users of this server. They may not exist.
    pub(crate) profiles: HashSet<OwnedUserId>,
    /// Annotations. They may not exist.
    pub(crate) annotations: HashSet<AnnotationKey>,
    /// Servers of which it is wanted how many users are joined, and by which snapshot the room was joined.
    pub(crate) servers: HashSet<(ServerKey, Option<Token>)>,
    /// Rooms whose parked events are wanted.
    pub(crate) parked: HashSet<RoomNid>,
    /// Inputs of parked events. They exist.
    pub(crate) parked_records: HashSet<ParkedNid>,
    /// Snapshots. Any of their chunks may not exist.
    pub(crate) snapshots: HashSet<(RoomNid, Token)>,
    /// What is known of events before they arrive.
    pub(crate) arrivals: HashSet<OwnedEventId>,
    /// Events of which the auth chain is wanted, as far as one likes. They exist.
    pub(crate) links: HashSet<EventNid>,
    /// Events of which is wanted which state events cite them as auth events.
    pub(crate) citing: HashSet<EventNid>,
}

impl LoadRequest {
    /// Notes a node of a room's state trie.
    pub(crate) fn node(&mut self, room: RoomNid, node: NodeNid) {
        self.nodes.entry(room).or_default().insert(node);
    }

    /// Tells whether nothing is lacking.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many things are lacking.
    pub(crate) fn len(&self) -> usize {
        let Self {
            nodes,
            events,
            event_ids,
            aliases,
            alias_counts,
            memberships,
            joined_local,
            receipts,
            profiles,
            annotations,
            servers,
            parked,
            parked_records,
            snapshots,
            arrivals,
            links,
            citing,
        } = self;
        let nodes: usize = nodes.values().map(HashSet::len).sum();
        nodes
            + events.len()
            + event_ids.len()
            + aliases.len()
            + alias_counts.len()
            + memberships.len()
            + joined_local.len()
            + receipts.len()
            + profiles.len()
            + annotations.len()
            + servers.len()
            + parked.len()
            + parked_records.len()
            + snapshots.len()
            + arrivals.len()
            + links.len()
            + citing.len()
    }
}
