//! Media: what commands look at, and what is left of what was deleted or has expired.

use std::{collections::HashMap, marker::PhantomData};

use diesel::{
    Queryable,
    sql_types::{Array, Binary, Bool, Int2, Int8, Nullable, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{StoreError, statement::query};
use crate::users::{
    Blob, BlobHash, Media, MediaReads, MediaRow, MediaUsage, Quarantine, RESERVATION_GRACE_MS, ThumbnailKey,
};

/// Rows that go in one step.
pub(crate) const STEP: i64 = 2_000;
/// How long rows that have expired stay, so that no clock and no record that comes late matters.
const LATE_MS: i64 = 60 * 60 * 1000;

/// A row, and whether it does not count any more.
#[derive(Queryable)]
struct Found {
    server_name: String,
    media_id: String,
    user_id: String,
    no: i64,
    remote: bool,
    sha256: Option<Vec<u8>>,
    size: i64,
    content_type: String,
    file_name: String,
    created_ts: i64,
    ready_ts: i64,
    expires_ts: i64,
    accessed_ts: i64,
    quarantined_ts: i64,
    quarantined_by: String,
    quarantine_reason: String,
    thumbnail_bytes: i64,
    cleared: bool,
}

type FoundColumns = (
    Text,
    Text,
    Text,
    Int8,
    Bool,
    Nullable<Binary>,
    Int8,
    Text,
    Text,
    Int8,
    Int8,
    Int8,
    Int8,
    Int8,
    Text,
    Text,
    Int8,
    Bool,
);

query! {
    /// Rows of media.
    FindMedia {
        server_name: Array<Text> => Vec<&'a str>,
        media_id: Array<Text> => Vec<&'a str>,
    } -> FoundColumns,
    "SELECT m.server_name, m.media_id, m.user_id, m.no, m.remote, m.sha256, m.size, m.content_type, m.file_name, \
     m.created_ts, m.ready_ts, m.expires_ts, m.accessed_ts, m.quarantined_ts, m.quarantined_by, m.quarantine_reason, \
     m.thumbnail_bytes, m.user_id <> '' AND m.no <= coalesce(u.cleared_no, 0) FROM unnest(",
    ") AS v(server_name, media_id) JOIN media AS m ON m.server_name = v.server_name AND m.media_id = v.media_id \
     LEFT JOIN media_users AS u ON u.user_id = m.user_id"
}

query! {
    /// How large thumbnails are.
    FindThumbnails {
        server_name: Array<Text> => Vec<&'a str>,
        media_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Text, Int8, Int8, Int2, Bool, Int8),
    "SELECT t.server_name, t.media_id, t.width, t.height, t.method, t.animated, t.size FROM unnest(",
    ") AS v(server_name, media_id) JOIN media_thumbnails AS t \
     ON t.server_name = v.server_name AND t.media_id = v.media_id"
}

query! {
    /// What users have stored in all.
    FindUsage { user_id: Array<Text> => Vec<&'a str> } -> (Text, Int8, Int8, Int8, Int8, Int8, Int8),
    "SELECT user_id, last_no, cleared_no, files, bytes, day_ts, day_bytes FROM media_users WHERE user_id = ANY(",
    ")"
}

query! {
    /// Reservations of users, those that expire last: no more than a user may have.
    FindReserved { user_id: Array<Text> => Vec<&'a str> } -> (Text, Text, Int8),
    "SELECT v.user_id, r.media_id, r.expires_ts FROM unnest(",
    ") AS v(user_id) LEFT JOIN media_users AS u ON u.user_id = v.user_id CROSS JOIN LATERAL ( \
       SELECT m.media_id, m.expires_ts FROM media AS m WHERE m.user_id = v.user_id AND m.sha256 IS NULL \
       AND NOT m.remote AND m.no > coalesce(u.cleared_no, 0) ORDER BY m.expires_ts DESC LIMIT 200) AS r"
}

/// Loads what the commands of a batch look at of media, by their keys.
pub(crate) async fn load(
    conn: &AsyncPgConnection,
    reads: &MediaReads<'_>,
) -> Result<HashMap<String, Media>, StoreError> {
    let mut of_keys: HashMap<String, Media> = HashMap::new();
    if reads.is_empty() {
        return Ok(of_keys);
    }
    let mut names: Vec<(&str, &str)> = reads.media.iter().map(|(_, server, id)| (*server, *id)).collect();
    names.sort_unstable();
    names.dedup();
    let users: Vec<&str> = reads.users.iter().copied().collect();
    let reserving: Vec<&str> =
        reads.reserving.iter().copied().filter(|key| reads.users.contains(key)).collect();
    let (rows, thumbnails, usages, reserved) = futures::try_join!(
        load_rows(conn, &names),
        load_thumbnails(conn, &names),
        load_usage(conn, &users),
        load_reserved(conn, &reserving),
    )?;
    for (user_id, last_no, cleared_no, files, bytes, day_ts, day_bytes) in usages {
        let usage = MediaUsage { last_no, cleared_no, files, bytes, day_ts, day_bytes };
        of_keys.entry(user_id).or_default().usage = usage;
    }
    for (user_id, media_id, expires_ts) in reserved {
        of_keys.entry(user_id).or_default().reserved.insert(media_id, expires_ts);
    }
    let mut found: HashMap<(String, String), Found> = HashMap::with_capacity(rows.len());
    found.extend(rows.into_iter().map(|row| ((row.server_name.clone(), row.media_id.clone()), row)));
    let mut sizes: HashMap<(String, String), Vec<(ThumbnailKey, i64)>> = HashMap::new();
    for (server_name, media_id, width, height, method, animated, size) in thumbnails {
        let key = ThumbnailKey { width, height, method, animated };
        sizes.entry((server_name, media_id)).or_default().push((key, size));
    }
    for (key, server_name, media_id) in &reads.media {
        let name = ((*server_name).to_owned(), (*media_id).to_owned());
        let Some(row) = found.get(&name) else { continue };
        let media = of_keys.entry((*key).to_owned()).or_default();
        let is_owned = match row.user_id.as_str() {
            "" => key.starts_with("mxc://"),
            uploader => uploader == *key,
        };
        if !is_owned || row.cleared {
            media.taken.insert(name.1);
            continue;
        }
        let of_media = sizes.get(&name).into_iter().flatten().copied();
        media.thumbnails.insert(name.1.clone(), of_media.collect());
        media.rows.insert(name.1, media_row(row)?);
    }
    Ok(of_keys)
}

fn media_row(row: &Found) -> Result<MediaRow, StoreError> {
    let blob = match &row.sha256 {
        None => None,
        Some(sha256) => Some(Blob {
            sha256: BlobHash::try_from(sha256.as_slice())
                .map_err(|_| StoreError::Corrupt { what: "hash of a blob".to_owned() })?,
            size: row.size,
            content_type: row.content_type.clone(),
            file_name: row.file_name.clone(),
        }),
    };
    let quarantine = (row.quarantined_ts > 0).then(|| Quarantine {
        since_ts: row.quarantined_ts,
        by: row.quarantined_by.clone(),
        reason: row.quarantine_reason.clone(),
    });
    Ok(MediaRow {
        no: row.no,
        is_remote: row.remote,
        blob,
        created_ts: row.created_ts,
        ready_ts: row.ready_ts,
        expires_ts: row.expires_ts,
        accessed_ts: row.accessed_ts,
        quarantine,
        thumbnail_bytes: row.thumbnail_bytes,
    })
}

async fn load_rows(mut conn: &AsyncPgConnection, names: &[(&str, &str)]) -> Result<Vec<Found>, StoreError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindMedia {
        server_name: names.iter().map(|name| name.0).collect(),
        media_id: names.iter().map(|name| name.1).collect(),
        lifetime: PhantomData,
    };
    statement.load(&mut conn).await.map_err(StoreError::query(FindMedia::NAME))
}

type FoundThumbnail = (String, String, i64, i64, i16, bool, i64);

async fn load_thumbnails(
    mut conn: &AsyncPgConnection,
    names: &[(&str, &str)],
) -> Result<Vec<FoundThumbnail>, StoreError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindThumbnails {
        server_name: names.iter().map(|name| name.0).collect(),
        media_id: names.iter().map(|name| name.1).collect(),
        lifetime: PhantomData,
    };
    statement.load(&mut conn).await.map_err(StoreError::query(FindThumbnails::NAME))
}

type FoundUsage = (String, i64, i64, i64, i64, i64, i64);

async fn load_usage(mut conn: &AsyncPgConnection, users: &[&str]) -> Result<Vec<FoundUsage>, StoreError> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindUsage { user_id: users.to_vec(), lifetime: PhantomData };
    statement.load(&mut conn).await.map_err(StoreError::query(FindUsage::NAME))
}

async fn load_reserved(
    mut conn: &AsyncPgConnection,
    users: &[&str],
) -> Result<Vec<(String, String, i64)>, StoreError> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindReserved { user_id: users.to_vec(), lifetime: PhantomData };
    statement.load(&mut conn).await.map_err(StoreError::query(FindReserved::NAME))
}

