//! Media, as it is asked for.

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int2, Int8, Nullable, Text},
};

use super::query::query;

/// A row of media.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct MediaRow {
    pub(crate) server_name: String,
    pub(crate) media_id: String,
    pub(crate) user_id: String,
    pub(crate) no: i64,
    pub(crate) remote: bool,
    pub(crate) sha256: Option<Vec<u8>>,
    pub(crate) size: i64,
    pub(crate) content_type: String,
    pub(crate) file_name: String,
    pub(crate) created_ts: i64,
    pub(crate) ready_ts: i64,
    pub(crate) expires_ts: i64,
    pub(crate) accessed_ts: i64,
    pub(crate) quarantined_ts: i64,
    pub(crate) quarantined_by: String,
    pub(crate) quarantine_reason: String,
    pub(crate) thumbnail_bytes: i64,
}

/// Makes queries of rows that count: those of media that was not deleted with all of its uploader.
macro_rules! rows {
    ($($(#[$meta:meta])* fn $name:ident<$life:lifetime>($($args:tt)*) = $condition:literal;)+) => {
        $(query! {
            $(#[$meta])*
            fn $name<$life>($($args)*) -> MediaRow as (
                Text, Text, Text, Int8, Bool, Nullable<Binary>, Int8, Text, Text, Int8, Int8, Int8, Int8, Int8, Text,
                Text, Int8,
            ) = concat!(
                "SELECT m.server_name, m.media_id, m.user_id, m.no, m.remote, m.sha256, m.size, m.content_type, \
                 m.file_name, m.created_ts, m.ready_ts, m.expires_ts, m.accessed_ts, m.quarantined_ts, \
                 m.quarantined_by, m.quarantine_reason, m.thumbnail_bytes FROM media AS m \
                 LEFT JOIN media_users AS u ON u.user_id = m.user_id WHERE m.no > coalesce(u.cleared_no, -1) AND ",
                $condition
            );
        })+
    };
}

rows! {
    /// Finds media, unless it has expired by now.
    fn find<'a>(server_name: str as Text, media_id: str as Text, now: i64 as Int8) =
        "m.server_name = ? AND m.media_id = ? AND (m.expires_ts = 0 OR m.expires_ts > ?)";

    /// Lists media of a user before a number, newest first.
    fn list_of_user<'a>(user_id: str as Text, before_no: i64 as Int8, now: i64 as Int8, limit: i64 as Int8) =
        "m.user_id = ? AND m.user_id <> '' AND m.no < ? AND (m.expires_ts = 0 OR m.expires_ts > ?) \
         ORDER BY m.no DESC LIMIT ?";

    /// Lists media of all servers after a place, in the order of names.
    fn list<'a>(after_server: str as Text, after_id: str as Text, now: i64 as Int8, limit: i64 as Int8) =
        "(m.server_name, m.media_id) > (?, ?) AND (m.expires_ts = 0 OR m.expires_ts > ?) \
         ORDER BY m.server_name, m.media_id LIMIT ?";

    /// Lists media of a server, likewise.
    fn list_of_server<'a>(server_name: str as Text, after_id: str as Text, now: i64 as Int8, limit: i64 as Int8) =
        "m.server_name = ? AND m.media_id > ? AND (m.expires_ts = 0 OR m.expires_ts > ?) \
         ORDER BY m.media_id LIMIT ?";

    /// Lists quarantined media after a place, in the order of names.
    fn list_quarantined<'a>(after_server: str as Text, after_id: str as Text, limit: i64 as Int8) =
        "m.quarantined_ts > 0 AND (m.server_name, m.media_id) > (?, ?) ORDER BY m.server_name, m.media_id LIMIT ?";

    /// Lists media of a blob after a place, in the order of names.
    fn list_of_blob<'a>(
        sha256: [u8] as Binary,
        after_server: str as Text,
        after_id: str as Text,
        limit: i64 as Int8,
    ) = "m.sha256 = ? AND (m.server_name, m.media_id) > (?, ?) ORDER BY m.server_name, m.media_id LIMIT ?";
}

/// A thumbnail.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct ThumbnailRow {
    pub(crate) width: i64,
    pub(crate) height: i64,
    pub(crate) method: i16,
    pub(crate) animated: bool,
    pub(crate) content_type: String,
    pub(crate) size: i64,
    pub(crate) sha256: Vec<u8>,
}

query! {
    /// Lists the thumbnails of media.
    fn list_thumbnails<'a>(server_name: str as Text, media_id: str as Text)
        -> ThumbnailRow as (Int8, Int8, Int2, Bool, Text, Int8, Binary) =
        "SELECT width, height, method, animated, content_type, size, sha256 FROM media_thumbnails \
         WHERE server_name = ? AND media_id = ? ORDER BY width, height, method, animated";
}

/// Media by when it was last read.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct OldRow {
    pub(crate) server_name: String,
    pub(crate) media_id: String,
    pub(crate) user_id: String,
    pub(crate) size: i64,
    pub(crate) thumbnail_bytes: i64,
    pub(crate) accessed_ts: i64,
    pub(crate) quarantined: bool,
}

