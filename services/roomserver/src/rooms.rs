//! Rooms: decides what becomes of an input. Pure: no SQL, no gRPC, no clock, no randomness.
//!
//! The worker hands [`apply()`] a room, an input and what it has loaded ([`LoadedData`]); it gets back what to write and what
//! to put out, a refusal, or what has to be loaded first. The same inputs in the same order give the same rooms.

mod aliases;
mod apply;
mod auth_events;
mod control;
mod create;
mod directory;
mod effort;
mod entry_changes;
mod event;
mod facts;
mod forward_extremities;
pub(crate) mod ids;
mod input;
mod insert_event;
mod intent;
mod load_request;
pub(crate) mod loaded_data;
mod local_rules;
mod members;
pub(crate) mod outcome;
mod parked;
mod parking;
mod parsed_events;
mod prefetch;
mod profile;
mod purge;
mod receipts;
mod receive;
mod redaction;
mod relations;
mod reprocess;
mod resets;
mod resolution;
mod restricted;
pub(crate) mod room;
mod rows;
mod servers;
#[cfg(test)]
pub(crate) mod slow;
mod snapshot;
mod state;
mod state_cache;
mod state_change;
mod states;
#[cfg(test)]
mod tests;
pub(crate) mod trie;
mod txn;
mod update_profile;
mod upgrade;
mod value;
mod weight;
mod work;

#[expect(
    unused_imports,
    reason = "the interface for the worker and the queries; parts of it are used as they come"
)]
pub(crate) use self::{
    apply::{apply, parts},
    effort::{Budget, Effort},
    event::{StoredEvent, flags, visibility_from_str},
    facts::is_fact,
    ids::Token,
    ids::{Counters, EventNid, NodeNid, ParkedNid, RoomNid},
    input::{Env, RoomInput},
    load_request::{
        AliasCounts, AliasTarget, AnnotationKey, Arrival, LoadRequest, MemberProfile, ReceiptKey, ServerKey,
    },
    loaded_data::{JOINED_LOCAL_LIMIT, LoadedData},
    outcome::{Applied, Outcome, Output, Rows},
    parked::{ParkedEntries, ParkedEntry},
    prefetch::{Prefetch, prefetch},
    relations::annotation_key,
    room::{ForwardExtremity, Room, RoomParts},
    rows::{
        AliasRow, DecisionRow, EventRow, FactRow, MemberRow, NodeRow, ParkedRow, ProfileMarkRow, PurgeRow,
        ReceiptRow, RedactionRow, RoomRow, RoomStateRow, SnapshotChunkRow, SnapshotFact, SnapshotMember,
        SnapshotRows, StateResetRow, UpgradeRow,
    },
    trie::{Change, DecodeError, Key, Missing, NewNodes, Node, Nodes, Trie, diff},
    txn::{transaction_key, txn_key},
    value::{VALUES, is_name, storable, value_of},
};
