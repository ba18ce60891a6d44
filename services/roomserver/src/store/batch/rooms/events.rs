//! `events` and `event_json`: merges and writes events.

use std::{collections::HashMap, fmt::Write as _, marker::PhantomData, sync::Arc};

use diesel::sql_types::{Array, Binary, Int2, Int4, Int8, Nullable, Text};
use indexmap::IndexMap;

use crate::{
    rooms::{EventNid, EventRow, StoredEvent},
    store::{
        batch::{Pipeline, relations},
        statement::statement,
    },
};

/// Events of a batch.
#[derive(Default)]
pub(super) struct Events {
    new: Vec<EventRow>,
    index: HashMap<EventNid, usize>,
    rewritten: IndexMap<EventNid, Arc<StoredEvent>>,
    /// Outliers that have become part of the graph.
    placed: IndexMap<EventNid, EventRow>,
}

impl Events {
    /// Adds the events of one input, over those of the inputs before it.
    pub(super) fn merge(
        &mut self,
        new: Vec<EventRow>,
        placed: Vec<EventRow>,
        rewritten: Vec<Arc<StoredEvent>>,
    ) {
        for row in placed {
            match self.index.get(&row.event.nid).and_then(|index| self.new.get_mut(*index)) {
                Some(known) => *known = row,
                None => {
                    self.rewritten.shift_remove(&row.event.nid);
                    self.placed.insert(row.event.nid, row);
                }
            }
        }
        for event in new {
            self.index.insert(event.event.nid, self.new.len());
            self.new.push(event);
        }
        for event in rewritten {
            let made = self.index.get(&event.nid).and_then(|index| self.new.get_mut(*index));
            match made.or_else(|| self.placed.get_mut(&event.nid)) {
                Some(row) => row.event = event,
                None => {
                    self.rewritten.insert(event.nid, event);
                }
            }
        }
    }

    /// Writes new and redacted events, with their relations.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        self.write_new(pipeline);
        relations::write_new(pipeline, self.new.iter().chain(self.placed.values()));
        self.write_rewritten(pipeline);
        relations::write_redacted(pipeline, self.rewritten.values().map(AsRef::as_ref));
    }

    /// Makes outliers part of the graph.
    pub(super) fn write_placed(&self, pipeline: &mut Pipeline<'_>) {
        if self.placed.is_empty() {
            return;
        }
        let rows: Vec<&EventRow> = self.placed.values().collect();
        pipeline.add(PlaceEvents::NAME, PlaceEvents::of(&rows));
        let events = rows.iter().map(|row| row.event.as_ref());
        pipeline.add(UpdateEventJson::NAME, UpdateEventJson::of(events));
    }

    fn write_new(&self, pipeline: &mut Pipeline<'_>) {
        let rows = &self.new;
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
        let events = self.rewritten.values().map(AsRef::as_ref);
        pipeline.add(UpdateEventJson::NAME, UpdateEventJson::of(events));
    }
}

impl<'a> UpdateEventJson<'a> {
    fn of(events: impl Iterator<Item = &'a StoredEvent>) -> Self {
        let (event_nid, json) = events.map(|event| (event.nid.0, event.json.as_ref())).unzip();
        Self { event_nid, json, lifetime: PhantomData }
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

/// An array as text: arrays of arrays have to be rectangular in Postgres, so `unnest` cannot take them.
pub(super) fn array(nids: &[EventNid]) -> String {
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
    /// Makes outliers part of the graph.
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
