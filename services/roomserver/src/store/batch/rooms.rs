//! Rooms, events, state, members, redactions, aliases.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    marker::PhantomData,
    sync::Arc,
};

use diesel::sql_types::{Array, Binary, Bool, Int2, Int4, Int8, Nullable, Text};
use indexmap::IndexMap;
use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedUserId};

use self::{
    received::{Received, ReceivedRows},
    told::Told,
};
use super::{Pipeline, receipts::RoomReceipts, relations};
use crate::{
    rooms::{
        AliasRow, EventNid, EventRow, MemberRow, NodeRow, PurgeRow, RedactionRow, RoomNid, RoomRow, Rows,
        StateResetRow, StoredEvent, UpgradeRow,
    },
    store::statement::statement,
};

mod purge;
mod received;
mod servers;
mod told;
mod upgrades;

/// Rows of rooms, merged over the inputs of a batch.
#[derive(Default)]
pub(crate) struct RoomRows {
    rooms: IndexMap<RoomNid, (RoomRow, bool)>,
    events: Vec<EventRow>,
    event_index: HashMap<EventNid, usize>,
    rewritten: IndexMap<EventNid, Arc<StoredEvent>>,
    nodes: Vec<NodeRow>,
    members: IndexMap<(RoomNid, OwnedUserId), Membership>,
    told: Told,
    forgotten: IndexMap<(RoomNid, OwnedUserId), ()>,
    redactions: IndexMap<(OwnedEventId, EventNid), RedactionRow>,
    aliases_set: BTreeMap<OwnedRoomAliasId, AliasRow>,
    aliases_removed: BTreeSet<OwnedRoomAliasId>,
    aliases_moved: BTreeMap<OwnedRoomAliasId, AliasRow>,
    upgrades: Vec<UpgradeRow>,
    profile_marks: IndexMap<(RoomNid, OwnedUserId), i64>,
    receipts: RoomReceipts,
    /// Outliers that have become part of the graph.
    placed: IndexMap<EventNid, EventRow>,
    received: ReceivedRows,
    purged: Vec<PurgeRow>,
    /// By how many rooms the directory grows, by partition.
    published: BTreeMap<u32, i64>,
}

/// A membership as the batch leaves it.
struct Membership {
    row: MemberRow,
    forgotten: bool,
    /// Where it began, as far as the batch knows: events that say the same again leave that alone.
    began: i64,
    /// The first event of the batch that told of the user.
    first: i64,
    /// Whether the batch saw it begin. Else it may have been the same before the batch.
    seen: bool,
}

impl RoomRows {
    /// Alarms that the batch raises.
    pub(crate) fn state_resets(&self) -> &[StateResetRow] {
        self.received.state_resets()
    }

