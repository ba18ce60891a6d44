//! Loads keys for commands.

use std::{
    collections::{BTreeSet, HashMap},
    marker::PhantomData,
};

use bytes::Bytes;
use diesel::{
    QueryDsl as _,
    sql_types::{Array, Binary, Bool, Int8, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{
    StoreError,
    schema::db_generation,
    statement::{query, statement},
};
use crate::users::{CrossSigningKey, DeviceKeys, FallbackKey, KeyReads, Keys, MASTER};

query! {
    /// Identity keys of devices.
    FindDeviceKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Text, Binary),
    "SELECT k.user_id, k.device_id, k.keys FROM unnest(",
    ") AS v(user_id, device_id) JOIN device_keys AS k ON k.user_id = v.user_id AND k.device_id = v.device_id"
}

query! {
    /// How many one-time keys of the present generation devices have.
    CountOneTimeKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Text, Text, Int8),
    "SELECT k.user_id, k.device_id, k.algorithm, count(*) FROM unnest(",
    ") AS v(user_id, device_id) JOIN one_time_keys AS k ON k.user_id = v.user_id AND k.device_id = v.device_id \
     JOIN db_generation AS g ON g.generation = k.generation GROUP BY 1, 2, 3"
}

query! {
    /// Fallback keys of devices, and whether they were used.
    FindFallbackKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Text, Text, Text, Binary, Bool),
    "SELECT k.user_id, k.device_id, k.algorithm, k.key_id, k.key, k.used OR k.generation <> g.generation FROM unnest(",
    ") AS v(user_id, device_id) JOIN fallback_keys AS k ON k.user_id = v.user_id AND k.device_id = v.device_id \
     CROSS JOIN db_generation AS g"
}

query! {
    /// The oldest one-time keys of the present generation, as many as are claimed.
    FindOldestKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        algorithm: Array<Text> => Vec<&'a str>,
        wanted: Array<Int8> => Vec<i64>,
    } -> (Text, Text, Text, Text, Binary),
    "SELECT v.user_id, v.device_id, v.algorithm, k.key_id, k.key FROM unnest(",
    ") AS v(user_id, device_id, algorithm, wanted) CROSS JOIN db_generation AS g CROSS JOIN LATERAL ( \
     SELECT o.key_id, o.key, o.seq, o.index FROM one_time_keys AS o \
     WHERE o.user_id = v.user_id AND o.device_id = v.device_id AND o.algorithm = v.algorithm \
     AND o.generation = g.generation ORDER BY o.seq, o.index LIMIT v.wanted) AS k \
     ORDER BY k.seq, k.index"
}

query! {
    /// One-time keys of the present generation by ID.
    FindNamedKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        algorithm: Array<Text> => Vec<&'a str>,
        key_id: Array<Text> => Vec<&'a str>,
    } -> (Text, Text, Text, Text, Binary),
    "SELECT k.user_id, k.device_id, k.algorithm, k.key_id, k.key FROM unnest(",
    ") AS v(user_id, device_id, algorithm, key_id) JOIN one_time_keys AS k ON k.user_id = v.user_id \
     AND k.device_id = v.device_id AND k.algorithm = v.algorithm AND k.key_id = v.key_id \
     JOIN db_generation AS g ON g.generation = k.generation"
}

