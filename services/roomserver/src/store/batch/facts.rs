//! Entries of the current state that are read for many rooms at once: what a room is, and which rooms a space has.
//!
//! Derived from what is put out, so that it changes with the state whatever changed that.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int8, Nullable, Text};
use indexmap::IndexMap;
use plexus_proto::log::v1::output_room_event::Body;

use super::Pipeline;
use crate::{
    rooms::{FactRow, Output, RoomNid, is_fact},
    store::statement::statement,
};

/// Entries that changed, by room, type and state key.
#[derive(Default)]
pub(crate) struct Facts {
    changed: IndexMap<(RoomNid, String, String), Holder>,
}

/// What holds an entry now.
#[derive(Debug)]
struct Holder {
    /// The event; empty if there is none any more, or only its numeric ID is told.
    event_id: String,
    /// Its numeric ID, if that is known.
    nid: Option<i64>,
}

impl Holder {
    fn is_present(&self) -> bool {
        self.nid.is_some() || !self.event_id.is_empty()
    }
}

impl Facts {
    /// Takes what a record says of the state of its room, over what earlier ones said.
    pub(crate) fn note(&mut self, room: RoomNid, output: &Output) {
        let Some(Body::NewEvent(new)) = &output.record.body else { return };
        for change in new.delta.iter().flat_map(|delta| &delta.changes) {
            if is_fact(&change.r#type, &change.state_key) {
                let own = output.event_nid.filter(|_| change.event_id == new.event_id);
                let holder = Holder { event_id: change.event_id.clone(), nid: own.map(|nid| nid.0) };
                self.changed.insert((room, change.r#type.clone(), change.state_key.clone()), holder);
            }
        }
    }

    /// Takes what no record says.
    pub(crate) fn take(&mut self, rows: Vec<FactRow>) {
        for FactRow { room_nid, event_type, state_key, nid } in rows {
            let nid = nid.map(|nid| nid.0);
            self.changed.insert((room_nid, event_type, state_key), Holder { event_id: String::new(), nid });
        }
    }

    /// Rooms of which the entry of a type, with an empty state key, has changed.
    pub(crate) fn changed(&self, event_type: &str) -> impl Iterator<Item = RoomNid> {
        let keys = self.changed.keys();
        keys.filter(move |(_, changed, state_key)| changed == event_type && state_key.is_empty())
            .map(|(room, ..)| *room)
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        let present = || self.changed.iter().filter(|(_, holder)| holder.is_present());
        let gone = || self.changed.iter().filter(|(_, holder)| !holder.is_present());
        if present().next().is_some() {
            pipeline.add(
                UpsertFacts::NAME,
                UpsertFacts {
                    room_nid: present().map(|((room, ..), _)| room.0).collect(),
                    event_type: present().map(|((_, event_type, _), _)| event_type.as_str()).collect(),
                    state_key: present().map(|((.., state_key), _)| state_key.as_str()).collect(),
                    event_id: present().map(|(_, holder)| holder.event_id.as_str()).collect(),
                    event_nid: present().map(|(_, holder)| holder.nid).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if gone().next().is_some() {
            pipeline.add(
                DeleteFacts::NAME,
                DeleteFacts {
                    room_nid: gone().map(|((room, ..), _)| room.0).collect(),
                    event_type: gone().map(|((_, event_type, _), _)| event_type.as_str()).collect(),
                    state_key: gone().map(|((.., state_key), _)| state_key.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Sets entries.
    UpsertFacts {
        room_nid: Array<Int8> => Vec<i64>,
        event_type: Array<Text> => Vec<&'a str>,
        state_key: Array<Text> => Vec<&'a str>,
        event_id: Array<Text> => Vec<&'a str>,
        event_nid: Array<Nullable<Int8>> => Vec<Option<i64>>,
    }
    "INSERT INTO room_facts (room_nid, snapshot, type, state_key, event_nid) \
     SELECT v.room_nid, r.snapshot, v.type, v.state_key, coalesce(v.event_nid, e.event_nid) FROM unnest(",
    ") AS v(room_nid, type, state_key, event_id, event_nid) \
     JOIN rooms r ON r.room_nid = v.room_nid LEFT JOIN events e ON v.event_nid IS NULL AND e.event_id = v.event_id \
     WHERE v.event_nid IS NOT NULL OR e.event_nid IS NOT NULL \
     ON CONFLICT (room_nid, snapshot, type, state_key) DO UPDATE SET event_nid = excluded.event_nid"
}

statement! {
    /// Removes entries.
    DeleteFacts {
        room_nid: Array<Int8> => Vec<i64>,
        event_type: Array<Text> => Vec<&'a str>,
        state_key: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM room_facts f USING unnest(",
    ") AS v(room_nid, type, state_key) JOIN rooms r ON r.room_nid = v.room_nid \
     WHERE f.room_nid = v.room_nid AND f.snapshot = r.snapshot AND f.type = v.type AND f.state_key = v.state_key"
}
