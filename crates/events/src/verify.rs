//! Checking events that other servers made: their format and their signatures.

use ruma::{
    signatures::{self, PublicKeyMap, Verified},
    state_res,
};

use crate::{
    MAX_EVENT_BYTES, MAX_INTEGER,
    canonical::{self, Object},
    version::RoomRules,
};

/// An event that does not have the form or the signatures it must have.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It exceeds a limit, or a field is missing or has the wrong type.
    #[error("{0}")]
    Format(String),
    /// A signature is missing or wrong.
    #[error("{0}")]
    Signature(String),
}

/// Checks the format and the limits of an event.
///
/// # Errors
///
/// Fails with what is wrong.
pub fn check_format(event: &Object, rules: &RoomRules) -> Result<(), VerifyError> {
    if canonical::object_to_vec(event).len() > MAX_EVENT_BYTES {
        return Err(VerifyError::Format("the event exceeds 65,536 bytes".to_owned()));
    }
    state_res::check_pdu_format(event, &rules.rules.event_format).map_err(VerifyError::Format)?;
    let depth = event.get("depth").and_then(canonical::Value::as_integer).map(i64::from);
    if depth.is_none_or(|depth| depth > MAX_INTEGER) {
        return Err(VerifyError::Format("`depth` is out of range".to_owned()));
    }
    Ok(())
}

/// Whether the content hash of a signed event is right. If it is not, only the redacted event may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// Signatures and hash are right.
    Whole,
    /// The signatures are right, the hash is not.
    HashMismatch,
}

/// Checks the signatures of an event against the keys of the servers that must have signed it.
///
/// # Errors
///
/// Fails if a signature is missing or wrong, or a key is missing.
pub fn verify_signatures(
    event: &Object,
    keys: &PublicKeyMap,
    rules: &RoomRules,
) -> Result<Integrity, VerifyError> {
    match signatures::verify_event(keys, event, &rules.rules) {
        Ok(Verified::All) => Ok(Integrity::Whole),
        Ok(Verified::Signatures) => Ok(Integrity::HashMismatch),
        Err(error) => Err(VerifyError::Signature(error.to_string())),
    }
}