query! {
    /// Cross-signing keys of users.
    FindCrossSigningKeys { user_id: Array<Text> => Vec<&'a str> } -> (Text, Text, Text, Binary),
    "SELECT user_id, usage, public_key, key FROM cross_signing_keys WHERE user_id = ANY(", ")"
}

query! {
    /// Signatures that users have made on keys.
    FindSignatures {
        signer: Array<Text> => Vec<&'a str>,
        user_id: Array<Text> => Vec<&'a str>,
        key: Array<Text> => Vec<&'a str>,
    } -> (Text, Text, Text, Text, Text),
    "SELECT s.signer_user_id, s.target_user_id, s.target_key, s.signer_key_id, s.signature FROM unnest(",
    ") AS v(signer, user_id, key) JOIN key_signatures AS s ON s.target_user_id = v.user_id \
     AND s.target_key = v.key AND s.signer_user_id = v.signer"
}

/// Loads what the commands of a batch look at of keys, by user.
pub(crate) async fn load_keys(
    conn: &AsyncPgConnection,
    reads: &KeyReads<'_>,
) -> Result<HashMap<String, Keys>, StoreError> {
    let mut users: HashMap<String, Keys> = HashMap::new();
    if reads.is_empty() {
        return Ok(users);
    }
    let (generation, identities, counts, fallback, oldest, named, cross_signing, signatures) = futures::try_join!(
        load_generation(conn),
        load_identities(conn, reads),
        load_counts(conn, reads),
        load_fallback(conn, reads),
        load_oldest(conn, reads),
        load_named(conn, reads),
        load_cross_signing(conn, reads),
        load_signatures(conn, reads),
    )?;
    let ids: BTreeSet<&str> =
        reads.users.iter().copied().chain(reads.devices.iter().map(|device| device.0)).collect();
    users.extend(ids.into_iter().map(|id| (id.to_owned(), Keys { generation, ..Keys::default() })));
    for (user, device) in &reads.devices {
        device_of(&mut users, (*user).to_owned(), (*device).to_owned());
    }
    for (user, device, keys) in identities {
        device_of(&mut users, user, device).keys = Some(Bytes::from(keys));
    }
    for (user, device, algorithm, count) in counts {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        device_of(&mut users, user, device).counts.insert(algorithm, count);
    }
    for (user, device, algorithm, key_id, key, used) in fallback {
        let key = FallbackKey { key_id, key: Bytes::from(key), used };
        device_of(&mut users, user, device).fallback.insert(algorithm, key);
    }
    for (user, device, algorithm, key_id, key) in oldest {
        let keys = device_of(&mut users, user, device).oldest.entry(algorithm).or_default();
        keys.push_back((key_id, Bytes::from(key)));
    }
    for (user, device, algorithm, key_id, key) in named {
        device_of(&mut users, user, device).named.insert((algorithm, key_id), Bytes::from(key));
    }
    for (user, usage, public_key, key) in cross_signing {
        let key = CrossSigningKey { public_key, key: Bytes::from(key) };
        if usage == MASTER {
            for (signer, _, _) in reads.signed.iter().filter(|signed| signed.1 == user && signed.0 != user) {
                users.entry((*signer).to_owned()).or_default().masters.insert(user.clone(), key.clone());
            }
        }
        users.entry(user).or_default().cross_signing.insert(usage, key);
    }
    for (signer, user, key, key_id, signature) in signatures {
        users.entry(signer).or_default().signatures.insert((user, key, key_id), signature);
    }
    Ok(users)
}

fn device_of(users: &mut HashMap<String, Keys>, user: String, device: String) -> &mut DeviceKeys {
    users.entry(user).or_default().devices.entry(device).or_default()
}

async fn load_generation(mut conn: &AsyncPgConnection) -> Result<i64, StoreError> {
    db_generation::table
        .select(db_generation::generation)
        .first(&mut conn)
        .await
        .map_err(StoreError::query("keys.generation"))
}

type Devices<'a> = (Vec<&'a str>, Vec<&'a str>);

fn devices<'a>(reads: &KeyReads<'a>) -> Devices<'a> {
    reads.devices.iter().copied().unzip()
}

async fn load_identities(
    mut conn: &AsyncPgConnection,
    reads: &KeyReads<'_>,
) -> Result<Vec<(String, String, Vec<u8>)>, StoreError> {
    if reads.devices.is_empty() {
        return Ok(Vec::new());
    }
    let (user_id, device_id) = devices(reads);
    let statement = FindDeviceKeys { user_id, device_id, lifetime: PhantomData };
    statement.load(&mut conn).await.map_err(StoreError::query(FindDeviceKeys::NAME))
}

async fn load_counts(
    mut conn: &AsyncPgConnection,
    reads: &KeyReads<'_>,
) -> Result<Vec<(String, String, String, i64)>, StoreError> {
    if reads.devices.is_empty() {
        return Ok(Vec::new());
    }
    let (user_id, device_id) = devices(reads);
    let statement = CountOneTimeKeys { user_id, device_id, lifetime: PhantomData };
    statement.load(&mut conn).await.map_err(StoreError::query(CountOneTimeKeys::NAME))
}

