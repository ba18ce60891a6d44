//! `access_tokens` and `refresh_tokens`: writes tokens.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int8, Nullable, Text};

use super::UserRows;
use crate::store::{batch::Pipeline, statement::statement};

impl UserRows {
    pub(super) fn write_access_tokens(&self, pipeline: &mut Pipeline<'_>) {
        let rows = &self.access_tokens;
        let gone: Vec<_> = rows.iter().filter(|(_, row)| row.1.is_none()).map(|(hash, _)| hash).collect();
        if !gone.is_empty() {
            pipeline.add(
                DeleteAccessTokens::NAME,
                DeleteAccessTokens {
                    token_hash: gone.iter().map(|hash| hash.as_slice()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let set: Vec<_> =
            rows.iter().filter_map(|(hash, row)| Some((hash, &row.0, row.1.as_ref()?))).collect();
        if !set.is_empty() {
            pipeline.add(
                InsertAccessTokens::NAME,
                InsertAccessTokens {
                    token_hash: set.iter().map(|(hash, _, _)| hash.as_slice()).collect(),
                    user_id: set.iter().map(|(_, user, _)| user.as_str()).collect(),
                    device_id: set.iter().map(|(_, _, row)| row.device_id.as_str()).collect(),
                    expires_ts: set.iter().map(|(_, _, row)| row.expires_ts).collect(),
                    refresh_token_hash: set
                        .iter()
                        .map(|(_, _, row)| row.refresh.as_ref().map(|hash| hash.as_slice()))
                        .collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    pub(super) fn write_refresh_tokens(&self, pipeline: &mut Pipeline<'_>) {
        let rows = &self.refresh_tokens;
        let gone: Vec<_> = rows.iter().filter(|(_, row)| row.1.is_none()).map(|(hash, _)| hash).collect();
        if !gone.is_empty() {
            pipeline.add(
                DeleteRefreshTokens::NAME,
                DeleteRefreshTokens {
                    token_hash: gone.iter().map(|hash| hash.as_slice()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let set: Vec<_> =
            rows.iter().filter_map(|(hash, row)| Some((hash, &row.0, row.1.as_ref()?))).collect();
        if !set.is_empty() {
            pipeline.add(
                UpsertRefreshTokens::NAME,
                UpsertRefreshTokens {
                    token_hash: set.iter().map(|(hash, _, _)| hash.as_slice()).collect(),
                    user_id: set.iter().map(|(_, user, _)| user.as_str()).collect(),
                    device_id: set.iter().map(|(_, _, row)| row.device_id.as_str()).collect(),
                    next_token_hash: set
                        .iter()
                        .map(|(_, _, row)| row.next.as_ref().map(|hash| hash.as_slice()))
                        .collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Removes access tokens.
    DeleteAccessTokens { token_hash: Array<Binary> => Vec<&'a [u8]> }
    "DELETE FROM access_tokens WHERE token_hash = ANY(", ")"
}

statement! {
    /// Adds access tokens. A token that exists already is a conflict: no two sessions share one.
    InsertAccessTokens {
        token_hash: Array<Binary> => Vec<&'a [u8]>,
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        expires_ts: Array<Int8> => Vec<i64>,
        refresh_token_hash: Array<Nullable<Binary>> => Vec<Option<&'a [u8]>>,
    }
    "INSERT INTO access_tokens (token_hash, user_id, device_id, expires_ts, refresh_token_hash) \
     SELECT * FROM unnest(",
    ")"
}

statement! {
    /// Removes refresh tokens.
    DeleteRefreshTokens { token_hash: Array<Binary> => Vec<&'a [u8]> }
    "DELETE FROM refresh_tokens WHERE token_hash = ANY(", ")"
}

statement! {
    /// Sets refresh tokens.
    UpsertRefreshTokens {
        token_hash: Array<Binary> => Vec<&'a [u8]>,
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        next_token_hash: Array<Nullable<Binary>> => Vec<Option<&'a [u8]>>,
    }
    "INSERT INTO refresh_tokens (token_hash, user_id, device_id, next_token_hash) SELECT * FROM unnest(",
    ") ON CONFLICT (token_hash) DO UPDATE SET next_token_hash = excluded.next_token_hash \
     WHERE refresh_tokens.user_id = excluded.user_id"
}
