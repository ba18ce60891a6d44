//! Rooms: what becomes of an input. Pure: no SQL, no gRPC, no clock, no randomness.
//!
//! The worker hands [`apply()`] a room, an input and what it has loaded ([`Source`]); it gets back what to write and what
//! to put out, a refusal, or what has to be loaded first. The same inputs in the same order give the same rooms.

mod aliases;
mod apply;
mod auth;
mod control;
mod create;
pub(crate) mod event;
mod hot;
pub(crate) mod ids;
mod intent;
pub(crate) mod outcome;
mod receipts;
mod redaction;
mod restricted;
pub(crate) mod room;
pub(crate) mod source;
mod state;
#[cfg(test)]
mod tests;
pub(crate) mod trie;
mod txn;
mod work;

#[expect(
    unused_imports,
    reason = "the interface for the worker and the queries; parts of it are used as they come"
)]
pub(crate) use self::{
    apply::{Env, RoomInput, apply},
    event::{StoredEvent, flags, visibility_from_str},
    ids::{Counters, EventNid, NodeNid, RoomNid},
    outcome::{
        AliasRow, Applied, EventRow, MemberRow, NodeRow, Outcome, Output, ReceiptRow, RedactionRow, RoomRow,
        Rows,
    },
    room::{Latest, Room, RoomParts},
    source::{AliasTarget, JOINED_LOCAL_LIMIT, Needs, ReceiptKey, Source},
    trie::{Change, DecodeError, Key, Missing, NewNodes, Node, Nodes, Trie, diff},
    txn::txn_key,
};
