//! Rooms as a whole, and their events.

pub(crate) mod aliases;
pub(crate) mod create_room;
pub(crate) mod get_event_by_timestamp;
pub(crate) mod get_relations;
pub(crate) mod get_room_event;
pub(crate) mod get_summary;
pub(crate) mod get_threads;
pub(crate) mod upgrade_room;
mod versioned;
