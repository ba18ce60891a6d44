//! Accounts as operators see them: without their secrets.

use diesel::{
    Queryable,
    sql_types::{Bool, Int8, Text},
};

use super::query::query;

/// An account.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct AccountRow {
    pub(crate) user_id: String,
    pub(crate) has_password: bool,
    pub(crate) guest: bool,
    pub(crate) admin: bool,
    pub(crate) deactivated: bool,
    pub(crate) erased: bool,
    pub(crate) created_ts: i64,
}

query! {
    /// Finds an account.
    fn find<'a>(user_id: str as Text) -> AccountRow as (Text, Bool, Bool, Bool, Bool, Bool, Int8) =
        "SELECT user_id, password_hash IS NOT NULL, guest, admin, deactivated, erased_ts IS NOT NULL, created_ts \
         FROM accounts WHERE user_id = ?";
}

query! {
    /// Lists accounts after one, by user ID.
    fn list<'a>(after: str as Text, count: i64 as Int8)
        -> AccountRow as (Text, Bool, Bool, Bool, Bool, Bool, Int8) =
        "SELECT user_id, password_hash IS NOT NULL, guest, admin, deactivated, erased_ts IS NOT NULL, created_ts \
         FROM accounts WHERE user_id > ? ORDER BY user_id LIMIT ?";
}