type FallbackRow = (String, String, String, String, Vec<u8>, bool);

async fn load_fallback(
    mut conn: &AsyncPgConnection,
    reads: &KeyReads<'_>,
) -> Result<Vec<FallbackRow>, StoreError> {
    if reads.devices.is_empty() {
        return Ok(Vec::new());
    }
    let (user_id, device_id) = devices(reads);
    let statement = FindFallbackKeys { user_id, device_id, lifetime: PhantomData };
    statement.load(&mut conn).await.map_err(StoreError::query(FindFallbackKeys::NAME))
}

type KeyRow = (String, String, String, String, Vec<u8>);

async fn load_oldest(mut conn: &AsyncPgConnection, reads: &KeyReads<'_>) -> Result<Vec<KeyRow>, StoreError> {
    if reads.claims.is_empty() {
        return Ok(Vec::new());
    }
    let keys = || reads.claims.keys();
    let statement = FindOldestKeys {
        user_id: keys().map(|key| key.0).collect(),
        device_id: keys().map(|key| key.1).collect(),
        algorithm: keys().map(|key| key.2).collect(),
        wanted: reads.claims.values().copied().collect(),
        lifetime: PhantomData,
    };
    statement.load(&mut conn).await.map_err(StoreError::query(FindOldestKeys::NAME))
}

async fn load_named(mut conn: &AsyncPgConnection, reads: &KeyReads<'_>) -> Result<Vec<KeyRow>, StoreError> {
    if reads.named.is_empty() {
        return Ok(Vec::new());
    }
    let keys = || reads.named.iter();
    let statement = FindNamedKeys {
        user_id: keys().map(|key| key.0).collect(),
        device_id: keys().map(|key| key.1).collect(),
        algorithm: keys().map(|key| key.2).collect(),
        key_id: keys().map(|key| key.3).collect(),
        lifetime: PhantomData,
    };
    statement.load(&mut conn).await.map_err(StoreError::query(FindNamedKeys::NAME))
}

async fn load_cross_signing(
    mut conn: &AsyncPgConnection,
    reads: &KeyReads<'_>,
) -> Result<Vec<(String, String, String, Vec<u8>)>, StoreError> {
    if reads.users.is_empty() {
        return Ok(Vec::new());
    }
    let user_id = reads.users.iter().copied().collect();
    let statement = FindCrossSigningKeys { user_id, lifetime: PhantomData };
    statement.load(&mut conn).await.map_err(StoreError::query(FindCrossSigningKeys::NAME))
}

type SignatureRow = (String, String, String, String, String);

async fn load_signatures(
    mut conn: &AsyncPgConnection,
    reads: &KeyReads<'_>,
) -> Result<Vec<SignatureRow>, StoreError> {
    if reads.signed.is_empty() {
        return Ok(Vec::new());
    }
    let signed = || reads.signed.iter();
    let statement = FindSignatures {
        signer: signed().map(|signed| signed.0).collect(),
        user_id: signed().map(|signed| signed.1).collect(),
        key: signed().map(|signed| signed.2).collect(),
        lifetime: PhantomData,
    };
    statement.load(&mut conn).await.map_err(StoreError::query(FindSignatures::NAME))
}

statement! {
    /// Deletes one-time keys of earlier generations, some at a time.
    SweepOneTimeKeys { generation: Int8 => i64 }
    "DELETE FROM one_time_keys WHERE ctid = ANY(ARRAY(SELECT ctid FROM one_time_keys WHERE generation < ",
    " LIMIT 10000))"
}

/// Deletes some one-time keys of earlier generations; returns how many.
pub(crate) async fn sweep(mut conn: &AsyncPgConnection, generation: i64) -> Result<usize, StoreError> {
    let statement = SweepOneTimeKeys { generation, lifetime: PhantomData };
    statement.execute(&mut conn).await.map_err(StoreError::query(SweepOneTimeKeys::NAME))
}
