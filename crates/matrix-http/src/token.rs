//! Tokens for paging (`t1_…`) and for sync (`s3_…`, and `s2_…` of earlier versions).
//!
//! Both are positions in output logs, in the clear: any instance can read them, none has to remember them. Decoding is
//! strict: a token is exactly what encoding made, or it is refused.

mod sync;
pub mod varint;

use std::{fmt, str::FromStr};

use crate::MatrixError;

pub use sync::{PARTITION_COUNT, SyncToken};

/// The token is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("token is malformed")]
pub struct TokenError;

/// As a query parameter; where the specification wants another `errcode`, map it there.
impl From<TokenError> for MatrixError {
    fn from(_: TokenError) -> Self {
        Self::invalid_param("The token is not one of this server's")
    }
}

/// A position in the timeline of a room: after the event with this `seq` and before what follows it. Events from before
/// the timeline have negative ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimelineToken(pub i64);

impl fmt::Display for TimelineToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "t1_{}", self.0)
    }
}

impl FromStr for TimelineToken {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        let number = token.strip_prefix("t1_").ok_or(TokenError)?;
        let digits = number.strip_prefix('-').unwrap_or(number);
        let canonical =
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (number == "0" || !digits.starts_with('0'));
        if !canonical {
            return Err(TokenError);
        }
        number.parse().map(Self).map_err(|_| TokenError)
    }
}

/// Beginning of a position (`pos`) of sliding sync; a sync token follows, and after a dot what the connection was told.
pub const POS_PREFIX: &str = "p1_";

/// Reads a position in the timeline of a room of this partition from a paging token, from a sync token, or from a position
/// of sliding sync.
pub fn timeline_position(token: &str, partition: u32) -> Result<i64, TokenError> {
    if let Some(pos) = token.strip_prefix(POS_PREFIX) {
        let (vector, _) = pos.split_once('.').ok_or(TokenError)?;
        if !vector.starts_with('s') {
            return Err(TokenError);
        }
        return timeline_position(vector, partition);
    }
    if token.starts_with("s2_") || token.starts_with("s3_") {
        let token: SyncToken = token.parse()?;
        let index = usize::try_from(partition).map_err(|_| TokenError)?;
        let position = token.rooms.get(index).copied().ok_or(TokenError)?;
        return i64::try_from(position).map_err(|_| TokenError);
    }
    token.parse::<TimelineToken>().map(|token| token.0)
}

#[cfg(test)]
mod tests;
