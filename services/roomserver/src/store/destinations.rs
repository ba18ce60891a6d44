//! `sender_shards`, `destinations` and `destination_rooms`: the state of the sender to other servers.

mod status;

use diesel::{
    QueryableByName,
    sql_types::{Array, BigInt, Bytea, Int2, Int4, Text},
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

pub(crate) use self::status::{Backlog, Status, find_status, list_status, order};
use super::{
    StoreError,
    output::OutputLog,
    reader_cursors::{self, Cursor},
};

/// The reader for whom records of `OutputRoomEvent` are kept that a shard is not done with.
const READER: &str = "federation-sender";

/// Positions of a shard.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Shard {
    /// Shard.
    #[diesel(sql_type = Int2)]
    pub(crate) shard: i16,
    /// One for each partition, in order.
    #[diesel(sql_type = Array<BigInt>)]
    pub(crate) positions: Vec<i64>,
}

/// A destination that fails or is behind.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Destination {
    /// Server.
    #[diesel(sql_type = Text)]
    pub(crate) server: String,
    /// Its shard.
    #[diesel(sql_type = Int2)]
    pub(crate) shard: i16,
    /// Failures since the last success.
    #[diesel(sql_type = Int4)]
    pub(crate) failures: i32,
    /// When the first of them was.
    #[diesel(sql_type = BigInt)]
    pub(crate) first_failure_ts: i64,
    /// When it is tried again.
    #[diesel(sql_type = BigInt)]
    pub(crate) retry_ts: i64,
    /// What went wrong last.
    #[diesel(sql_type = Text)]
    pub(crate) error: String,
    /// When it last took something.
    #[diesel(sql_type = BigInt)]
    pub(crate) last_success_ts: i64,
}

/// A room in which a destination is behind.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Room {
    /// Server.
    #[diesel(sql_type = Text)]
    pub(crate) server: String,
    /// Room.
    #[diesel(sql_type = Text)]
    pub(crate) room_id: String,
    /// It has everything up to this.
    #[diesel(sql_type = BigInt)]
    pub(crate) after_seq: i64,
}

/// What an operator wants of a destination.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Order {
    /// Server.
    #[diesel(sql_type = Text)]
    pub(crate) server: String,
    /// What is wanted.
    #[diesel(sql_type = Int2)]
    pub(crate) ordered: i16,
}

/// An operator wants the destination to be tried now.
pub(crate) const RETRY: i16 = 1;
/// An operator wants it to be forgotten.
pub(crate) const FORGET: i16 = 2;

/// How far a sender is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The sender.
    pub(crate) sender: Vec<u8>,
    /// Shards that this is about.
    pub(crate) shards: Vec<i16>,
    /// Its number.
    pub(crate) serial: i64,
    /// Shards of which it is told what operators want.
    pub(crate) order_shards: Vec<i16>,
    /// Positions that have moved.
    pub(crate) positions: Vec<Shard>,
    /// Destinations that are new or have changed.
    pub(crate) destinations: Vec<Destination>,
    /// Rooms that are new or have changed.
    pub(crate) rooms: Vec<Room>,
    /// Rooms in which destinations are behind no more, as servers and rooms.
    pub(crate) caught_up: (Vec<String>, Vec<String>),
    /// Destinations that are behind nowhere.
    pub(crate) recovered: Vec<String>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    /// It is kept; operators want this.
    Yes(Vec<Order>),
    /// Nothing is kept: these shards belong to others.
    Lost(Vec<i16>),
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Int2)]
    shard: i16,
}

const CLAIM: &str = "INSERT INTO sender_shards AS known (shard, sender, serial, positions) \
    SELECT v.shard, $1, 0, ARRAY(SELECT next_room_seq - 1 FROM partition_state ORDER BY partition) \
    FROM unnest($2::smallint[]) AS v(shard) ORDER BY v.shard \
    ON CONFLICT (shard) DO UPDATE SET sender = excluded.sender, \
        serial = CASE WHEN known.sender = excluded.sender THEN known.serial ELSE 0 END RETURNING known.shard, known.positions";

/// Takes shards over.
pub(crate) async fn claim(
    conn: &mut AsyncPgConnection,
    sender: &[u8],
    shards: &[i16],
) -> Result<Vec<Shard>, StoreError> {
    let mut claimed: Vec<Shard> = diesel::sql_query(CLAIM)
        .bind::<Bytea, _>(sender)
        .bind::<Array<Int2>, _>(shards)
        .load(conn)
        .await
        .map_err(StoreError::query("destinations.claim"))?;
    claimed.sort_by_key(|shard| shard.shard);
    move_cursors(conn).await?;
    Ok(claimed)
}

