//! Backups of room keys: what commands build on, and the rest of what was deleted.

use std::{collections::HashMap, marker::PhantomData};

use diesel::{
    QueryableByName,
    sql_types::{Array, Bool, Int8, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{StoreError, statement::query};
use crate::users::{Backup, BackupNeeds, Backups, Rank};

/// Keys that go in one step.
pub(crate) const STEP: i64 = 10_000;

query! {
    /// The last number of a version that users were given.
    FindLast { user_id: Array<Text> => Vec<&'a str> } -> (Text, Int8),
    "SELECT v.user_id, k.version FROM unnest(",
    ") AS v(user_id) CROSS JOIN LATERAL ( \
       SELECT b.version FROM key_backup_versions b WHERE b.user_id = v.user_id ORDER BY b.version DESC LIMIT 1) k"
}

query! {
    /// Versions that were not deleted.
    FindVersions { user_id: Array<Text> => Vec<&'a str> } -> (Text, Int8, Text, Int8, Int8, Int8),
    "SELECT user_id, version, algorithm, etag, count, cleared_etag FROM key_backup_versions \
     WHERE NOT deleted AND user_id = ANY(",
    ")"
}

query! {
    /// Keys by session.
    FindKeys {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
        room_id: Array<Text> => Vec<&'a str>,
        session_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Int8, Text, Text, Bool, Int8, Int8),
    "SELECT k.user_id, k.version, k.room_id, k.session_id, k.is_verified, k.first_message_index, k.forwarded_count \
     FROM unnest(",
    ") AS v(user_id, version, room_id, session_id) \
     JOIN key_backup_keys k ON k.user_id = v.user_id AND k.version = v.version AND k.room_id = v.room_id \
       AND k.session_id = v.session_id \
     JOIN key_backup_versions b ON b.user_id = k.user_id AND b.version = k.version AND k.etag > b.cleared_etag"
}

query! {
    /// How many keys rooms have.
    CountKeys {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
        room_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Int8, Text, Int8),
    "SELECT v.user_id, v.version, v.room_id, ( \
       SELECT count(*) FROM key_backup_keys k \
       JOIN key_backup_versions b ON b.user_id = k.user_id AND b.version = k.version AND k.etag > b.cleared_etag \
       WHERE k.user_id = v.user_id AND k.version = v.version AND k.room_id = v.room_id) \
     FROM unnest(",
    ") AS v(user_id, version, room_id)"
}

/// Loads what commands need of the backups of their users.
pub(crate) async fn load(
    conn: &AsyncPgConnection,
    needs: &[BackupNeeds<'_>],
) -> Result<HashMap<String, Backups>, StoreError> {
    let mut found: HashMap<String, Backups> = HashMap::new();
    if needs.is_empty() {
        return Ok(found);
    }
    let mut user_ids: Vec<&str> = needs.iter().map(|need| need.user_id).collect();
    user_ids.sort_unstable();
    user_ids.dedup();
    let ((last, versions), (keys, counts)) = futures::try_join!(
        async { futures::try_join!(load_last(conn, &user_ids), load_versions(conn, &user_ids)) },
        async { futures::try_join!(load_keys(conn, needs), load_counts(conn, needs)) },
    )?;
    for (user_id, version) in last {
        found.entry(user_id).or_default().last = version;
    }
    for (user_id, version, algorithm, etag, count, cleared_etag) in versions {
        let backup = Backup { algorithm, etag, count, cleared_etag };
        found.entry(user_id).or_default().versions.insert(version, backup);
    }
    for (user_id, version, room_id, session_id, is_verified, first_message_index, forwarded_count) in keys {
        let rank = Rank { is_verified, first_message_index, forwarded_count };
        found.entry(user_id).or_default().sessions.insert((version, room_id, session_id), rank);
    }
    for (user_id, version, room_id, count) in counts {
        found.entry(user_id).or_default().rooms.insert((version, room_id), count);
    }
    Ok(found)
}

async fn load_last(
    mut conn: &AsyncPgConnection,
    user_ids: &[&str],
) -> Result<Vec<(String, i64)>, StoreError> {
    let statement = FindLast { user_id: user_ids.to_vec(), lifetime: PhantomData };
    statement.load(&mut conn).await.map_err(StoreError::query(FindLast::NAME))
}

async fn load_versions(
    mut conn: &AsyncPgConnection,
    user_ids: &[&str],
) -> Result<Vec<(String, i64, String, i64, i64, i64)>, StoreError> {
    let statement = FindVersions { user_id: user_ids.to_vec(), lifetime: PhantomData };
    statement.load(&mut conn).await.map_err(StoreError::query(FindVersions::NAME))
}

type FoundKey = (String, i64, String, String, bool, i64, i64);

async fn load_keys(
    mut conn: &AsyncPgConnection,
    needs: &[BackupNeeds<'_>],
) -> Result<Vec<FoundKey>, StoreError> {
    let mut wanted: Vec<(&str, i64, &str, &str)> = Vec::new();
    for need in needs {
        let sessions = need.sessions.iter();
        wanted.extend(sessions.map(|(room, session)| (need.user_id, need.version, *room, *session)));
    }
    // Postgres takes no NUL, and no key has one.
    wanted.retain(|(_, _, room, session)| !room.contains('\0') && !session.contains('\0'));
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindKeys {
        user_id: wanted.iter().map(|wanted| wanted.0).collect(),
        version: wanted.iter().map(|wanted| wanted.1).collect(),
        room_id: wanted.iter().map(|wanted| wanted.2).collect(),
        session_id: wanted.iter().map(|wanted| wanted.3).collect(),
        lifetime: PhantomData,
    };
    statement.load(&mut conn).await.map_err(StoreError::query(FindKeys::NAME))
}

async fn load_counts(
    mut conn: &AsyncPgConnection,
    needs: &[BackupNeeds<'_>],
) -> Result<Vec<(String, i64, String, i64)>, StoreError> {
    let rooms = needs.iter().filter(|need| !need.room_id.is_empty() && !need.room_id.contains('\0'));
    let mut wanted: Vec<_> = rooms.map(|need| (need.user_id, need.version, need.room_id)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let statement = CountKeys {
        user_id: wanted.iter().map(|wanted| wanted.0).collect(),
        version: wanted.iter().map(|wanted| wanted.1).collect(),
        room_id: wanted.iter().map(|wanted| wanted.2).collect(),
        lifetime: PhantomData,
    };
    statement.load(&mut conn).await.map_err(StoreError::query(CountKeys::NAME))
}

#[derive(QueryableByName)]
struct Garbage {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Int8)]
    version: i64,
    #[diesel(sql_type = Int8)]
    upto: i64,
}

const FIND_GARBAGE: &str = "SELECT user_id, version, \
    CASE WHEN deleted THEN 9223372036854775807 ELSE cleared_etag END AS upto \
    FROM key_backup_versions WHERE has_garbage ORDER BY user_id, version LIMIT 100";

const DELETE_GARBAGE: &str = "DELETE FROM key_backup_keys WHERE user_id = $1 AND version = $2 AND etag <= $3 \
    AND (room_id, session_id) IN ( \
      SELECT room_id, session_id FROM key_backup_keys \
      WHERE user_id = $1 AND version = $2 AND etag <= $3 LIMIT $4)";

const NOTE_CLEAN: &str = "UPDATE key_backup_versions SET has_garbage = false WHERE user_id = $1 AND version = $2 \
    AND CASE WHEN deleted THEN 9223372036854775807 ELSE cleared_etag END = $3";

/// Deletes keys that do not count any more, step by step, until there are none or `stop` says so. Returns how many.
pub(crate) async fn collect_garbage(
    conn: &mut AsyncPgConnection,
    step: i64,
    stop: impl Fn() -> bool,
) -> Result<usize, StoreError> {
    let mut deleted = 0;
    loop {
        let found: Vec<Garbage> = diesel::sql_query(FIND_GARBAGE)
            .load(conn)
            .await
            .map_err(StoreError::query("key_backups.find_garbage"))?;
        if found.is_empty() {
            return Ok(deleted);
        }
        for Garbage { user_id, version, upto } in found {
            loop {
                if stop() {
                    return Ok(deleted);
                }
                let count = diesel::sql_query(DELETE_GARBAGE)
                    .bind::<Text, _>(&user_id)
                    .bind::<Int8, _>(version)
                    .bind::<Int8, _>(upto)
                    .bind::<Int8, _>(step)
                    .execute(conn)
                    .await
                    .map_err(StoreError::query("key_backups.delete_garbage"))?;
                deleted += count;
                if i64::try_from(count).is_ok_and(|count| count < step) {
                    break;
                }
            }
            // Unless more was deleted meanwhile.
            diesel::sql_query(NOTE_CLEAN)
                .bind::<Text, _>(&user_id)
                .bind::<Int8, _>(version)
                .bind::<Int8, _>(upto)
                .execute(conn)
                .await
                .map_err(StoreError::query("key_backups.note_clean"))?;
        }
    }
}