/// Deletes rows that have expired: reservations, and media that goes by itself. Thumbnails go with them.
const DELETE_EXPIRED: &str = "DELETE FROM media WHERE expires_ts > 0 AND (server_name, media_id) IN ( \
    SELECT server_name, media_id FROM media WHERE expires_ts > 0 AND expires_ts < $1 \
    ORDER BY expires_ts LIMIT $2) AND expires_ts < $1";

const FIND_GARBAGE: &str =
    "SELECT user_id, cleared_no FROM media_users WHERE has_garbage ORDER BY user_id LIMIT 100";

const DELETE_GARBAGE: &str = "DELETE FROM media WHERE user_id = $1 AND user_id <> '' AND no IN ( \
    SELECT no FROM media WHERE user_id = $1 AND no <= $2 AND user_id <> '' LIMIT $3)";

const NOTE_CLEAN: &str = "UPDATE media_users SET has_garbage = false WHERE user_id = $1 AND cleared_no = $2";

#[derive(diesel::QueryableByName)]
struct Garbage {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Int8)]
    cleared_no: i64,
}

/// Deletes what does not count any more, step by step, until there is none or `stop` says so. Returns how many rows.
pub(crate) async fn collect_garbage(
    conn: &mut AsyncPgConnection,
    now: i64,
    step: i64,
    stop: impl Fn() -> bool,
) -> Result<usize, StoreError> {
    let mut deleted = delete_expired(conn, now, step, &stop).await?;
    loop {
        let found: Vec<Garbage> = diesel::sql_query(FIND_GARBAGE)
            .load(conn)
            .await
            .map_err(StoreError::query("media.find_garbage"))?;
        if found.is_empty() {
            return Ok(deleted);
        }
        for Garbage { user_id, cleared_no } in found {
            loop {
                if stop() {
                    return Ok(deleted);
                }
                let count = diesel::sql_query(DELETE_GARBAGE)
                    .bind::<Text, _>(&user_id)
                    .bind::<Int8, _>(cleared_no)
                    .bind::<Int8, _>(step)
                    .execute(conn)
                    .await
                    .map_err(StoreError::query("media.delete_garbage"))?;
                deleted += count;
                if i64::try_from(count).is_ok_and(|count| count < step) {
                    break;
                }
            }
            // Unless more was deleted meanwhile.
            diesel::sql_query(NOTE_CLEAN)
                .bind::<Text, _>(&user_id)
                .bind::<Int8, _>(cleared_no)
                .execute(conn)
                .await
                .map_err(StoreError::query("media.note_clean"))?;
        }
    }
}

async fn delete_expired(
    conn: &mut AsyncPgConnection,
    now: i64,
    step: i64,
    stop: impl Fn() -> bool,
) -> Result<usize, StoreError> {
    let before = now.saturating_sub(RESERVATION_GRACE_MS + LATE_MS);
    let mut deleted = 0;
    while !stop() {
        let count = diesel::sql_query(DELETE_EXPIRED)
            .bind::<Int8, _>(before)
            .bind::<Int8, _>(step)
            .execute(conn)
            .await
            .map_err(StoreError::query("media.delete_expired"))?;
        deleted += count;
        if i64::try_from(count).is_ok_and(|count| count < step) {
            break;
        }
    }
    Ok(deleted)
}
