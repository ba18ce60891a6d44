//! `server_keys` and `server_key_responses`: keys of other servers, and their newest responses.

use diesel::{
    QueryableByName,
    sql_types::{Array, BigInt, Bool, Bytea, Nullable, Text},
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

use super::StoreError;

/// A key of a server.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Key {
    /// Server.
    #[diesel(sql_type = Text)]
    pub(crate) server_name: String,
    /// ID.
    #[diesel(sql_type = Text)]
    pub(crate) key_id: String,
    /// The public key.
    #[diesel(sql_type = Bytea)]
    pub(crate) public_key: Vec<u8>,
    /// Up to when it is valid.
    #[diesel(sql_type = BigInt)]
    pub(crate) valid_until_ts: i64,
    /// When it was taken out of use.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(crate) expired_ts: Option<i64>,
    /// When that was fetched.
    #[diesel(sql_type = BigInt)]
    pub(crate) fetched_ts: i64,
    /// Whether the server told it itself.
    #[diesel(sql_type = Bool)]
    pub(crate) direct: bool,
}

/// The last word of a server about its keys.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Response {
    /// Server.
    #[diesel(sql_type = Text)]
    pub(crate) server_name: String,
    /// As it was fetched.
    #[diesel(sql_type = Bytea)]
    pub(crate) response: Vec<u8>,
    /// Up to when it is valid.
    #[diesel(sql_type = BigInt)]
    pub(crate) valid_until_ts: i64,
    /// When it was fetched.
    #[diesel(sql_type = BigInt)]
    pub(crate) fetched_ts: i64,
}

/// A key that is kept with other bytes.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Conflict {
    /// Server.
    #[diesel(sql_type = Text)]
    pub(crate) server_name: String,
    /// ID.
    #[diesel(sql_type = Text)]
    pub(crate) key_id: String,
}

/// A key is believed for seven days after it was fetched, so what counts of its validity is the lesser of the two. No
/// server has more than a thousand keys here.
const ADD_KEYS: &str = "INSERT INTO server_keys AS known \
        (server_name, key_id, public_key, valid_until_ts, expired_ts, fetched_ts, direct) \
    SELECT v.server_name, v.key_id, v.public_key, v.valid_until_ts, v.expired_ts, v.fetched_ts, v.direct \
    FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[]) \
        AS v(server_name, key_id, public_key, valid_until_ts, expired_ts, fetched_ts, direct) \
    WHERE (SELECT count(*) FROM server_keys k WHERE k.server_name = v.server_name) < 1000 \
        OR EXISTS (SELECT FROM server_keys k WHERE k.server_name = v.server_name AND k.key_id = v.key_id) \
    ON CONFLICT (server_name, key_id) DO UPDATE SET \
        public_key = excluded.public_key, \
        expired_ts = CASE WHEN known.public_key = excluded.public_key \
            THEN least(known.expired_ts, excluded.expired_ts) ELSE excluded.expired_ts END, \
        direct = known.direct OR excluded.direct, \
        (valid_until_ts, fetched_ts) = (SELECT CASE WHEN is_newer THEN excluded.valid_until_ts ELSE known.valid_until_ts END, \
                CASE WHEN is_newer THEN excluded.fetched_ts ELSE known.fetched_ts END \
            FROM (SELECT known.public_key <> excluded.public_key \
                OR least(excluded.valid_until_ts, excluded.fetched_ts + 604800000) \
                    >= least(known.valid_until_ts, known.fetched_ts + 604800000) AS is_newer) AS compared) \
    WHERE known.public_key = excluded.public_key OR (excluded.direct AND NOT known.direct)";

const CONFLICTS: &str = "SELECT k.server_name, k.key_id \
    FROM unnest($1::text[], $2::text[], $3::bytea[]) AS v(server_name, key_id, public_key) \
    JOIN server_keys k ON k.server_name = v.server_name AND k.key_id = v.key_id \
    WHERE k.public_key <> v.public_key ORDER BY 1, 2";

