//! Reads for the query services. Every statement is one snapshot; what must agree is read by one statement.

pub(crate) mod accounts;
pub(crate) mod aliases;
pub(crate) mod backups;
pub(crate) mod dead_letters;
pub(crate) mod directory;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod graph;
pub(crate) mod heads;
pub(crate) mod inboxes;
pub(crate) mod keys;
pub(crate) mod media;
pub(crate) mod members;
pub(crate) mod out_of_band;
pub(crate) mod outgoing;
pub(crate) mod outgoing_edus;
pub(crate) mod parked;
pub(super) mod query;
pub(crate) mod relations;
pub(crate) mod rooms;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod timeline;
pub(crate) mod users;
pub(crate) mod vertices;
