//! Fills new columns from what is stored already, at the start that follows their migration.
//!
//! Some of it only Rust can read: Postgres takes no text with U+0000 out of JSON. A step is one statement, which moves the
//! position on; so whatever stops the process, the next start goes on from there.

use diesel::sql_types::{Array, Binary, Int8, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use tracing::info;

use super::{StoreError, statement::query};
use crate::{
    rooms::{VALUES, storable, value_of},
    users::{Words, words_of},
};

/// Events read at once. Each has up to 64 KiB.
const EVENTS: i64 = 200;
/// Accounts read at once.
const ACCOUNTS: i64 = 500;

query! {
    /// How far a backfill is.
    FindPosition { name: Text => &'a str } -> (Text,),
    "SELECT position FROM backfills WHERE name = ", ""
}

query! {
    /// State events of some types after one.
    ListEvents {
        types: Array<Text> => Vec<&'a str>,
        after: Int8 => i64,
        limit: Int8 => i64,
    } -> (Int8, Text, Binary),
    "WITH q AS (SELECT * FROM (VALUES (", ")) AS q(types, after, most)) \
     SELECT e.event_nid, e.type, j.json FROM q CROSS JOIN LATERAL ( \
       SELECT event_nid, type FROM events \
       WHERE event_nid > q.after AND state_key IS NOT NULL AND type = ANY(q.types) \
       ORDER BY event_nid LIMIT q.most \
     ) e JOIN event_json j ON j.event_nid = e.event_nid ORDER BY e.event_nid"
}

query! {
    /// Sets values, and how far that is.
    SetValues {
        event_nid: Array<Int8> => Vec<i64>,
        value: Array<Nullable<Text>> => Vec<Option<String>>,
    } -> (Int8,),
    "WITH v AS (SELECT * FROM unnest(", ") AS v(event_nid, value)), \
     filled AS (UPDATE events e SET value = v.value FROM v WHERE e.event_nid = v.event_nid RETURNING 1), \
     moved AS (UPDATE backfills SET position = (SELECT max(event_nid)::text FROM v) WHERE name = 'event_values') \
     SELECT count(*) FROM filled"
}

query! {
    /// Accounts after one that are not deactivated, with display name and avatar as the profile has them.
    ListAccounts {
        after: Text => &'a str,
        limit: Int8 => i64,
    } -> (Text, Nullable<Binary>, Nullable<Binary>),
    "WITH q AS (SELECT * FROM (VALUES (", ")) AS q(after, most)) \
     SELECT a.user_id, n.value, u.value FROM q CROSS JOIN LATERAL ( \
       SELECT user_id FROM accounts WHERE user_id > q.after AND NOT deactivated ORDER BY user_id LIMIT q.most \
     ) a \
     LEFT JOIN profiles n ON n.user_id = a.user_id AND n.field = 'displayname' \
     LEFT JOIN profiles u ON u.user_id = a.user_id AND u.field = 'avatar_url' \
     ORDER BY a.user_id"
}

query! {
    /// Adds users and their words to the directory, and sets how far that is. What users have changed meanwhile stays.
    AddToDirectory {
        user_id: Array<Text> => Vec<&'a str>,
        display_name: Array<Nullable<Text>> => Vec<Option<&'a str>>,
        avatar_url: Array<Nullable<Text>> => Vec<Option<String>>,
        words: Array<Text> => Vec<&'a str>,
        word: Array<Text> => Vec<&'a str>,
        word_user: Array<Text> => Vec<&'a str>,
        last: Text => &'a str,
    } -> (Int8,),
    "WITH q AS (SELECT * FROM (VALUES (", ")) AS q(user_id, display_name, avatar_url, words, word, word_user, last)), \
     users AS (INSERT INTO user_directory (user_id, display_name, avatar_url, words) \
       SELECT v.* FROM q CROSS JOIN LATERAL unnest(q.user_id, q.display_name, q.avatar_url, q.words) AS v \
       ON CONFLICT DO NOTHING RETURNING 1), \
     added AS (INSERT INTO user_directory_words (word, user_id) \
       SELECT v.* FROM q CROSS JOIN LATERAL unnest(q.word, q.word_user) AS v ON CONFLICT DO NOTHING), \
     moved AS (UPDATE backfills b SET position = q.last FROM q WHERE b.name = 'user_directory') \
     SELECT count(*) FROM users"
}

/// Fills whatever is to be filled.
pub(super) async fn run(conn: &mut AsyncPgConnection) -> Result<(), StoreError> {
    if let Some(position) = position(conn, "event_values").await? {
        let mut after = position.parse().unwrap_or(0);
        let mut filled = 0_usize;
        while let Some(last) = fill_values(conn, after, &mut filled).await? {
            after = last;
        }
        finish(conn, "event_values").await?;
        info!(events = filled, "what queries look at in events is in columns now");
    }
    if let Some(mut after) = position(conn, "user_directory").await? {
        let mut filled = 0_usize;
        while let Some(last) = fill_directory(conn, &after, &mut filled).await? {
            after = last;
        }
        finish(conn, "user_directory").await?;
        info!(users = filled, "the directory of users is filled");
    }
    Ok(())
}

/// Adds some accounts after one to the directory of users; returns the last of them, `None` if there are no more.
async fn fill_directory(
    conn: &mut AsyncPgConnection,
    after: &str,
    filled: &mut usize,
) -> Result<Option<String>, StoreError> {
    type Row = (String, Option<Vec<u8>>, Option<Vec<u8>>);
    let statement = ListAccounts { after, limit: ACCOUNTS, lifetime: std::marker::PhantomData };
    let rows: Vec<Row> = statement.load(conn).await.map_err(StoreError::query(ListAccounts::NAME))?;
    let Some(last) = rows.last().map(|(user_id, ..)| user_id.clone()) else { return Ok(None) };
    *filled += rows.len();
    let text = |value: &Option<Vec<u8>>| {
        value.as_ref().and_then(|value| serde_json::from_slice::<String>(value).ok()).map(storable)
    };
    let names: Vec<Option<String>> = rows.iter().map(|(_, name, _)| text(name)).collect();
    let words: Vec<Words> =
        rows.iter().zip(&names).map(|((user_id, ..), name)| words_of(user_id, name.as_deref())).collect();
    let pairs = rows.iter().zip(&words).flat_map(|((user_id, ..), words)| {
        words.beginnings.iter().map(move |word| (word.as_str(), user_id.as_str()))
    });
    let (word, word_user): (Vec<&str>, Vec<&str>) = pairs.unzip();
    let statement = AddToDirectory {
        user_id: rows.iter().map(|(user_id, ..)| user_id.as_str()).collect(),
        display_name: names.iter().map(Option::as_deref).collect(),
        avatar_url: rows.iter().map(|(.., url)| text(url)).collect(),
        words: words.iter().map(|words| words.text.as_str()).collect(),
        word,
        word_user,
        last: &last,
        lifetime: std::marker::PhantomData,
    };
    let _: Vec<(i64,)> = statement.load(conn).await.map_err(StoreError::query(AddToDirectory::NAME))?;
    Ok(Some(last))
}

/// Fills values of some events after one; returns the last of them, `None` if there are no more.
async fn fill_values(
    conn: &mut AsyncPgConnection,
    after: i64,
    filled: &mut usize,
) -> Result<Option<i64>, StoreError> {
    let statement = ListEvents {
        types: VALUES.map(|(event_type, _)| event_type).to_vec(),
        after,
        limit: EVENTS,
        lifetime: std::marker::PhantomData,
    };
    let rows: Vec<(i64, String, Vec<u8>)> =
        statement.load(conn).await.map_err(StoreError::query(ListEvents::NAME))?;
    let Some(last) = rows.last().map(|(nid, ..)| *nid) else { return Ok(None) };
    *filled += rows.len();
    let statement = SetValues {
        event_nid: rows.iter().map(|(nid, ..)| *nid).collect(),
        value: rows.iter().map(|(_, event_type, json)| value_of(event_type, json)).collect(),
        lifetime: std::marker::PhantomData,
    };
    let _: Vec<(i64,)> = statement.load(conn).await.map_err(StoreError::query(SetValues::NAME))?;
    Ok(Some(last))
}

async fn position(conn: &mut AsyncPgConnection, name: &str) -> Result<Option<String>, StoreError> {
    let statement = FindPosition { name, lifetime: std::marker::PhantomData };
    let rows: Vec<(String,)> = statement.load(conn).await.map_err(StoreError::query(FindPosition::NAME))?;
    Ok(rows.into_iter().next().map(|(position,)| position))
}

async fn finish(conn: &mut AsyncPgConnection, name: &str) -> Result<(), StoreError> {
    diesel::sql_query("DELETE FROM backfills WHERE name = $1")
        .bind::<Text, _>(name)
        .execute(conn)
        .await
        .map(|_| ())
        .map_err(StoreError::query("backfill.finish"))
}
