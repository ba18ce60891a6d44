//! Writes relations between events, and the counts of threads.
//!
//! Derived from the events of the batch as they are written: whoever stores an event need not think of it.

use std::{collections::BTreeMap, marker::PhantomData};

use diesel::sql_types::{Array, Binary, Bool, Int8, Nullable, Text};
use ruma::EventId;
use serde::{Deserialize, de::IgnoredAny};

use super::Pipeline;
use crate::{
    rooms::{EventRow, StoredEvent, annotation_key, flags, is_name},
    store::{reads::events::HIDDEN, statement::statement},
};

/// What the content of every event with a relation contains.
const MARK: &[u8] = b"\"m.relates_to\"";
/// Relation type of threads.
const THREAD: &str = "m.thread";
/// Relation type of annotations.
const ANNOTATION: &str = "m.annotation";

/// A relation of an event to another one.
#[derive(Debug, PartialEq, Eq)]
struct Relation {
    relates_to_id: String,
    rel_type: String,
    replaces: bool,
    /// What stands for the key of an annotation.
    annotation_key: Option<[u8; 16]>,
}

impl Relation {
    /// Finds the relation that an event makes. What does not fit the schema makes none.
    fn of(event: &StoredEvent) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            content: Content,
        }
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relates_to: RelatesTo,
            #[serde(rename = "m.new_content")]
            new_content: Option<BTreeMap<String, IgnoredAny>>,
        }
        #[derive(Deserialize)]
        struct RelatesTo {
            rel_type: String,
            event_id: String,
            key: Option<serde_json::Value>,
        }
        if !event.json.windows(MARK.len()).any(|window| window == MARK) {
            return None;
        }
        let Event { content: Content { relates_to, new_content } } =
            serde_json::from_slice(&event.json).ok()?;
        let RelatesTo { rel_type, event_id, key } = relates_to;
        <&EventId>::try_from(event_id.as_str()).ok()?;
        if !is_name(&rel_type) || !is_name(&event_id) {
            return None;
        }
        Some(Self {
            replaces: rel_type == "m.replace"
                && event.state_key.is_none()
                && (new_content.is_some() || event.event_type == "m.room.encrypted"),
            annotation_key: key
                .as_ref()
                .and_then(serde_json::Value::as_str)
                .filter(|_| rel_type == ANNOTATION && event.state_key.is_none())
                .map(annotation_key),
            relates_to_id: event_id,
            rel_type,
        })
    }
}

/// Writes the relations of events that become part of the timeline.
pub(super) fn write_new<'e>(pipeline: &mut Pipeline<'_>, events: impl Iterator<Item = &'e EventRow>) {
    let related: Vec<_> = events
        .filter(|row| row.event.flags & (HIDDEN | flags::REDACTED) == 0)
        .filter_map(|row| Some((row, row.event.seq?, Relation::of(&row.event)?)))
        .collect();
    if related.is_empty() {
        return;
    }
    pipeline.add(
        InsertRelations::NAME,
        InsertRelations {
            event_nid: related.iter().map(|(row, ..)| row.event.nid.0).collect(),
            room_nid: related.iter().map(|(row, ..)| row.event.room_nid.0).collect(),
            event_id: related.iter().map(|(row, ..)| row.event.event_id.as_str()).collect(),
            relates_to_id: related.iter().map(|(.., relation)| relation.relates_to_id.as_str()).collect(),
            rel_type: related.iter().map(|(.., relation)| relation.rel_type.as_str()).collect(),
            event_type: related.iter().map(|(row, ..)| row.event.event_type.as_str()).collect(),
            sender: related.iter().map(|(row, ..)| row.event.sender.as_str()).collect(),
            origin_server_ts: related.iter().map(|(row, ..)| row.event.origin_server_ts).collect(),
            seq: related.iter().map(|(_, seq, _)| *seq).collect(),
            replaces: related.iter().map(|(.., relation)| relation.replaces).collect(),
            annotation_key: related
                .iter()
                .map(|(.., relation)| relation.annotation_key.as_ref().map(<[u8; 16]>::as_slice))
                .collect(),
            lifetime: PhantomData,
        },
    );
    // Of each thread: how many replies, and position and number of the latest.
    let mut threads: BTreeMap<(i64, &str), (i64, i64, i64)> = BTreeMap::new();
    for (row, seq, relation) in related.iter().filter(|(.., relation)| relation.rel_type == THREAD) {
        let key = (row.event.room_nid.0, relation.relates_to_id.as_str());
        let (replies, latest_seq, latest_nid) = threads.entry(key).or_insert((0, i64::MIN, 0));
        *replies += 1;
        if *seq > *latest_seq {
            (*latest_seq, *latest_nid) = (*seq, row.event.nid.0);
        }
    }
    if !threads.is_empty() {
        pipeline.add(
            GrowThreads::NAME,
            GrowThreads {
                room_nid: threads.keys().map(|(room, _)| *room).collect(),
                root_id: threads.keys().map(|(_, root)| *root).collect(),
                replies: threads.values().map(|(replies, ..)| *replies).collect(),
                latest_nid: threads.values().map(|(.., nid)| *nid).collect(),
                latest_seq: threads.values().map(|(_, seq, _)| *seq).collect(),
                lifetime: PhantomData,
            },
        );
    }
}

/// Removes the relations of events that were redacted.
pub(super) fn write_redacted<'e>(pipeline: &mut Pipeline<'_>, events: impl Iterator<Item = &'e StoredEvent>) {
    let redacted: Vec<i64> =
        events.filter(|event| event.flags & flags::REDACTED != 0).map(|event| event.nid.0).collect();
    if !redacted.is_empty() {
        pipeline.add(RemoveRelations::NAME, RemoveRelations { event_nid: redacted, lifetime: PhantomData });
    }
}

