//! Redaction.

use ruma::canonical_json::{CanonicalJsonValue, RedactedBecause, redact_in_place};

use crate::{
    canonical::{
        self, CanonicalError, Object,
        lax::{self, Lax},
    },
    hash,
    version::RoomRules,
};

/// An event that cannot be redacted.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// One of the two events is not canonical JSON.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The event has a field of the wrong type.
    #[error("the event is malformed: {0}")]
    Malformed(String),
}

/// Takes away from an event what its room version's redaction algorithm does not keep.
///
/// # Errors
///
/// Fails if a field has the wrong type.
pub fn prune(event: &mut Object, rules: &RoomRules) -> Result<(), RedactError> {
    redact_in_place(event, &rules.rules.redaction, None)
        .map_err(|error| RedactError::Malformed(error.to_string()))
}

/// Returns an event as redaction leaves it, without a record of a redaction: nobody redacted it, it is only served so.
///
/// # Errors
///
/// Fails if the event is malformed.
pub fn pruned(event: &[u8], rules: &RoomRules) -> Result<Vec<u8>, RedactError> {
    match canonical::parse_object(event) {
        Ok(mut event) => {
            prune(&mut event, rules)?;
            event.remove("unsigned");
            Ok(canonical::object_to_vec(&event))
        }
        Err(error) if rules.rules.authorization.strict_canonical_json => Err(error.into()),
        Err(_) => {
            let mut event = lax::parse_object(event)?;
            lax::prune(&mut event);
            Ok(lax::without(&event, &["unsigned"]))
        }
    }
}

/// Redacts an event and records why: the redaction event goes into `unsigned.redacted_because`, as its server sent it,
/// but with its `event_id`, which clients want there and can no longer be computed by whoever does not know the version.
///
/// # Errors
///
/// Fails if one of the events is malformed.
pub fn redact(event: &[u8], because: &[u8], rules: &RoomRules) -> Result<Vec<u8>, RedactError> {
    let strict = rules.rules.authorization.strict_canonical_json;
    let mut event = match canonical::parse_object(event) {
        Ok(event) => event,
        Err(error) if strict => return Err(error.into()),
        Err(_) => return redact_lax(event, because, rules),
    };
    let mut because = match canonical::parse_object(because) {
        Ok(because) => because,
        Err(error) if strict => return Err(error.into()),
        Err(_) => return redact_lax(&canonical::object_to_vec(&event), because, rules),
    };
    because.remove("unsigned");
    let event_id =
        hash::event_id(&because, rules).map_err(|error| RedactError::Malformed(error.to_string()))?;
    because.insert("event_id".to_owned(), CanonicalJsonValue::String(event_id.to_string()));
    redact_in_place(&mut event, &rules.rules.redaction, Some(RedactedBecause::from_json(because)))
        .map_err(|error| RedactError::Malformed(error.to_string()))?;
    Ok(canonical::object_to_vec(&event))
}

/// The same for events of room versions 3 to 5 with numbers that have no canonical form.
fn redact_lax(event: &[u8], because: &[u8], rules: &RoomRules) -> Result<Vec<u8>, RedactError> {
    let mut event = lax::parse_object(event)?;
    let mut because = lax::parse_object(because)?;
    because.remove("unsigned");
    let mut signed = because.clone();
    lax::prune(&mut signed);
    let event_id = hash::event_id_of(&lax::without(&signed, &["signatures"]), rules)
        .map_err(|error| RedactError::Malformed(error.to_string()))?;
    because.insert("event_id".to_owned(), Lax::String(event_id.to_string()));
    lax::prune(&mut event);
    let unsigned = [("redacted_because".to_owned(), Lax::Object(because))].into();
    event.insert("unsigned".to_owned(), Lax::Object(unsigned));
    Ok(lax::without(&event, &[]))
}