/// Lists destinations of shards, those after a name, in order.
pub(crate) async fn list(
    conn: &mut AsyncPgConnection,
    shards: &[i16],
    after: &str,
    limit: i64,
) -> Result<Vec<Destination>, StoreError> {
    diesel::sql_query(
        "SELECT server, shard, failures, first_failure_ts, retry_ts, error, last_success_ts FROM destinations \
         WHERE shard = ANY($1) AND server > $2 ORDER BY server LIMIT $3",
    )
    .bind::<Array<Int2>, _>(shards)
    .bind::<Text, _>(after)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
    .map_err(StoreError::query("destinations.list"))
}

/// Lists rooms of destinations of shards, those after a server and a room, in order.
pub(crate) async fn list_rooms(
    conn: &mut AsyncPgConnection,
    shards: &[i16],
    (server, room_id): (&str, &str),
    limit: i64,
) -> Result<Vec<Room>, StoreError> {
    diesel::sql_query(
        "SELECT r.server, r.room_id, r.after_seq FROM destination_rooms r \
         JOIN destinations d ON d.server = r.server AND d.shard = ANY($1) \
         WHERE (r.server, r.room_id) > ($2, $3) ORDER BY r.server, r.room_id LIMIT $4",
    )
    .bind::<Array<Int2>, _>(shards)
    .bind::<Text, _>(server)
    .bind::<Text, _>(room_id)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
    .map_err(StoreError::query("destinations.list_rooms"))
}

const FENCE: &str = "SELECT shard FROM sender_shards \
    WHERE shard = ANY($1) AND sender = $2 AND serial <= $3 ORDER BY shard FOR UPDATE";

const SERIAL: &str = "UPDATE sender_shards SET serial = $2 WHERE shard = ANY($1)";

const POSITIONS: &str = "UPDATE sender_shards s SET positions = ($2::bigint[])[(v.place - 1) * $3 + 1 : v.place * $3] \
    FROM unnest($1::smallint[]) WITH ORDINALITY AS v(shard, place) WHERE s.shard = v.shard";

const DESTINATIONS: &str = "INSERT INTO destinations \
        (server, shard, failures, first_failure_ts, retry_ts, error, last_success_ts) \
    SELECT * FROM unnest($1::text[], $2::smallint[], $3::integer[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[]) \
    ON CONFLICT (server) DO UPDATE SET shard = excluded.shard, failures = excluded.failures, \
        first_failure_ts = excluded.first_failure_ts, retry_ts = excluded.retry_ts, error = excluded.error, \
        last_success_ts = excluded.last_success_ts";

const ROOMS: &str = "INSERT INTO destination_rooms (server, room_id, after_seq) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) \
    ON CONFLICT (server, room_id) DO UPDATE SET after_seq = excluded.after_seq";

const CAUGHT_UP: &str = "DELETE FROM destination_rooms r USING unnest($1::text[], $2::text[]) AS v(server, room_id) \
    WHERE r.server = v.server AND r.room_id = v.room_id";

const RECOVERED: &str = "WITH rooms AS (DELETE FROM destination_rooms WHERE server = ANY($1)) \
    DELETE FROM destinations WHERE server = ANY($1)";

const ORDERS: &str = "WITH wanted AS (SELECT d.server, d.ordered FROM destinations d \
        JOIN sender_shards s ON s.shard = d.shard AND s.sender = $2 \
        WHERE d.shard = ANY($1) AND d.ordered <> 0 FOR UPDATE OF d) \
    UPDATE destinations d SET ordered = 0 FROM wanted w WHERE d.server = w.server RETURNING w.server, w.ordered";

