//! Rooms: what becomes of an input. Pure: no SQL, no gRPC, no clock, no randomness.
//!
//! The worker hands [`apply()`] a room, an input and what it has loaded ([`Source`]); it gets back what to write and what
//! to put out, a refusal, or what has to be loaded first. The same inputs in the same order give the same rooms.

mod aliases;
mod apply;
mod auth;
mod control;
mod create;
mod effort;
mod event;
mod facts;
mod foresight;
mod front;
mod hot;
pub(crate) mod ids;
mod intent;
mod local_rules;
mod members;
pub(crate) mod outcome;
mod parked;
mod parking;
mod place;
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
mod servers;
#[cfg(test)]
pub(crate) mod slow;
mod snapshot;
pub(crate) mod source;
mod state;
mod states;
#[cfg(test)]
mod tests;
pub(crate) mod trie;
mod txn;
mod upgrade;
mod value;
mod weight;
mod work;

#[expect(
    unused_imports,
    reason = "the interface for the worker and the queries; parts of it are used as they come"
)]
pub(crate) use self::{
    apply::{Env, RoomInput, apply, parts},
    effort::{Budget, Effort},
    event::{StoredEvent, flags, visibility_from_str},
    facts::is_fact,
    foresight::{Foresight, foresee},
    ids::{Counters, EventNid, NodeNid, ParkedNid, RoomNid},
    outcome::{
        AliasRow, Applied, DecisionRow, EventRow, FactRow, MemberRow, NodeRow, Outcome, Output, ParkedRow,
        ProfileMarkRow, PurgeRow, ReceiptRow, RedactionRow, RoomRow, RoomStateRow, Rows, SnapshotChunkRow,
        StateResetRow, ToldFact, ToldMember, ToldRows, UpgradeRow,
    },
    parked::{ParkedEntries, ParkedEntry},
    relations::annotation_key,
    room::{Latest, Room, RoomParts},
    snapshot::Token,
    source::{
        AliasCounts, AliasTarget, AnnotationKey, Arrival, JOINED_LOCAL_LIMIT, MemberProfile, Needs,
        ReceiptKey, ServerKey, Source,
    },
    trie::{Change, DecodeError, Key, Missing, NewNodes, Node, Nodes, Trie, diff},
    txn::{transaction_key, txn_key},
    value::{VALUES, is_name, storable, value_of},
};