    /// Adds the rows of one input, over those of the inputs before it.
    pub(crate) fn merge(&mut self, rows: Rows) {
        let Rows {
            room,
            room_is_new,
            events,
            rewritten,
            nodes,
            members,
            facts: _,
            told,
            forgotten,
            redactions,
            aliases_set,
            aliases_removed,
            aliases_moved,
            upgrades,
            profile_marks,
            annotations: _,
            servers: _,
            receipts,
            placed,
            room_states,
            parked,
            unparked,
            arrived,
            asked_again,
            backward_refs,
            backward_refs_filled,
            snapshot_chunks,
            snapshots_used,
            decisions,
            decisions_dropped,
            purged,
            published,
            state_resets,
        } = rows;
        self.purged.extend(purged);
        for (partition, change) in published {
            *self.published.entry(partition).or_default() += change;
        }
        self.told.merge(told);
        for row in placed {
            match self.event_index.get(&row.event.nid).and_then(|index| self.events.get_mut(*index)) {
                Some(known) => *known = row,
                None => {
                    self.rewritten.shift_remove(&row.event.nid);
                    self.placed.insert(row.event.nid, row);
                }
            }
        }
        self.received.merge(Received {
            room_states,
            parked,
            unparked,
            arrived,
            asked_again,
            backward_refs,
            backward_refs_filled,
            snapshot_chunks,
            snapshots_used,
            decisions,
            decisions_dropped,
            state_resets,
        });
        if let Some(room) = room {
            match self.rooms.get_mut(&room.nid) {
                Some((known, _)) => *known = room,
                None => {
                    self.rooms.insert(room.nid, (room, room_is_new));
                }
            }
        }
        for event in events {
            self.event_index.insert(event.event.nid, self.events.len());
            self.events.push(event);
        }
        for event in rewritten {
            let made = self.event_index.get(&event.nid).and_then(|index| self.events.get_mut(*index));
            match made.or_else(|| self.placed.get_mut(&event.nid)) {
                Some(row) => row.event = event,
                None => {
                    self.rewritten.insert(event.nid, event);
                }
            }
        }
        self.nodes.extend(nodes);
        for member in members {
            let key = (member.room_nid, member.user_id.clone());
            self.forgotten.shift_remove(&key);
            let before = self.members.get(&key);
            let first = before.map_or(member.seq, |before| before.first);
            let (began, seen) = match before {
                Some(before) if before.row.membership == member.membership => (before.began, before.seen),
                before => (member.seq, before.is_some()),
            };
            self.members.insert(key, Membership { row: member, forgotten: false, began, first, seen });
        }
        for key in forgotten {
            match self.members.get_mut(&key) {
                Some(member) => member.forgotten = true,
                None => {
                    self.forgotten.insert(key, ());
                }
            }
        }
        for row in redactions {
            self.redactions.insert((row.redacts_id.clone(), row.redaction_nid), row);
        }
        for row in aliases_set {
            self.aliases_set.insert(row.alias.clone(), row);
        }
        for alias in aliases_removed {
            self.aliases_set.remove(&alias);
            self.aliases_moved.remove(&alias);
            self.aliases_removed.insert(alias);
        }
        for row in aliases_moved {
            match self.aliases_set.get_mut(&row.alias) {
                Some(set) => set.room_id = row.room_id,
                None => drop(self.aliases_moved.insert(row.alias.clone(), row)),
            }
        }
        self.upgrades.extend(upgrades);
        for row in profile_marks {
            self.profile_marks.insert((row.room_nid, row.user_id), row.version);
        }
        self.receipts.merge(receipts);
    }

    /// Whether rooms are deleted.
    pub(crate) fn purges(&self) -> bool {
        !self.purged.is_empty()
    }

