//! Loads users for commands.

use std::{collections::HashMap, marker::PhantomData};

use bytes::Bytes;
use diesel::{
    ExpressionMethods as _, QueryDsl as _,
    dsl::sql,
    sql_types::{Array, Binary, Int8, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{
    StoreError,
    schema::{
        access_tokens, account_data, accounts, devices, filters, out_of_band_memberships, profiles,
        refresh_tokens,
    },
    statement::query,
};
use crate::users::{AccessToken, Account, BackupNeeds, Device, OutOfBand, RefreshToken, TokenHash, User};

/// A piece of account data that a command builds on: user, room (empty for global data), type.
pub(crate) type Wanted<'a> = (&'a str, &'a str, &'a str);

query! {
    /// Contents of account data.
    FindContents {
        user_id: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
        data_type: Array<Text> => Vec<&'a str>,
    } -> (Text, Text, Text, Binary),
    "SELECT d.user_id, d.room_id, d.type, d.content FROM unnest(",
    ") AS v(user_id, room_id, type) JOIN account_data AS d \
     ON d.user_id = v.user_id AND d.room_id = v.room_id AND d.type = v.type"
}

/// Loads users, also those who do not exist: their account is `None`. Of account data, only sizes are loaded, and the
/// contents that are wanted; of backups, what commands need.
pub(crate) async fn load_users(
    conn: &AsyncPgConnection,
    ids: &[&str],
    wanted: &[Wanted<'_>],
    backups: &[BackupNeeds<'_>],
) -> Result<HashMap<String, User>, StoreError> {
    let mut users: HashMap<String, User> = HashMap::with_capacity(ids.len());
    users.extend(ids.iter().map(|id| ((*id).to_owned(), User::default())));
    // The key of a command on media may be its URI, which is no user's.
    let ids: Vec<&str> = ids.iter().copied().filter(|id| id.starts_with('@')).collect();
    let ids = ids.as_slice();
    if ids.is_empty() {
        return Ok(users);
    }
    let (accounts, devices, access, refresh, profiles, data, filters, contents, backups, out_of_band) = futures::try_join!(
        load_accounts(conn, ids),
        load_devices(conn, ids),
        load_access_tokens(conn, ids),
        load_refresh_tokens(conn, ids),
        load_profiles(conn, ids),
        load_account_data(conn, ids),
        load_filters(conn, ids),
        load_contents(conn, wanted),
        super::backups::load(conn, backups),
        load_out_of_band(conn, ids),
    )?;
    for (id, account) in accounts {
        users.entry(id).or_default().account = Some(account);
    }
    for (id, device_id, device) in devices {
        users.entry(id).or_default().devices.insert(device_id, device);
    }
    for (id, hash, token) in access {
        users.entry(id).or_default().access_tokens.insert(hash, token);
    }
    for (id, hash, token) in refresh {
        users.entry(id).or_default().refresh_tokens.insert(hash, token);
    }
    for (id, field, value) in profiles {
        users.entry(id).or_default().profile.insert(field, Bytes::from(value));
    }
    for (id, room_id, data_type, size, position) in data {
        let size = u64::try_from(size).unwrap_or(0);
        let user = users.entry(id).or_default();
        if let Some(position) = position {
            user.positions.insert((room_id.clone(), data_type.clone()), position);
        }
        user.account_data.insert((room_id, data_type), size);
    }
    for (id, room_id, data_type, content) in contents {
        users.entry(id).or_default().contents.insert((room_id, data_type), Bytes::from(content));
    }
    for (id, backups) in backups {
        users.entry(id).or_default().backups = backups;
    }
    for (id, room_id, membership, event_id, seq) in out_of_band {
        let state = OutOfBand { membership, event_id, seq };
        users.entry(id).or_default().out_of_band.insert(room_id, state);
    }
    for (id, filter_id) in filters {
        users.entry(id).or_default().filters.insert(filter_id);
    }
    Ok(users)
}

async fn load_accounts(
    mut conn: &AsyncPgConnection,
    ids: &[&str],
) -> Result<Vec<(String, Account)>, StoreError> {
    type Row = (String, Option<String>, bool, bool, bool, Option<i64>, i64, i64);
    let rows: Vec<Row> = accounts::table
        .filter(accounts::user_id.eq_any(ids))
        .select((
            accounts::user_id,
            accounts::password_hash,
            accounts::guest,
            accounts::admin,
            accounts::deactivated,
            accounts::erased_ts,
            accounts::created_ts,
            accounts::profile_version,
        ))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("users.accounts"))?;
    Ok(rows
        .into_iter()
        .map(|(id, password_hash, guest, admin, deactivated, erased_ts, created_ts, profile_version)| {
            let account =
                Account { password_hash, guest, admin, deactivated, erased_ts, created_ts, profile_version };
            (id, account)
        })
        .collect())
}

async fn load_devices(
    mut conn: &AsyncPgConnection,
    ids: &[&str],
) -> Result<Vec<(String, String, Device)>, StoreError> {
    type Row = (String, String, Option<String>, i64, i64, String);
    let rows: Vec<Row> = devices::table
        .filter(devices::user_id.eq_any(ids))
        .select((
            devices::user_id,
            devices::device_id,
            devices::display_name,
            devices::created_ts,
            devices::last_seen_ts,
            devices::last_seen_ip,
        ))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("users.devices"))?;
    Ok(rows
        .into_iter()
        .map(|(id, device_id, display_name, created_ts, last_seen_ts, last_seen_ip)| {
            (id, device_id, Device { display_name, created_ts, last_seen_ts, last_seen_ip })
        })
        .collect())
}

async fn load_access_tokens(
    mut conn: &AsyncPgConnection,
    ids: &[&str],
) -> Result<Vec<(String, TokenHash, AccessToken)>, StoreError> {
    type Row = (String, Vec<u8>, String, i64, Option<Vec<u8>>);
    let rows: Vec<Row> = access_tokens::table
        .filter(access_tokens::user_id.eq_any(ids))
        .select((
            access_tokens::user_id,
            access_tokens::token_hash,
            access_tokens::device_id,
            access_tokens::expires_ts,
            access_tokens::refresh_token_hash,
        ))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("users.access_tokens"))?;
    rows.into_iter()
        .map(|(id, token, device_id, expires_ts, refresh)| {
            let refresh = refresh.as_deref().map(hash).transpose()?;
            Ok((id, hash(&token)?, AccessToken { device_id, expires_ts, refresh }))
        })
        .collect()
}

