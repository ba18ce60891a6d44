//! Knocking.

pub(crate) mod knock_room;
