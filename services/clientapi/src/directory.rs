//! The room directory.

pub(crate) mod get_room_visibility;
pub(crate) mod set_room_visibility;