    /// Checks that rooms are still only being joined of which chunks tell what counts with the join; returns how many
    /// rows that touches if they are. Goes ahead of all other statements that touch the rooms.
    pub(super) fn check_incipient(&self, pipeline: &mut Pipeline<'_>) -> usize {
        let is_new = |room| self.rooms.get(&room).is_some_and(|(_, new)| *new);
        self.told.check(pipeline, is_new)
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        self.write_rooms(pipeline);
        self.told.write(pipeline);
        self.write_events(pipeline);
        relations::write_new(pipeline, self.events.iter().chain(self.placed.values()));
        self.write_rewritten(pipeline);
        relations::write_redacted(pipeline, self.rewritten.values().map(AsRef::as_ref));
        self.write_nodes(pipeline);
        self.write_members(pipeline);
        self.write_redactions(pipeline);
        self.write_aliases(pipeline);
        upgrades::write(pipeline, &self.upgrades);
        self.receipts.write(pipeline);
        if !self.placed.is_empty() {
            let rows: Vec<&EventRow> = self.placed.values().collect();
            pipeline.add(PlaceEvents::NAME, PlaceEvents::of(&rows));
            pipeline.add(
                UpdateEventJson::NAME,
                UpdateEventJson {
                    event_nid: rows.iter().map(|row| row.event.nid.0).collect(),
                    json: rows.iter().map(|row| row.event.json.as_ref()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        self.received.write(pipeline);
        purge::write(pipeline, &self.purged);
        if !self.published.is_empty() {
            pipeline.add(
                CountPublished::NAME,
                CountPublished {
                    partition: self.published.keys().map(|partition| small(*partition)).collect(),
                    change: self.published.values().copied().collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_rooms(&self, pipeline: &mut Pipeline<'_>) {
        let new: Vec<&RoomRow> = self.rooms.values().filter(|(_, new)| *new).map(|(row, _)| row).collect();
        if !new.is_empty() {
            pipeline.add(
                InsertRooms::NAME,
                InsertRooms {
                    room_nid: new.iter().map(|row| row.nid.0).collect(),
                    room_id: new.iter().map(|row| row.room_id.as_str()).collect(),
                    partition: new.iter().map(|row| small(row.partition)).collect(),
                    version: new.iter().map(|row| row.version.as_str()).collect(),
                    create_nid: new.iter().map(|row| row.create_nid.0).collect(),
                    latest_nids: new.iter().map(|row| array(&row.latest_nids)).collect(),
                    members_root: new.iter().map(|row| row.members_root).collect(),
                    other_root: new.iter().map(|row| row.other_root).collect(),
                    depth: new.iter().map(|row| row.depth).collect(),
                    last_seq: new.iter().map(|row| row.last_seq).collect(),
                    joined_members: new.iter().map(|row| row.joined_members).collect(),
                    invited_members: new.iter().map(|row| row.invited_members).collect(),
                    published: new.iter().map(|row| row.published).collect(),
                    parked: new.iter().map(|row| row.parked).collect(),
                    forked: new.iter().map(|row| row.forked).collect(),
                    has_gaps: new.iter().map(|row| row.has_gaps).collect(),
                    oldest_position: new.iter().map(|row| row.oldest_position).collect(),
                    snapshot: new.iter().map(|row| snapshot(row)).collect(),
                    state_bytes: new.iter().map(|row| row.state_bytes).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let changed: Vec<&RoomRow> =
            self.rooms.values().filter(|(_, new)| !new).map(|(row, _)| row).collect();
        if !changed.is_empty() {
            pipeline.add(
                UpdateRooms::NAME,
                UpdateRooms {
                    room_nid: changed.iter().map(|row| row.nid.0).collect(),
                    latest_nids: changed.iter().map(|row| array(&row.latest_nids)).collect(),
                    members_root: changed.iter().map(|row| row.members_root).collect(),
                    other_root: changed.iter().map(|row| row.other_root).collect(),
                    depth: changed.iter().map(|row| row.depth).collect(),
                    last_seq: changed.iter().map(|row| row.last_seq).collect(),
                    joined_members: changed.iter().map(|row| row.joined_members).collect(),
                    invited_members: changed.iter().map(|row| row.invited_members).collect(),
                    published: changed.iter().map(|row| row.published).collect(),
                    parked: changed.iter().map(|row| row.parked).collect(),
                    forked: changed.iter().map(|row| row.forked).collect(),
                    has_gaps: changed.iter().map(|row| row.has_gaps).collect(),
                    oldest_position: changed.iter().map(|row| row.oldest_position).collect(),
                    snapshot: changed.iter().map(|row| snapshot(row)).collect(),
                    state_bytes: changed.iter().map(|row| row.state_bytes).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_events(&self, pipeline: &mut Pipeline<'_>) {
        let rows = &self.events;
        if rows.is_empty() {
            return;
        }
        pipeline.add(
            InsertEvents::NAME,
            InsertEvents {
                event_nid: rows.iter().map(|row| row.event.nid.0).collect(),
                room_nid: rows.iter().map(|row| row.event.room_nid.0).collect(),
                event_id: rows.iter().map(|row| row.event.event_id.as_str()).collect(),
                event_type: rows.iter().map(|row| row.event.event_type.as_str()).collect(),
                state_key: rows.iter().map(|row| row.event.state_key.as_deref()).collect(),
                sender: rows.iter().map(|row| row.event.sender.as_str()).collect(),
                depth: rows.iter().map(|row| row.event.depth).collect(),
                origin_server_ts: rows.iter().map(|row| row.event.origin_server_ts).collect(),
                received_ts: rows.iter().map(|row| row.received_ts).collect(),
                flags: rows.iter().map(|row| row.event.flags).collect(),
                visibility: rows.iter().map(|row| row.visibility).collect(),
                auth_generation: rows.iter().map(|row| row.event.auth_generation).collect(),
                auth_nids: rows.iter().map(|row| array(&row.event.auth_nids)).collect(),
                prev_nids: rows.iter().map(|row| array(&row.event.prev_nids)).collect(),
                members_root: rows.iter().map(|row| row.event.members_root.map_or(0, |nid| nid.0)).collect(),
                other_root: rows.iter().map(|row| row.event.other_root.map_or(0, |nid| nid.0)).collect(),
                replaces_nid: rows.iter().map(|row| row.event.replaces_nid.map(|nid| nid.0)).collect(),
                seq: rows.iter().map(|row| row.event.seq).collect(),
                txn_device_id: rows.iter().map(|row| row.txn_device_id.as_deref()).collect(),
                txn_id: rows.iter().map(|row| row.txn_id.as_deref()).collect(),
                value: rows.iter().map(|row| row.event.value()).collect(),
                lifetime: PhantomData,
            },
        );
        pipeline.add(
            InsertEventJson::NAME,
            InsertEventJson {
                event_nid: rows.iter().map(|row| row.event.nid.0).collect(),
                json: rows.iter().map(|row| row.event.json.as_ref()).collect(),
                lifetime: PhantomData,
            },
        );
    }

    fn write_rewritten(&self, pipeline: &mut Pipeline<'_>) {
        if self.rewritten.is_empty() {
            return;
        }
        pipeline.add(
            UpdateEventFlags::NAME,
            UpdateEventFlags {
                event_nid: self.rewritten.values().map(|event| event.nid.0).collect(),
                flags: self.rewritten.values().map(|event| event.flags).collect(),
                value: self.rewritten.values().map(|event| event.value()).collect(),
                lifetime: PhantomData,
            },
        );
        pipeline.add(
            UpdateEventJson::NAME,
            UpdateEventJson {
                event_nid: self.rewritten.values().map(|event| event.nid.0).collect(),
                json: self.rewritten.values().map(|event| event.json.as_ref()).collect(),
                lifetime: PhantomData,
            },
        );
    }

    fn write_nodes(&self, pipeline: &mut Pipeline<'_>) {
        if self.nodes.is_empty() {
            return;
        }
        pipeline.add(
            InsertNodes::NAME,
            InsertNodes {
                room_nid: self.nodes.iter().map(|row| row.room_nid.0).collect(),
                node_nid: self.nodes.iter().map(|row| row.nid.0).collect(),
                body: self.nodes.iter().map(|row| row.body.as_ref()).collect(),
                lifetime: PhantomData,
            },
        );
    }

    fn write_members(&self, pipeline: &mut Pipeline<'_>) {
        if !self.members.is_empty() {
            let rows = || self.members.values().map(|member| &member.row);
            servers::count(
                pipeline,
                rows().map(|row| row.room_nid.0).collect(),
                rows().map(|row| row.user_id.as_str()).collect(),
                rows().map(|row| row.membership.as_str()).collect(),
            );
            pipeline.add(
                UpsertMembers::NAME,
                UpsertMembers {
                    room_nid: rows().map(|row| row.room_nid.0).collect(),
                    user_id: rows().map(|row| row.user_id.as_str()).collect(),
                    membership: rows().map(|row| row.membership.as_str()).collect(),
                    event_nid: rows().map(|row| row.event_nid.0).collect(),
                    seq: rows().map(|row| row.seq).collect(),
                    forgotten: self.members.values().map(|member| member.forgotten).collect(),
                    began: self.members.values().map(|member| member.began).collect(),
                    seen: self.members.values().map(|member| member.seen).collect(),
                    first: self.members.values().map(|member| member.first).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.profile_marks.is_empty() {
            pipeline.add(
                MarkProfiles::NAME,
                MarkProfiles {
                    room_nid: self.profile_marks.keys().map(|(room, _)| room.0).collect(),
                    user_id: self.profile_marks.keys().map(|(_, user)| user.as_str()).collect(),
                    version: self.profile_marks.values().copied().collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.forgotten.is_empty() {
            pipeline.add(
                ForgetRooms::NAME,
                ForgetRooms {
                    room_nid: self.forgotten.keys().map(|(room, _)| room.0).collect(),
                    user_id: self.forgotten.keys().map(|(_, user)| user.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_redactions(&self, pipeline: &mut Pipeline<'_>) {
        if self.redactions.is_empty() {
            return;
        }
        pipeline.add(
            UpsertRedactions::NAME,
            UpsertRedactions {
                redacts_id: self.redactions.values().map(|row| row.redacts_id.as_str()).collect(),
                redaction_nid: self.redactions.values().map(|row| row.redaction_nid.0).collect(),
                room_nid: self.redactions.values().map(|row| row.room_nid.0).collect(),
                applied: self.redactions.values().map(|row| row.applied).collect(),
                lifetime: PhantomData,
            },
        );
    }

    fn write_aliases(&self, pipeline: &mut Pipeline<'_>) {
        // The one table here that owners of different partitions share: touched in sorted order, lest they deadlock.
        if !self.aliases_removed.is_empty() {
            pipeline.add(
                DeleteAliases::NAME,
                DeleteAliases {
                    alias: self.aliases_removed.iter().map(|alias| alias.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.aliases_set.is_empty() {
            let rows = || self.aliases_set.values();
            pipeline.add(
                InsertAliases::NAME,
                InsertAliases {
                    alias: rows().map(|row| row.alias.as_str()).collect(),
                    room_id: rows().map(|row| row.room_id.as_str()).collect(),
                    creator: rows().map(|row| row.creator.as_str()).collect(),
                    created_ts: rows().map(|row| row.created_ts).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.aliases_moved.is_empty() {
            pipeline.add(
                MoveAliases::NAME,
                MoveAliases {
                    alias: self.aliases_moved.keys().map(|alias| alias.as_str()).collect(),
                    room_id: self.aliases_moved.values().map(|row| row.room_id.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

impl PlaceEvents<'_> {
    fn of(rows: &[&EventRow]) -> Self {
        Self {
            event_nid: rows.iter().map(|row| row.event.nid.0).collect(),
            received_ts: rows.iter().map(|row| row.received_ts).collect(),
            flags: rows.iter().map(|row| row.event.flags).collect(),
            visibility: rows.iter().map(|row| row.visibility).collect(),
            auth_generation: rows.iter().map(|row| row.event.auth_generation).collect(),
            auth_nids: rows.iter().map(|row| array(&row.event.auth_nids)).collect(),
            prev_nids: rows.iter().map(|row| array(&row.event.prev_nids)).collect(),
            members_root: rows.iter().map(|row| row.event.members_root.map_or(0, |nid| nid.0)).collect(),
            other_root: rows.iter().map(|row| row.event.other_root.map_or(0, |nid| nid.0)).collect(),
            replaces_nid: rows.iter().map(|row| row.event.replaces_nid.map(|nid| nid.0)).collect(),
            seq: rows.iter().map(|row| row.event.seq).collect(),
            value: rows.iter().map(|row| row.event.value()).collect(),
            lifetime: PhantomData,
        }
    }
}

/// The column of the snapshot by which a room was joined.
fn snapshot(row: &RoomRow) -> &[u8] {
    row.snapshot.as_ref().map_or(&[], |token| token.as_slice())
}

fn small(partition: u32) -> i16 {
    i16::try_from(partition).unwrap_or(i16::MAX)
}

/// An array as text: arrays of arrays have to be rectangular in Postgres, so `unnest` cannot take them.
fn array(nids: &[EventNid]) -> String {
    let mut text = String::with_capacity(2 + nids.len() * 20);
    text.push('{');
    for (index, nid) in nids.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Writing to a string does not fail.
        write!(text, "{}", nid.0).ok();
    }
    text.push('}');
    text
}

statement! {
    /// Counts the rooms of the directory. The batch has locked the rows of its partitions.
    CountPublished {
        partition: Array<Int2> => Vec<i16>,
        change: Array<Int8> => Vec<i64>,
    }
    "UPDATE partition_state AS p SET published_rooms = p.published_rooms + v.change FROM unnest(",
    ") AS v(partition, change) WHERE p.partition = v.partition"
}

statement! {
    /// Adds rooms.
    InsertRooms {
        room_nid: Array<Int8> => Vec<i64>,
        room_id: Array<Text> => Vec<&'a str>,
        partition: Array<Int2> => Vec<i16>,
        version: Array<Text> => Vec<&'a str>,
        create_nid: Array<Int8> => Vec<i64>,
        latest_nids: Array<Text> => Vec<String>,
        members_root: Array<Int8> => Vec<i64>,
        other_root: Array<Int8> => Vec<i64>,
        depth: Array<Int8> => Vec<i64>,
        last_seq: Array<Int8> => Vec<i64>,
        joined_members: Array<Int4> => Vec<i32>,
        invited_members: Array<Int4> => Vec<i32>,
        published: Array<Bool> => Vec<bool>,
        parked: Array<Int4> => Vec<i32>,
        forked: Array<Bool> => Vec<bool>,
        has_gaps: Array<Bool> => Vec<bool>,
        oldest_position: Array<Int8> => Vec<i64>,
        snapshot: Array<Binary> => Vec<&'a [u8]>,
        state_bytes: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO rooms (room_nid, room_id, partition, version, create_nid, latest_nids, members_root, other_root, \
     depth, last_seq, joined_members, invited_members, published, parked, forked, has_gaps, oldest_position, \
     snapshot, state_bytes) SELECT room_nid, room_id, partition, version, create_nid, latest_nids::bigint[], members_root, other_root, \
     depth, last_seq, joined_members, invited_members, published, parked, forked, has_gaps, oldest_position, \
     snapshot, state_bytes FROM unnest(",
    ") AS v(room_nid, room_id, partition, version, create_nid, latest_nids, members_root, other_root, \
     depth, last_seq, joined_members, invited_members, published, parked, forked, has_gaps, oldest_position, snapshot, \
     state_bytes)"
}

statement! {
    /// Sets the front of rooms.
    UpdateRooms {
        room_nid: Array<Int8> => Vec<i64>,
        latest_nids: Array<Text> => Vec<String>,
        members_root: Array<Int8> => Vec<i64>,
        other_root: Array<Int8> => Vec<i64>,
        depth: Array<Int8> => Vec<i64>,
        last_seq: Array<Int8> => Vec<i64>,
        joined_members: Array<Int4> => Vec<i32>,
        invited_members: Array<Int4> => Vec<i32>,
        published: Array<Bool> => Vec<bool>,
        parked: Array<Int4> => Vec<i32>,
        forked: Array<Bool> => Vec<bool>,
        has_gaps: Array<Bool> => Vec<bool>,
        oldest_position: Array<Int8> => Vec<i64>,
        snapshot: Array<Binary> => Vec<&'a [u8]>,
        state_bytes: Array<Int8> => Vec<i64>,
    }
    "UPDATE rooms AS r SET latest_nids = v.latest_nids::bigint[], members_root = v.members_root, \
     other_root = v.other_root, depth = v.depth, last_seq = v.last_seq, joined_members = v.joined_members, \
     invited_members = v.invited_members, published = v.published, parked = v.parked, forked = v.forked, \
     has_gaps = v.has_gaps, oldest_position = v.oldest_position, snapshot = v.snapshot, \
     state_bytes = v.state_bytes FROM unnest(",
    ") AS v(room_nid, latest_nids, members_root, other_root, depth, last_seq, joined_members, invited_members, \
     published, parked, forked, has_gaps, oldest_position, snapshot, state_bytes) WHERE r.room_nid = v.room_nid"
}

statement! {
    /// Adds events.
    InsertEvents {
        event_nid: Array<Int8> => Vec<i64>,
        room_nid: Array<Int8> => Vec<i64>,
        event_id: Array<Text> => Vec<&'a str>,
        event_type: Array<Text> => Vec<&'a str>,
        state_key: Array<Nullable<Text>> => Vec<Option<&'a str>>,
        sender: Array<Text> => Vec<&'a str>,
        depth: Array<Int8> => Vec<i64>,
        origin_server_ts: Array<Int8> => Vec<i64>,
        received_ts: Array<Int8> => Vec<i64>,
        flags: Array<Int4> => Vec<i32>,
        visibility: Array<Int2> => Vec<i16>,
        auth_generation: Array<Int4> => Vec<i32>,
        auth_nids: Array<Text> => Vec<String>,
        prev_nids: Array<Text> => Vec<String>,
        members_root: Array<Int8> => Vec<i64>,
        other_root: Array<Int8> => Vec<i64>,
        replaces_nid: Array<Nullable<Int8>> => Vec<Option<i64>>,
        seq: Array<Nullable<Int8>> => Vec<Option<i64>>,
        txn_device_id: Array<Nullable<Text>> => Vec<Option<&'a str>>,
        txn_id: Array<Nullable<Text>> => Vec<Option<&'a str>>,
        value: Array<Nullable<Text>> => Vec<Option<String>>,
    }
    "INSERT INTO events (event_nid, room_nid, event_id, type, state_key, sender, depth, origin_server_ts, \
     received_ts, flags, visibility, auth_generation, auth_nids, prev_nids, members_root, other_root, replaces_nid, \
     seq, txn_device_id, txn_id, value) \
     SELECT event_nid, room_nid, event_id, type, state_key, sender, depth, origin_server_ts, \
     received_ts, flags, visibility, auth_generation, auth_nids::bigint[], prev_nids::bigint[], members_root, \
     other_root, replaces_nid, seq, txn_device_id, txn_id, value FROM unnest(",
    ") AS v(event_nid, room_nid, event_id, type, state_key, sender, depth, origin_server_ts, \
     received_ts, flags, visibility, auth_generation, auth_nids, prev_nids, members_root, other_root, replaces_nid, \
     seq, txn_device_id, txn_id, value)"
}

statement! {
    /// Gives outliers their place in the graph.
    PlaceEvents {
        event_nid: Array<Int8> => Vec<i64>,
        received_ts: Array<Int8> => Vec<i64>,
        flags: Array<Int4> => Vec<i32>,
        visibility: Array<Int2> => Vec<i16>,
        auth_generation: Array<Int4> => Vec<i32>,
        auth_nids: Array<Text> => Vec<String>,
        prev_nids: Array<Text> => Vec<String>,
        members_root: Array<Int8> => Vec<i64>,
        other_root: Array<Int8> => Vec<i64>,
        replaces_nid: Array<Nullable<Int8>> => Vec<Option<i64>>,
        seq: Array<Nullable<Int8>> => Vec<Option<i64>>,
        value: Array<Nullable<Text>> => Vec<Option<String>>,
    }
    "UPDATE events AS e SET received_ts = v.received_ts, flags = v.flags, visibility = v.visibility, \
     auth_generation = v.auth_generation, auth_nids = v.auth_nids::bigint[], prev_nids = v.prev_nids::bigint[], \
     members_root = v.members_root, other_root = v.other_root, replaces_nid = v.replaces_nid, seq = v.seq, \
     value = v.value FROM unnest(",
    ") AS v(event_nid, received_ts, flags, visibility, auth_generation, auth_nids, prev_nids, members_root, other_root, \
     replaces_nid, seq, value) WHERE e.event_nid = v.event_nid"
}

statement! {
    /// Adds the JSON of events.
    InsertEventJson {
        event_nid: Array<Int8> => Vec<i64>,
        json: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO event_json (event_nid, json) SELECT * FROM unnest(", ")"
}

statement! {
    /// Sets the flags of events that were redacted, and what is left of their values.
    UpdateEventFlags {
        event_nid: Array<Int8> => Vec<i64>,
        flags: Array<Int4> => Vec<i32>,
        value: Array<Nullable<Text>> => Vec<Option<String>>,
    }
    "UPDATE events AS e SET flags = v.flags, value = v.value FROM unnest(",
    ") AS v(event_nid, flags, value) WHERE e.event_nid = v.event_nid"
}

statement! {
    /// Rewrites the JSON of events that were redacted.
    UpdateEventJson {
        event_nid: Array<Int8> => Vec<i64>,
        json: Array<Binary> => Vec<&'a [u8]>,
    }
    "UPDATE event_json AS e SET json = v.json FROM unnest(",
    ") AS v(event_nid, json) WHERE e.event_nid = v.event_nid"
}

statement! {
    /// Adds nodes of state tries.
    InsertNodes {
        room_nid: Array<Int8> => Vec<i64>,
        node_nid: Array<Int8> => Vec<i64>,
        body: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO state_node (room_nid, node_nid, body) SELECT * FROM unnest(", ")"
}

statement! {
    /// Sets current memberships. Whom a snapshot told of keeps the mark of that in the place of a first event.
    UpsertMembers {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
        membership: Array<Text> => Vec<&'a str>,
        event_nid: Array<Int8> => Vec<i64>,
        seq: Array<Int8> => Vec<i64>,
        forgotten: Array<Bool> => Vec<bool>,
        began: Array<Int8> => Vec<i64>,
        seen: Array<Bool> => Vec<bool>,
        first: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO room_members (room_nid, snapshot, user_id, membership, event_nid, seq, forgotten, since_seq, first_seq) \
     SELECT v.room_nid, r.snapshot, v.user_id, v.membership, v.event_nid, v.seq, v.forgotten, \
     CASE WHEN m.membership = v.membership AND NOT v.seen THEN m.since_seq ELSE v.began END, \
     COALESCE(m.first_seq, v.first) FROM unnest(",
    ") AS v(room_nid, user_id, membership, event_nid, seq, forgotten, began, seen, first) \
     JOIN rooms AS r ON r.room_nid = v.room_nid LEFT JOIN room_members AS m \
     ON m.room_nid = v.room_nid AND m.snapshot = r.snapshot AND m.user_id = v.user_id \
     ON CONFLICT (room_nid, snapshot, user_id) DO UPDATE SET membership = excluded.membership, \
     event_nid = excluded.event_nid, seq = excluded.seq, forgotten = excluded.forgotten, \
     since_seq = excluded.since_seq, first_seq = excluded.first_seq"
}

statement! {
    /// Notes which versions of profiles member events have.
    MarkProfiles {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
    }
    "UPDATE room_members AS m SET profile_version = v.version FROM unnest(",
    ") AS v(room_nid, user_id, version) JOIN rooms AS r ON r.room_nid = v.room_nid \
     WHERE m.room_nid = v.room_nid AND m.snapshot = r.snapshot AND m.user_id = v.user_id"
}

statement! {
    /// Notes that users have forgotten rooms.
    ForgetRooms {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
    }
    "UPDATE room_members AS m SET forgotten = true FROM unnest(",
    ") AS v(room_nid, user_id) JOIN rooms AS r ON r.room_nid = v.room_nid \
     WHERE m.room_nid = v.room_nid AND m.snapshot = r.snapshot AND m.user_id = v.user_id"
}

statement! {
    /// Keeps redactions.
    UpsertRedactions {
        redacts_id: Array<Text> => Vec<&'a str>,
        redaction_nid: Array<Int8> => Vec<i64>,
        room_nid: Array<Int8> => Vec<i64>,
        applied: Array<Bool> => Vec<bool>,
    }
    "INSERT INTO redactions (redacts_id, redaction_nid, room_nid, applied) SELECT * FROM unnest(",
    ") ON CONFLICT (redacts_id, redaction_nid) DO UPDATE SET applied = excluded.applied"
}

statement! {
    /// Removes aliases.
    DeleteAliases {
        alias: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM aliases WHERE alias = ANY(", ")"
}

statement! {
    /// Points aliases at other rooms.
    MoveAliases {
        alias: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
    }
    "UPDATE aliases AS a SET room_id = v.room_id FROM unnest(", ") AS v(alias, room_id) WHERE a.alias = v.alias"
}

statement! {
    /// Adds aliases. One that has been taken by another partition meanwhile is a conflict, and the input is applied again.
    InsertAliases {
        alias: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
        creator: Array<Text> => Vec<&'a str>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO aliases (alias, room_id, creator, created_ts) SELECT * FROM unnest(", ")"
}