async fn load_refresh_tokens(
    mut conn: &AsyncPgConnection,
    ids: &[&str],
) -> Result<Vec<(String, TokenHash, RefreshToken)>, StoreError> {
    type Row = (String, Vec<u8>, String, Option<Vec<u8>>);
    let rows: Vec<Row> = refresh_tokens::table
        .filter(refresh_tokens::user_id.eq_any(ids))
        .select((
            refresh_tokens::user_id,
            refresh_tokens::token_hash,
            refresh_tokens::device_id,
            refresh_tokens::next_token_hash,
        ))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("users.refresh_tokens"))?;
    rows.into_iter()
        .map(|(id, token, device_id, next)| {
            let next = next.as_deref().map(hash).transpose()?;
            Ok((id, hash(&token)?, RefreshToken { device_id, next }))
        })
        .collect()
}

async fn load_profiles(
    mut conn: &AsyncPgConnection,
    ids: &[&str],
) -> Result<Vec<(String, String, Vec<u8>)>, StoreError> {
    profiles::table
        .filter(profiles::user_id.eq_any(ids))
        .select((profiles::user_id, profiles::field, profiles::value))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("users.profiles"))
}

async fn load_account_data(
    mut conn: &AsyncPgConnection,
    ids: &[&str],
) -> Result<Vec<(String, String, String, i64, Option<i64>)>, StoreError> {
    account_data::table
        .filter(account_data::user_id.eq_any(ids))
        .select((
            account_data::user_id,
            account_data::room_id,
            account_data::type_,
            sql::<Int8>("octet_length(content)::bigint"),
            account_data::position,
        ))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("users.account_data"))
}

async fn load_contents(
    mut conn: &AsyncPgConnection,
    wanted: &[Wanted<'_>],
) -> Result<Vec<(String, String, String, Vec<u8>)>, StoreError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindContents {
        user_id: wanted.iter().map(|wanted| wanted.0).collect(),
        room_id: wanted.iter().map(|wanted| wanted.1).collect(),
        data_type: wanted.iter().map(|wanted| wanted.2).collect(),
        lifetime: PhantomData,
    };
    statement.load(&mut conn).await.map_err(StoreError::query(FindContents::NAME))
}

async fn load_filters(
    mut conn: &AsyncPgConnection,
    ids: &[&str],
) -> Result<Vec<(String, String)>, StoreError> {
    filters::table
        .filter(filters::user_id.eq_any(ids))
        .select((filters::user_id, filters::filter_id))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("users.filters"))
}

async fn load_out_of_band(
    mut conn: &AsyncPgConnection,
    ids: &[&str],
) -> Result<Vec<(String, String, String, String, i64)>, StoreError> {
    out_of_band_memberships::table
        .filter(out_of_band_memberships::user_id.eq_any(ids))
        .select((
            out_of_band_memberships::user_id,
            out_of_band_memberships::room_id,
            out_of_band_memberships::membership,
            out_of_band_memberships::event_id,
            out_of_band_memberships::seq,
        ))
        .load(&mut conn)
        .await
        .map_err(StoreError::query("users.out_of_band_memberships"))
}

fn hash(bytes: &[u8]) -> Result<TokenHash, StoreError> {
    TokenHash::try_from(bytes).map_err(|_| StoreError::Corrupt { what: "hash of a token".to_owned() })
}
