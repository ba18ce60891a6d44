//! Checks fields of requests, and turns errors of reads into a `Status`.

use plexus_proto::common::v1::ErrorReason;
use plexus_service::refusal::refusal;
use ruma::{EventId, RoomAliasId, RoomId, UserId};
use tonic::{Code, Status};

use crate::{metrics as names, store::StoreError};

/// Longest text that names something: types, keys, devices, filters.
const MAX_TEXT: usize = 255;

/// Refuses a value that is not allowed.
pub(super) fn invalid(field: &str, why: impl std::fmt::Display) -> Status {
    refusal(Code::InvalidArgument, ErrorReason::InvalidParam, format!("{field}: {why}"))
}

/// Refuses what the user may not see, also if it does not exist.
pub(super) fn forbidden(what: &str) -> Status {
    refusal(Code::PermissionDenied, ErrorReason::Forbidden, what)
}

/// Says that something does not exist.
pub(super) fn not_found(what: &str) -> Status {
    refusal(Code::NotFound, ErrorReason::NotFound, what)
}

/// Says that this server does not know the room.
pub(super) fn room_unknown() -> Status {
    refusal(Code::NotFound, ErrorReason::RoomUnknown, "this server does not know the room")
}

/// The database did not answer, or not with sense: logged here; the caller sees no detail. Only what may be mended by
/// waiting is told as "unavailable": clients repeat that for ever.
pub(super) fn failed(error: &StoreError) -> Status {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if matches!(error, StoreError::Busy) {
        tracing::debug!(%error, "a request is refused");
        return Status::resource_exhausted("too many queries are under way: try again later");
    }
    if !error.is_our_fault() {
        tracing::warn!(%error, source, "the database did not answer a request");
        return Status::unavailable("the database is not available");
    }
    let query = error.query_name();
    metrics::counter!(names::FAILED_QUERIES, "query" => query).increment(1);
    tracing::error!(query, %error, source, "a query cannot be answered");
    Status::internal("the query cannot be answered")
}

/// Checks a room ID.
pub(super) fn room_id(field: &str, value: &str) -> Result<(), Status> {
    <&RoomId>::try_from(value).map(|_| ()).map_err(|error| invalid(field, error))
}

/// Checks a user ID.
pub(super) fn user_id(field: &str, value: &str) -> Result<(), Status> {
    <&UserId>::try_from(value).map(|_| ()).map_err(|error| invalid(field, error))
}

/// Checks an event ID.
pub(super) fn event_id(field: &str, value: &str) -> Result<(), Status> {
    <&EventId>::try_from(value).map(|_| ()).map_err(|error| invalid(field, error))?;
    storable(field, value)
}

/// Checks a room alias.
pub(super) fn alias(field: &str, value: &str) -> Result<(), Status> {
    <&RoomAliasId>::try_from(value).map(|_| ()).map_err(|error| invalid(field, error))
}

/// Checks that a request names no more than it may.
pub(super) fn at_most(field: &str, count: usize, limit: usize) -> Result<(), Status> {
    if count > limit { Err(invalid(field, format!("more than {limit}"))) } else { Ok(()) }
}

/// Checks a text by which something is looked up. Postgres takes no NUL.
pub(super) fn storable(field: &str, value: &str) -> Result<(), Status> {
    if value.contains('\0') { Err(invalid(field, "contains NUL")) } else { Ok(()) }
}

/// Checks a short text by which something is looked up.
pub(super) fn name(field: &str, value: &str) -> Result<(), Status> {
    if value.len() > MAX_TEXT {
        return Err(invalid(field, format!("longer than {MAX_TEXT} bytes")));
    }
    storable(field, value)
}

/// Turns a number of the contract into one of the database; what is too large for it lies beyond everything.
pub(super) fn position(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Turns a number of the database into one of the contract. None of them is ever negative.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
