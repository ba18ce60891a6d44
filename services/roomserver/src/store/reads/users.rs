//! Reads accounts and their belongings.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int8, Nullable, Text},
};

use super::query::query;

/// What an access token stands for.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct SessionRow {
    pub(crate) user_id: String,
    pub(crate) device_id: String,
    pub(crate) expires_ts: i64,
    pub(crate) guest: bool,
    pub(crate) admin: bool,
    pub(crate) deactivated: bool,
    /// Whether the tokens it came to replace are still valid.
    pub(crate) replaces: bool,
    /// When the device was seen last; 0 if never.
    pub(crate) last_seen_ts: i64,
}

query! {
    /// Finds the session of an access token.
    fn find_session<'a>(token_hash: [u8] as Binary) -> SessionRow
        as (Text, Text, Int8, Bool, Bool, Bool, Bool, Int8) =
        "SELECT t.user_id, t.device_id, t.expires_ts, a.guest, a.admin, a.deactivated, \
         EXISTS (SELECT FROM refresh_tokens r WHERE r.user_id = t.user_id AND r.device_id = t.device_id \
           AND r.next_token_hash = t.refresh_token_hash), coalesce(d.last_seen_ts, 0) \
         FROM access_tokens t JOIN accounts a ON a.user_id = t.user_id \
         LEFT JOIN devices d ON d.user_id = t.user_id AND d.device_id = t.device_id WHERE t.token_hash = ?";
}

/// An account.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct AccountRow {
    pub(crate) guest: bool,
    pub(crate) admin: bool,
    pub(crate) deactivated: bool,
    pub(crate) created_ts: i64,
}

query! {
    /// Finds an account.
    fn find_account<'a>(user_id: str as Text) -> AccountRow as (Bool, Bool, Bool, Int8) =
        "SELECT guest, admin, deactivated, created_ts FROM accounts WHERE user_id = ?";
}

query! {
    /// Finds the password hash of an account, and whether the account is deactivated.
    fn find_password_hash<'a>(user_id: str as Text) -> (Option<String>, bool) as (Nullable<Text>, Bool) =
        "SELECT password_hash, deactivated FROM accounts WHERE user_id = ?";
}

query! {
    /// Finds the user and device of a refresh token.
    fn find_refresh_token<'a>(token_hash: [u8] as Binary) -> (String, String) as (Text, Text) =
        "SELECT t.user_id, t.device_id FROM refresh_tokens t JOIN accounts a ON a.user_id = t.user_id \
         WHERE t.token_hash = ? AND NOT a.deactivated";
}

/// A device.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct DeviceRow {
    pub(crate) device_id: String,
    pub(crate) display_name: Option<String>,
    pub(crate) created_ts: i64,
    pub(crate) last_seen_ts: i64,
    pub(crate) last_seen_ip: String,
}

query! {
    /// Lists devices by device ID; an empty list of IDs stands for all.
    fn list_devices<'a>(device_ids: [String] as Array<Text>, user_id: str as Text)
        -> DeviceRow as (Text, Nullable<Text>, Int8, Int8, Text) =
        "WITH chosen AS (SELECT ?::text[] AS device_ids) \
         SELECT d.device_id, d.display_name, d.created_ts, d.last_seen_ts, d.last_seen_ip FROM devices d, chosen c \
         WHERE d.user_id = ? AND (cardinality(c.device_ids) = 0 OR d.device_id = ANY(c.device_ids)) \
         ORDER BY d.device_id";
}

/// A field of a profile; without a field, the account alone.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ProfileRow {
    pub(crate) field: Option<String>,
    pub(crate) value: Option<Vec<u8>>,
}

query! {
    /// Lists the fields of a user's profile; one empty row if the account exists but has none, no row if there is no
    /// such account or it was erased.
    fn list_profile<'a>(user_id: str as Text) -> ProfileRow as (Nullable<Text>, Nullable<Binary>) =
        "SELECT p.field, p.value FROM accounts a LEFT JOIN profiles p ON p.user_id = a.user_id \
         WHERE a.user_id = ? AND a.erased_ts IS NULL";
}

query! {
    /// Finds a piece of account data.
    fn find_account_data<'a>(user_id: str as Text, room_id: str as Text, event_type: str as Text)
        -> (Vec<u8>,) as (Binary) =
        "SELECT content FROM account_data WHERE user_id = ? AND room_id = ? AND type = ?";
}

query! {
    /// Finds a filter.
    fn find_filter<'a>(user_id: str as Text, filter_id: str as Text) -> (Vec<u8>,) as (Binary) =
        "SELECT filter FROM filters WHERE user_id = ? AND filter_id = ?";
}
