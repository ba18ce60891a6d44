//! Pages of media, and where the next one begins.

use tonic::Status;

use super::{super::check::invalid, check_name};

/// Media of a page if the request does not say how many, and most of one.
const PAGE: u32 = 100;
const MOST: u32 = 1_000;

/// How many are listed for a request that asks for so many.
pub(in crate::rpc) fn page(limit: u32) -> i64 {
    (if limit == 0 { PAGE } else { limit.min(MOST) }).into()
}

/// The token of the page after one of so many rows; empty if that was the last.
pub(in crate::rpc) fn next<T>(rows: &[T], limit: i64, token: impl Fn(&T) -> String) -> String {
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= limit);
    rows.last().filter(|_| is_full).map(token).unwrap_or_default()
}

/// The number that a token of media of a user holds.
pub(in crate::rpc) fn number_of(token: &str) -> Result<i64, Status> {
    if token.is_empty() {
        return Ok(i64::MAX);
    }
    token.parse().map_err(|_| invalid("page_token", "is not one of these pages"))
}

/// A place in the order of names.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Place {
    pub(in crate::rpc) server_name: String,
    pub(in crate::rpc) media_id: String,
}

impl Place {
    /// Reads a token.
    pub(in crate::rpc) fn of(token: &str) -> Result<Self, Status> {
        if token.is_empty() {
            return Ok(Self::default());
        }
        let wrong = || invalid("page_token", "is not one of these pages");
        let (server_name, media_id) = token.split_once('/').ok_or_else(wrong)?;
        check_name(server_name, media_id).map_err(|_| wrong())?;
        Ok(Self { server_name: server_name.to_owned(), media_id: media_id.to_owned() })
    }
}
