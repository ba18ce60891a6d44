//! Backups of room keys.

use diesel::{
    Queryable,
    sql_types::{Binary, Bool, Int8, Text},
};

use super::query::query;

/// A version of the backup.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct VersionRow {
    pub(crate) version: i64,
    pub(crate) algorithm: String,
    pub(crate) auth_data: Vec<u8>,
    pub(crate) etag: i64,
    pub(crate) count: i64,
}

query! {
    /// Finds a version that was not deleted.
    fn find_version<'a>(user_id: str as Text, version: i64 as Int8)
        -> VersionRow as (Int8, Text, Binary, Int8, Int8) =
        "SELECT version, algorithm, auth_data, etag, count FROM key_backup_versions \
         WHERE user_id = ? AND version = ? AND NOT deleted";
}

query! {
    /// Finds the current version.
    fn find_current<'a>(user_id: str as Text) -> VersionRow as (Int8, Text, Binary, Int8, Int8) =
        "SELECT version, algorithm, auth_data, etag, count FROM key_backup_versions \
         WHERE user_id = ? AND NOT deleted ORDER BY version DESC LIMIT 1";
}

/// A key.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct KeyRow {
    pub(crate) room_id: String,
    pub(crate) session_id: String,
    pub(crate) first_message_index: i64,
    pub(crate) forwarded_count: i64,
    pub(crate) is_verified: bool,
    pub(crate) session_data: Vec<u8>,
}

query! {
    /// Lists keys of a version in the order of rooms and sessions, those after a place: as many as asked, but none that
    /// begins beyond so many bytes.
    fn list_keys<'a>(
        user_id: str as Text,
        version: i64 as Int8,
        after_room: str as Text,
        after_session: str as Text,
        limit: i64 as Int8,
        bytes: i64 as Int8,
    ) -> KeyRow as (Text, Text, Int8, Int8, Bool, Binary) =
        "WITH a AS (SELECT ?::text AS user_id, ?::bigint AS version), v AS ( \
           SELECT b.cleared_etag FROM key_backup_versions b, a \
           WHERE b.user_id = a.user_id AND b.version = a.version AND NOT b.deleted) \
         SELECT p.room_id, p.session_id, p.first_message_index, p.forwarded_count, p.is_verified, p.session_data \
         FROM ( \
           SELECT k.*, sum(octet_length(k.session_data)) OVER (ORDER BY k.room_id, k.session_id) \
             - octet_length(k.session_data) AS before \
           FROM key_backup_keys k WHERE k.user_id = (SELECT user_id FROM a) AND k.version = (SELECT version FROM a) \
             AND k.etag > (SELECT cleared_etag FROM v) AND (k.room_id, k.session_id) > (?, ?) \
           ORDER BY k.room_id, k.session_id LIMIT ? \
         ) p WHERE p.before < ? ORDER BY p.room_id, p.session_id";
}

query! {
    /// Lists keys of a room, likewise.
    fn list_keys_of_room<'a>(
        user_id: str as Text,
        version: i64 as Int8,
        room_id: str as Text,
        after_session: str as Text,
        limit: i64 as Int8,
        bytes: i64 as Int8,
    ) -> KeyRow as (Text, Text, Int8, Int8, Bool, Binary) =
        "WITH a AS (SELECT ?::text AS user_id, ?::bigint AS version), v AS ( \
           SELECT b.cleared_etag FROM key_backup_versions b, a \
           WHERE b.user_id = a.user_id AND b.version = a.version AND NOT b.deleted) \
         SELECT p.room_id, p.session_id, p.first_message_index, p.forwarded_count, p.is_verified, p.session_data \
         FROM ( \
           SELECT k.*, sum(octet_length(k.session_data)) OVER (ORDER BY k.session_id) \
             - octet_length(k.session_data) AS before \
           FROM key_backup_keys k WHERE k.user_id = (SELECT user_id FROM a) AND k.version = (SELECT version FROM a) \
             AND k.etag > (SELECT cleared_etag FROM v) AND k.room_id = ? AND k.session_id > ? \
           ORDER BY k.session_id LIMIT ? \
         ) p WHERE p.before < ? ORDER BY p.session_id";
}

query! {
    /// Finds the key of a session.
    fn find_key<'a>(
        user_id: str as Text,
        version: i64 as Int8,
        room_id: str as Text,
        session_id: str as Text,
    ) -> KeyRow as (Text, Text, Int8, Int8, Bool, Binary) =
        "SELECT k.room_id, k.session_id, k.first_message_index, k.forwarded_count, k.is_verified, k.session_data \
         FROM key_backup_versions v JOIN key_backup_keys k ON k.user_id = v.user_id AND k.version = v.version \
           AND k.etag > v.cleared_etag \
         WHERE v.user_id = ? AND v.version = ? AND NOT v.deleted AND k.room_id = ? AND k.session_id = ?";
}
