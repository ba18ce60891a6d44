//! Joining, leaving and the members of rooms.

pub(crate) mod ban_user;
pub(crate) mod forget_room;
pub(crate) mod get_member_events;
pub(crate) mod get_mutual_rooms;
pub(crate) mod invite_user;
pub(crate) mod join_body;
pub(crate) mod join_room_by_id;
pub(crate) mod join_room_by_id_or_alias;
pub(crate) mod joined_members;
pub(crate) mod joined_rooms;
pub(crate) mod kick_user;
pub(crate) mod leave_room;
pub(crate) mod unban_user;
pub(crate) mod via;
