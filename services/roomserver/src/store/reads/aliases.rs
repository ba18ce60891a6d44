//! Local room aliases.

use diesel::{Queryable, sql_types::Text};

use super::query::query;

/// Where an alias points.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct AliasRow {
    pub(crate) room_id: String,
    pub(crate) creator: String,
}

query! {
    /// Finds the room of an alias.
    fn find<'a>(alias: str as Text) -> AliasRow as (Text, Text) =
        "SELECT room_id, creator FROM aliases WHERE alias = ?";
}

query! {
    /// Lists the aliases of a room in order. A room that has more has them from when their number was not bounded.
    fn list<'a>(room_id: str as Text) -> (String,) as (Text) =
        "SELECT alias FROM aliases WHERE room_id = ? ORDER BY alias LIMIT 1000";
}
