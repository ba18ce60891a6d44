//! Merges and writes the rows of rooms.

mod aliases;
mod decisions;
mod events;
mod members;
mod nodes;
mod purge;
mod received;
mod redactions;
mod room;
mod servers;
mod snapshot_rows;
mod upgrades;

use std::{collections::BTreeMap, marker::PhantomData};

use diesel::sql_types::{Array, Int2, Int8};
use indexmap::IndexMap;
use ruma::OwnedEventId;

use self::{
    aliases::Aliases,
    events::Events,
    members::Members,
    received::{Received, ReceivedRows},
    snapshot_rows::SnapshotInserts,
};
use super::{Pipeline, receipts::RoomReceipts};
use crate::{
    rooms::{EventNid, NodeRow, PurgeRow, RedactionRow, RoomNid, RoomRow, Rows, StateResetRow, UpgradeRow},
    store::statement::statement,
};

/// Rows of rooms, merged over the inputs of a batch.
#[derive(Default)]
pub(crate) struct RoomRows {
    rooms: IndexMap<RoomNid, (RoomRow, bool)>,
    events: Events,
    nodes: Vec<NodeRow>,
    members: Members,
    snapshot_inserts: SnapshotInserts,
    redactions: IndexMap<(OwnedEventId, EventNid), RedactionRow>,
    aliases: Aliases,
    upgrades: Vec<UpgradeRow>,
    receipts: RoomReceipts,
    received: ReceivedRows,
    purged: Vec<PurgeRow>,
    /// By how many rooms the directory grows, by partition.
    published: BTreeMap<u32, i64>,
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
            snapshot_rows,
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
        self.snapshot_inserts.merge(snapshot_rows);
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
        self.events.merge(events, placed, rewritten);
        self.nodes.extend(nodes);
        self.members.merge(members, forgotten, profile_marks);
        for row in redactions {
            self.redactions.insert((row.redacts_id.clone(), row.redaction_nid), row);
        }
        self.aliases.merge(aliases_set, aliases_removed, aliases_moved);
        self.upgrades.extend(upgrades);
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
        self.snapshot_inserts.check(pipeline, is_new)
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        room::write(&self.rooms, pipeline);
        self.snapshot_inserts.write(pipeline);
        self.events.write(pipeline);
        nodes::write(&self.nodes, pipeline);
        self.members.write(pipeline);
        redactions::write(&self.redactions, pipeline);
        self.aliases.write(pipeline);
        upgrades::write(pipeline, &self.upgrades);
        self.receipts.write(pipeline);
        self.events.write_placed(pipeline);
        self.received.write(pipeline);
        purge::write(pipeline, &self.purged);
        if !self.published.is_empty() {
            pipeline.add(
                CountPublished::NAME,
                CountPublished {
                    partition: self.published.keys().map(|partition| partition_column(*partition)).collect(),
                    change: self.published.values().copied().collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

fn partition_column(partition: u32) -> i16 {
    i16::try_from(partition).unwrap_or(i16::MAX)
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