/// Keeps how far a sender is, unless a shard belongs to another one.
pub(crate) async fn save(conn: &mut AsyncPgConnection, progress: Progress) -> Result<Saved, StoreError> {
    let Progress {
        sender,
        shards,
        serial,
        order_shards,
        positions,
        destinations,
        rooms,
        caught_up,
        recovered,
    } = progress;
    let has_moved = !positions.is_empty();
    let saved = conn.transaction(async |conn| {
        let ours: Vec<Number> = diesel::sql_query(FENCE)
            .bind::<Array<Int2>, _>(&shards)
            .bind::<Bytea, _>(&sender)
            .bind::<BigInt, _>(serial)
            .load(conn)
            .await?;
        let is_ours = |shard: &i16| ours.iter().any(|found| found.shard == *shard);
        let lost: Vec<i16> = shards.iter().copied().filter(|shard| !is_ours(shard)).collect();
        if !lost.is_empty() {
            return Ok(Saved::Lost(lost));
        }
        if !shards.is_empty() {
            diesel::sql_query(SERIAL)
                .bind::<Array<Int2>, _>(&shards)
                .bind::<BigInt, _>(serial)
                .execute(conn)
                .await?;
        }
        if has_moved {
            let flat: Vec<i64> = positions.iter().flat_map(|shard| shard.positions.iter().copied()).collect();
            diesel::sql_query(POSITIONS)
                .bind::<Array<Int2>, _>(positions.iter().map(|shard| shard.shard).collect::<Vec<_>>())
                .bind::<Array<BigInt>, _>(flat)
                .bind::<BigInt, _>(i64::from(plexus_log::PARTITIONS))
                .execute(conn)
                .await?;
        }
        save_destinations(conn, &destinations, &rooms).await?;
        if !caught_up.0.is_empty() {
            diesel::sql_query(CAUGHT_UP)
                .bind::<Array<Text>, _>(&caught_up.0)
                .bind::<Array<Text>, _>(&caught_up.1)
                .execute(conn)
                .await?;
        }
        if !recovered.is_empty() {
            diesel::sql_query(RECOVERED).bind::<Array<Text>, _>(&recovered).execute(conn).await?;
        }
        let orders = diesel::sql_query(ORDERS)
            .bind::<Array<Int2>, _>(&order_shards)
            .bind::<Bytea, _>(&sender)
            .load(conn)
            .await?;
        Ok(Saved::Yes(orders))
    });
    let saved = saved.await.map_err(StoreError::query("destinations.save"))?;
    if has_moved && matches!(saved, Saved::Yes(_)) {
        // Later than the positions: what is kept for too long harms nobody.
        move_cursors(conn).await?;
    }
    Ok(saved)
}

async fn save_destinations(
    conn: &mut AsyncPgConnection,
    destinations: &[Destination],
    rooms: &[Room],
) -> Result<(), diesel::result::Error> {
    if !destinations.is_empty() {
        let numbers = |of: fn(&Destination) -> i64| destinations.iter().map(of).collect::<Vec<_>>();
        diesel::sql_query(DESTINATIONS)
            .bind::<Array<Text>, _>(destinations.iter().map(|it| it.server.as_str()).collect::<Vec<_>>())
            .bind::<Array<Int2>, _>(destinations.iter().map(|it| it.shard).collect::<Vec<_>>())
            .bind::<Array<Int4>, _>(destinations.iter().map(|it| it.failures).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(numbers(|it| it.first_failure_ts))
            .bind::<Array<BigInt>, _>(numbers(|it| it.retry_ts))
            .bind::<Array<Text>, _>(destinations.iter().map(|it| it.error.as_str()).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(numbers(|it| it.last_success_ts))
            .execute(conn)
            .await?;
    }
    if !rooms.is_empty() {
        diesel::sql_query(ROOMS)
            .bind::<Array<Text>, _>(rooms.iter().map(|it| it.server.as_str()).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rooms.iter().map(|it| it.room_id.as_str()).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(rooms.iter().map(|it| it.after_seq).collect::<Vec<_>>())
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Claims the records that some shard is not done with.
async fn move_cursors(conn: &mut AsyncPgConnection) -> Result<(), StoreError> {
    let cursors: Vec<Cursor> = diesel::sql_query(
        "SELECT (v.place - 1)::smallint AS partition, min(v.seq) AS seq \
         FROM sender_shards s CROSS JOIN unnest(s.positions) WITH ORDINALITY AS v(seq, place) GROUP BY v.place ORDER BY 1",
    )
    .load(conn)
    .await
    .map_err(StoreError::query("destinations.cursors"))?;
    match reader_cursors::set(conn, READER, OutputLog::Rooms, &cursors).await? {
        reader_cursors::Moved::Yes(_) => {}
        moved => tracing::warn!(?moved, "records for the sender to other servers are not kept"),
    }
    Ok(())
}