query! {
    /// Lists ready media that was last read before a time, after a place in the order of that time and of names: that of
    /// this server, or of others.
    fn list_old<'a>(
        remote: bool as Bool,
        before: i64 as Int8,
        after_ts: i64 as Int8,
        after_server: str as Text,
        after_id: str as Text,
        limit: i64 as Int8,
    ) -> OldRow as (Text, Text, Text, Int8, Int8, Int8, Bool) =
        "SELECT m.server_name, m.media_id, m.user_id, m.size, m.thumbnail_bytes, m.accessed_ts, m.quarantined_ts > 0 \
         FROM media AS m LEFT JOIN media_users AS u ON u.user_id = m.user_id WHERE m.remote = ? \
         AND m.sha256 IS NOT NULL AND m.accessed_ts < ? AND (m.accessed_ts, m.server_name, m.media_id) > (?, ?, ?) \
         AND m.no > coalesce(u.cleared_no, -1) \
         ORDER BY m.accessed_ts, m.server_name, m.media_id LIMIT ?";
}

query! {
    /// Lists cached media of a server, likewise.
    fn list_old_of_server<'a>(
        server_name: str as Text,
        before: i64 as Int8,
        after_ts: i64 as Int8,
        after_id: str as Text,
        limit: i64 as Int8,
    ) -> OldRow as (Text, Text, Text, Int8, Int8, Int8, Bool) =
        "SELECT m.server_name, m.media_id, m.user_id, m.size, m.thumbnail_bytes, m.accessed_ts, m.quarantined_ts > 0 \
         FROM media AS m WHERE m.remote AND m.sha256 IS NOT NULL AND m.server_name = ? AND m.accessed_ts < ? \
         AND (m.accessed_ts, m.media_id) > (?, ?) ORDER BY m.accessed_ts, m.media_id LIMIT ?";
}

/// What a user has stored in all.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct UsageRow {
    pub(crate) files: i64,
    pub(crate) bytes: i64,
    pub(crate) day_ts: i64,
    pub(crate) day_bytes: i64,
    pub(crate) pending: i64,
}

query! {
    /// Tells what a user has stored, and how many reservations have not expired.
    fn find_usage<'a>(now: i64 as Int8, user_id: str as Text) -> UsageRow as (Int8, Int8, Int8, Int8, Int8) =
        "SELECT u.files, u.bytes, u.day_ts, u.day_bytes, (SELECT count(*) FROM media AS m WHERE m.user_id = u.user_id \
           AND m.sha256 IS NULL AND NOT m.remote AND m.expires_ts > ? AND m.no > u.cleared_no) \
         FROM media_users AS u WHERE u.user_id = ?";
}

/// How much is stored of something.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct SumRow {
    pub(crate) name: String,
    pub(crate) files: i64,
    pub(crate) bytes: i64,
}

query! {
    /// Sums up what is cached, by server, most first; the first row, without a name, is the sum of all.
    fn sum_cached<'a>(limit: i64 as Int8) -> SumRow as (Text, Int8, Int8) =
        "SELECT coalesce(server_name, ''), count(*), coalesce(sum(size + thumbnail_bytes), 0)::bigint FROM media \
         WHERE remote AND sha256 IS NOT NULL GROUP BY ROLLUP (server_name) \
         ORDER BY grouping(server_name) DESC, 3 DESC LIMIT ?::bigint + 1";
}

query! {
    /// Lists the users who have stored most.
    fn list_users<'a>(limit: i64 as Int8) -> SumRow as (Text, Int8, Int8) =
        "SELECT user_id, files, bytes FROM media_users WHERE files > 0 ORDER BY bytes DESC, user_id LIMIT ?";
}

query! {
    /// Sums up media of this server: of users, and without an uploader.
    fn sum_local<'a>(now: i64 as Int8) -> SumRow as (Text, Int8, Int8) =
        "SELECT '', coalesce(sum(s.files), 0)::bigint, coalesce(sum(s.bytes), 0)::bigint FROM ( \
           SELECT files, bytes FROM media_users UNION ALL \
           SELECT count(*), coalesce(sum(size), 0)::bigint FROM media \
           WHERE NOT remote AND sha256 IS NOT NULL AND expires_ts > 0 AND expires_ts > ?) AS s";
}

query! {
    /// Tells which blobs no row names, whether it counts or not: rows that do not go soon.
    fn find_unnamed<'a>(sha256: [Vec<u8>] as Array<Binary>) -> (Vec<u8>,) as (Binary) =
        "SELECT v.sha256 FROM unnest(?) AS v(sha256) \
         WHERE NOT EXISTS (SELECT FROM media AS m WHERE m.sha256 = v.sha256) \
         AND NOT EXISTS (SELECT FROM media_thumbnails AS t WHERE t.sha256 = v.sha256)";
}
