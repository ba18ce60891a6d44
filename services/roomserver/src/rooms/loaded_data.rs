//! Loaded data of a batch.
//!
//! Decisions read nothing by themselves: they look into a [`LoadedData`], and answer with a
//! [`super::load_request::LoadRequest`] when something is not there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use plexus_events::resolve::{Citing, Links};
use ruma::{EventId, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use super::{
    effort::Effort,
    event::StoredEvent,
    ids::{EventNid, NodeNid, ParkedNid, RoomNid, Token},
    load_request::{AliasCounts, AliasTarget, AnnotationKey, Arrival, MemberProfile, ReceiptKey, ServerKey},
    outcome::Applied,
    parked::ParkedEntries,
    parsed_events::ParsedEvents,
    trie::{Node, Nodes},
};

/// Things loaded for a batch. A value of `None` is known to be absent from the database.
#[derive(Debug, Default, Clone)]
pub(crate) struct LoadedData {
    /// What it costs to decide with it.
    pub(crate) effort: Arc<Effort>,
    /// Events that were parsed for the record at hand.
    pub(crate) parsed: Arc<ParsedEvents>,
    /// Nodes of state tries. (Their NIDs are unique, so rooms share the map.)
    pub(crate) nodes: HashMap<NodeNid, Arc<Node>>,
    /// Events by numeric ID.
    pub(crate) events: HashMap<EventNid, Arc<StoredEvent>>,
    /// Events by event ID, of whatever room.
    pub(crate) events_by_id: HashMap<OwnedEventId, Option<Arc<StoredEvent>>>,
    /// Local aliases. Another partition may take one in the meantime: a conflict at the commit is answered by loading
    /// it again and calling `apply` again.
    pub(crate) aliases: HashMap<OwnedRoomAliasId, Option<AliasTarget>>,
    /// How many aliases a room and a user have in the database.
    pub(crate) alias_counts: HashMap<(OwnedRoomId, OwnedUserId), AliasCounts>,
    /// Rooms and creators of aliases that came with this batch.
    new_aliases: Vec<(OwnedRoomId, OwnedUserId)>,
    /// Current membership (`join`, …) of users in other rooms, from `current_members`.
    pub(crate) memberships: HashMap<(OwnedRoomId, OwnedUserId), Option<String>>,
    /// Some (at most [`JOINED_LOCAL_LIMIT`]) users of this server who are joined to the room, from `current_members`.
    pub(crate) joined_local: HashMap<RoomNid, Vec<OwnedUserId>>,
    /// Receipts: the `seq` of the event that each points at.
    pub(crate) receipts: HashMap<ReceiptKey, Option<i64>>,
    /// Receipts that inputs of this batch have moved: the `seq` of the record that tells each.
    pub(crate) told_receipts: HashMap<ReceiptKey, i64>,
    /// Profiles of users of this server, as they were committed.
    pub(crate) profiles: HashMap<OwnedUserId, MemberProfile>,
    /// Annotations that were not redacted before the batch, with those that the batch adds.
    pub(crate) annotations: HashMap<AnnotationKey, Vec<EventNid>>,
    /// How many users of servers are joined to rooms, with what inputs of this batch have changed.
    pub(crate) servers: HashMap<ServerKey, i64>,
    /// Parked events of rooms.
    pub(crate) parked: HashMap<RoomNid, Arc<ParkedEntries>>,
    /// Inputs of parked events, encoded.
    pub(crate) parked_records: HashMap<ParkedNid, Bytes>,
    /// Chunks of snapshots by number.
    pub(crate) snapshots: HashMap<(RoomNid, Token), BTreeMap<i32, Bytes>>,
    /// What the database knows of events before they arrive.
    pub(crate) arrivals: HashMap<OwnedEventId, Arrival>,
    /// Generations and auth events of events that were not loaded as a whole.
    pub(crate) links: HashMap<EventNid, Links<EventNid>>,
    /// State events that cite an event as an auth event.
    pub(crate) citing: HashMap<EventNid, Citing<EventNid>>,
    /// What the inputs of this batch have added to that.
    new_citing: HashMap<EventNid, Vec<EventNid>>,
    /// What they have added to `arrivals`.
    new_arrivals: HashMap<OwnedEventId, Arrival>,
    /// Chunks of snapshots that came with this batch.
    new_chunks: HashMap<(RoomNid, Token), BTreeMap<i32, Bytes>>,
}

/// How many users `joined_local` holds at most.
pub(crate) const JOINED_LOCAL_LIMIT: i64 = 32;

impl LoadedData {
    /// Makes what an input has changed visible to the inputs after it in the same batch.
    /// To be called once for each `Applied`, in order.
    pub(crate) fn absorb(&mut self, applied: &Applied) {
        for event in &applied.rows.events {
            self.events.insert(event.event.nid, Arc::clone(&event.event));
            self.events_by_id.insert(event.event.event_id.clone(), Some(Arc::clone(&event.event)));
            if event.event.state_key.is_some() {
                for cited in &event.event.auth_nids {
                    self.new_citing.entry(*cited).or_default().push(event.event.nid);
                }
            }
        }
        for event in &applied.rows.rewritten {
            self.events.insert(event.nid, Arc::clone(event));
            self.events_by_id.insert(event.event_id.clone(), Some(Arc::clone(event)));
        }
        for node in &applied.rows.nodes {
            self.nodes.insert(node.nid, Arc::clone(&node.node));
        }
        for alias in &applied.rows.aliases_set {
            let target = AliasTarget { room_id: alias.room_id.clone(), creator: alias.creator.clone() };
            self.aliases.insert(alias.alias.clone(), Some(target));
            self.new_aliases.push((alias.room_id.clone(), alias.creator.clone()));
        }
        for alias in &applied.rows.aliases_removed {
            self.aliases.insert(alias.clone(), None);
        }
        for member in &applied.rows.members {
            let key = (applied.room.room_id().to_owned(), member.user_id.clone());
            self.memberships.insert(key, Some(member.membership.clone()));
        }
        self.joined_local.remove(&applied.room.nid());
        for receipt in &applied.rows.receipts {
            self.receipts.insert(receipt.key.clone(), Some(receipt.event_seq));
            self.told_receipts.insert(receipt.key.clone(), receipt.seq);
        }
        for alias in &applied.rows.aliases_moved {
            let target = AliasTarget { room_id: alias.room_id.clone(), creator: alias.creator.clone() };
            self.aliases.insert(alias.alias.clone(), Some(target));
        }
        for (key, nid) in &applied.rows.annotations {
            self.annotations.entry(key.clone()).or_default().push(*nid);
        }
        self.servers.extend(applied.rows.servers.iter().map(|(key, joined)| (key.clone(), *joined)));
        self.absorb_received(applied);
    }

    /// Forgets what commits of other rooms and users change: it is loaded again.
    pub(crate) fn forget_others(&mut self) {
        self.aliases.clear();
        self.alias_counts.clear();
        self.memberships.clear();
        self.profiles.clear();
    }

    fn absorb_received(&mut self, applied: &Applied) {
        let rows = &applied.rows;
        for event in &rows.placed {
            self.events.insert(event.event.nid, Arc::clone(&event.event));
            self.events_by_id.insert(event.event.event_id.clone(), Some(Arc::clone(&event.event)));
        }
        for row in &rows.parked {
            self.parked_records.insert(row.entry.nid, row.record.clone());
        }
        for (_, id, _) in &rows.backward_refs {
            self.new_arrivals.entry(id.clone()).or_default().referenced = true;
        }
        for row in rows.redactions.iter().filter(|row| !row.applied) {
            let redactions = &mut self.new_arrivals.entry(row.redacts_id.clone()).or_default().redactions;
            if !redactions.contains(&row.redaction_nid) {
                redactions.push(row.redaction_nid);
            }
        }
        for row in &rows.snapshot_chunks {
            let name = (row.room_nid, row.token);
            self.new_chunks.entry(name).or_default().insert(row.chunk, row.entries.clone());
            if let Some(chunks) = self.snapshots.get_mut(&name) {
                chunks.insert(row.chunk, row.entries.clone());
            }
        }
        for name in &rows.snapshots_used {
            self.new_chunks.remove(name);
            self.snapshots.insert(*name, BTreeMap::new());
        }
    }

    /// Adds an event that was loaded. What an input of this batch has made of it counts more.
    pub(crate) fn add_event(&mut self, event: Arc<StoredEvent>) {
        let by_id = self.events_by_id.entry(event.event_id.clone()).or_default();
        let known = by_id.get_or_insert_with(|| Arc::clone(&event));
        self.events.entry(event.nid).or_insert_with(|| Arc::clone(known));
    }

    /// Adds the chunks of a snapshot that the database has.
    pub(crate) fn add_snapshot(&mut self, name: (RoomNid, Token), mut chunks: BTreeMap<i32, Bytes>) {
        chunks.extend(self.new_chunks.get(&name).into_iter().flatten().map(|(n, chunk)| (*n, chunk.clone())));
        self.snapshots.insert(name, chunks);
    }

    /// How many aliases a room and a user have; `None` if that was not loaded.
    pub(crate) fn alias_counts(&self, room_id: &RoomId, user: &UserId) -> Option<AliasCounts> {
        let mut counts = *self.alias_counts.get(&(room_id.to_owned(), user.to_owned()))?;
        for (of_room, creator) in &self.new_aliases {
            counts.of_room += usize::from(of_room == room_id);
            counts.of_user += usize::from(creator == user);
        }
        Some(counts)
    }

    /// The state events that cite an event as an auth event; `None` if that was not loaded.
    pub(crate) fn citing(&self, nid: EventNid) -> Option<Citing<EventNid>> {
        let stored = self.citing.get(&nid)?;
        Some(match (stored, self.new_citing.get(&nid)) {
            (Citing::Known(stored), Some(new)) => Citing::Known(stored.iter().chain(new).copied().collect()),
            (stored, _) => stored.clone(),
        })
    }

    /// What is known of an event before it arrives; `None` if that was not loaded.
    pub(crate) fn arrival(&self, id: &EventId) -> Option<Arrival> {
        let mut arrival = self.arrivals.get(id)?.clone();
        if let Some(new) = self.new_arrivals.get(id) {
            arrival.referenced |= new.referenced;
            for redaction in &new.redactions {
                if !arrival.redactions.contains(redaction) {
                    arrival.redactions.push(*redaction);
                }
            }
        }
        Some(arrival)
    }
}

impl Nodes for LoadedData {
    fn node(&self, nid: NodeNid) -> Option<Arc<Node>> {
        self.nodes.get(&nid).map(Arc::clone)
    }
}