statement! {
    /// Adds relations.
    InsertRelations {
        event_nid: Array<Int8> => Vec<i64>,
        room_nid: Array<Int8> => Vec<i64>,
        event_id: Array<Text> => Vec<&'a str>,
        relates_to_id: Array<Text> => Vec<&'a str>,
        rel_type: Array<Text> => Vec<&'a str>,
        event_type: Array<Text> => Vec<&'a str>,
        sender: Array<Text> => Vec<&'a str>,
        origin_server_ts: Array<Int8> => Vec<i64>,
        seq: Array<Int8> => Vec<i64>,
        replaces: Array<Bool> => Vec<bool>,
        annotation_key: Array<Nullable<Binary>> => Vec<Option<&'a [u8]>>,
    }
    "INSERT INTO event_relations (event_nid, room_nid, event_id, relates_to_id, rel_type, type, sender, \
     origin_server_ts, seq, replaces, annotation_key) SELECT * FROM unnest(", ")"
}

statement! {
    /// Counts new replies of threads.
    GrowThreads {
        room_nid: Array<Int8> => Vec<i64>,
        root_id: Array<Text> => Vec<&'a str>,
        replies: Array<Int8> => Vec<i64>,
        latest_nid: Array<Int8> => Vec<i64>,
        latest_seq: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO threads AS t (room_nid, root_id, replies, latest_nid, latest_seq) SELECT * FROM unnest(",
    ") ON CONFLICT (room_nid, root_id) DO UPDATE SET replies = t.replies + excluded.replies, \
     latest_nid = CASE WHEN t.replies > 0 AND t.latest_seq > excluded.latest_seq \
       THEN t.latest_nid ELSE excluded.latest_nid END, \
     latest_seq = CASE WHEN t.replies > 0 AND t.latest_seq > excluded.latest_seq \
       THEN t.latest_seq ELSE excluded.latest_seq END"
}

statement! {
    /// Removes relations, and what threads had of them. All of it reads the relations as they were, so those that go
    /// are left out by name where the latest reply is looked for.
    RemoveRelations {
        event_nid: Array<Int8> => Vec<i64>,
    }
    "WITH chosen AS (SELECT ",
    "::bigint[] AS nids), \
     gone AS (DELETE FROM event_relations r USING chosen c WHERE r.event_nid = ANY(c.nids) \
       RETURNING r.room_nid, r.relates_to_id, r.rel_type), \
     shrunk AS (SELECT room_nid, relates_to_id, count(*) AS replies FROM gone WHERE rel_type = 'm.thread' \
       GROUP BY room_nid, relates_to_id) \
     UPDATE threads t SET replies = t.replies - s.replies, latest_nid = coalesce(l.event_nid, 0), \
       latest_seq = coalesce(l.seq, 0) \
     FROM shrunk s CROSS JOIN chosen c LEFT JOIN LATERAL ( \
       SELECT r.event_nid, r.seq FROM event_relations r \
       WHERE r.room_nid = s.room_nid AND r.relates_to_id = s.relates_to_id AND r.rel_type = 'm.thread' \
         AND r.event_nid <> ALL(c.nids) ORDER BY r.seq DESC LIMIT 1) l ON true \
     WHERE t.room_nid = s.room_nid AND t.root_id = s.relates_to_id"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn relation(event_type: &str, state_key: Option<&str>, content: Value) -> Option<Relation> {
        let json = json!({ "content": content }).to_string();
        Relation::of(&StoredEvent::sample(event_type, state_key, json))
    }

    fn related(rel_type: &str, more: Value) -> Value {
        let mut content = json!({ "m.relates_to": { "rel_type": rel_type, "event_id": "$parent" } });
        content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        content
    }

    #[test]
    fn relations_are_found() {
        let found = relation("m.room.message", None, related("m.thread", json!({}))).unwrap();
        assert_eq!((found.relates_to_id.as_str(), found.rel_type.as_str()), ("$parent", "m.thread"));
        assert!(!found.replaces);
    }

    #[test]
    fn replacements_need_new_content_unless_encrypted() {
        let edit = related("m.replace", json!({ "m.new_content": {} }));
        assert!(relation("m.room.message", None, edit.clone()).unwrap().replaces);
        assert!(!relation("m.room.name", Some(""), edit).unwrap().replaces);
        assert!(!relation("m.room.message", None, related("m.replace", json!({}))).unwrap().replaces);
        assert!(relation("m.room.encrypted", None, related("m.replace", json!({}))).unwrap().replaces);
    }

    #[test]
    fn what_is_malformed_is_no_relation() {
        let long = "x".repeat(300);
        for content in [
            json!({}),
            json!({ "m.relates_to": {} }),
            json!({ "m.relates_to": "$parent" }),
            json!({ "m.relates_to": { "rel_type": 1, "event_id": "$parent" } }),
            json!({ "m.relates_to": { "rel_type": "m.thread", "event_id": "parent" } }),
            json!({ "m.relates_to": { "rel_type": "m.thread", "event_id": format!("${long}") } }),
            json!({ "m.relates_to": { "rel_type": long, "event_id": "$parent" } }),
            json!({ "m.relates_to": { "rel_type": "a\0b", "event_id": "$parent" } }),
            json!({ "m.relates_to": { "event_id": "$parent", "m.in_reply_to": { "event_id": "$x" } } }),
            json!({ "body": "\"m.relates_to\"" }),
        ] {
            assert_eq!(relation("m.room.message", None, content.clone()), None, "{content}");
        }
    }
}
