//! Memberships out of band: in rooms that this server is not in.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Int8, Text},
};

use super::query::query;

/// What a user is in a room, without what the room looks like.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct MemberRow {
    pub(crate) user_id: String,
    pub(crate) membership: String,
    pub(crate) event_id: String,
    pub(crate) sender: String,
    pub(crate) origin: String,
    pub(crate) room_version: String,
}

query! {
    /// Lists those of the users who are something in a room.
    fn list<'a>(room_id: str as Text, user_ids: [String] as Array<Text>)
        -> MemberRow as (Text, Text, Text, Text, Text, Text) =
        "SELECT user_id, membership, event_id, sender, origin, room_version FROM out_of_band_memberships \
         WHERE room_id = ? AND user_id = ANY(?) ORDER BY user_id";
}

/// What a user is in a room.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct RoomRow {
    pub(crate) room_id: String,
    pub(crate) membership: String,
    pub(crate) event: Vec<u8>,
    pub(crate) event_id: String,
    pub(crate) sender: String,
    pub(crate) origin: String,
    pub(crate) room_version: String,
    pub(crate) stripped_state: Vec<u8>,
    pub(crate) seq: i64,
}

query! {
    /// Lists what a user is in rooms, by room.
    fn list_of_user<'a>(user_id: str as Text) -> RoomRow as (
        Text, Text, Binary, Text, Text, Text, Text, Binary, Int8
    ) = "SELECT room_id, membership, event, event_id, sender, origin, room_version, stripped_state, seq \
         FROM out_of_band_memberships WHERE user_id = ? ORDER BY room_id";
}