const ADD_RESPONSES: &str = "INSERT INTO server_key_responses AS known \
        (server_name, response, valid_until_ts, fetched_ts) \
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[]) \
    ON CONFLICT (server_name) DO UPDATE SET response = excluded.response, \
        valid_until_ts = excluded.valid_until_ts, fetched_ts = excluded.fetched_ts \
    WHERE excluded.valid_until_ts >= known.valid_until_ts";

/// Reads the keys of servers, by server, and their last words.
pub(crate) async fn find(
    conn: &mut AsyncPgConnection,
    servers: &[String],
) -> Result<(Vec<Key>, Vec<Response>), StoreError> {
    let keys = diesel::sql_query(
        "SELECT server_name, key_id, public_key, valid_until_ts, expired_ts, fetched_ts, direct FROM server_keys \
         WHERE server_name = ANY($1) ORDER BY server_name, key_id",
    )
    .bind::<Array<Text>, _>(servers)
    .load(conn)
    .await
    .map_err(StoreError::query("server_keys.find"))?;
    let responses = diesel::sql_query(
        "SELECT server_name, response, valid_until_ts, fetched_ts FROM server_key_responses \
         WHERE server_name = ANY($1)",
    )
    .bind::<Array<Text>, _>(servers)
    .load(conn)
    .await
    .map_err(StoreError::query("server_key_responses.find"))?;
    Ok((keys, responses))
}

/// Adds keys and last words, each at most once; returns the keys that stayed as they were because they are told with
/// other bytes.
pub(crate) async fn add(
    conn: &mut AsyncPgConnection,
    mut keys: Vec<Key>,
    mut responses: Vec<Response>,
) -> Result<Vec<Conflict>, StoreError> {
    // Rows are locked in one order by all.
    keys.sort_by(|a, b| (&a.server_name, &a.key_id).cmp(&(&b.server_name, &b.key_id)));
    responses.sort_by(|a, b| a.server_name.cmp(&b.server_name));
    let servers: Vec<&str> = keys.iter().map(|key| key.server_name.as_str()).collect();
    let ids: Vec<&str> = keys.iter().map(|key| key.key_id.as_str()).collect();
    let publics: Vec<&[u8]> = keys.iter().map(|key| key.public_key.as_slice()).collect();
    let conflicts = conn.transaction(async |conn| {
        diesel::sql_query(ADD_KEYS)
            .bind::<Array<Text>, _>(&servers)
            .bind::<Array<Text>, _>(&ids)
            .bind::<Array<Bytea>, _>(&publics)
            .bind::<Array<BigInt>, _>(keys.iter().map(|key| key.valid_until_ts).collect::<Vec<_>>())
            .bind::<Array<Nullable<BigInt>>, _>(keys.iter().map(|key| key.expired_ts).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(keys.iter().map(|key| key.fetched_ts).collect::<Vec<_>>())
            .bind::<Array<Bool>, _>(keys.iter().map(|key| key.direct).collect::<Vec<_>>())
            .execute(conn)
            .await?;
        diesel::sql_query(ADD_RESPONSES)
            .bind::<Array<Text>, _>(responses.iter().map(|it| it.server_name.as_str()).collect::<Vec<_>>())
            .bind::<Array<Bytea>, _>(responses.iter().map(|it| it.response.as_slice()).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(responses.iter().map(|it| it.valid_until_ts).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(responses.iter().map(|it| it.fetched_ts).collect::<Vec<_>>())
            .execute(conn)
            .await?;
        diesel::sql_query(CONFLICTS)
            .bind::<Array<Text>, _>(&servers)
            .bind::<Array<Text>, _>(&ids)
            .bind::<Array<Bytea>, _>(&publics)
            .load(conn)
            .await
    });
    conflicts.await.map_err(StoreError::query("server_keys.add"))
}
