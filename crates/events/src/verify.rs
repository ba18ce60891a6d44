//! Checking events that other servers made: their format and their signatures.

use std::collections::{BTreeMap, BTreeSet};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ruma::{
    EventId, OwnedServerName, RoomId, ServerName, SigningKeyAlgorithm, UserId,
    canonical_json::RedactingSerializer,
    signatures::{self, PublicKeyMap, Verified, verify_canonical_json_bytes},
};

use crate::{
    MAX_AUTH_EVENTS, MAX_EVENT_BYTES, MAX_FIELD_BYTES, MAX_INTEGER, MAX_PREV_EVENTS,
    canonical::{self, Object, Value},
    version::RoomRules,
};

/// Reads signatures as other homeservers write them: with or without padding.
const SIGNATURE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Public keys of servers by key ID. Only those are to be given that were valid when the event was made.
pub type PublicKeys = BTreeMap<OwnedServerName, BTreeMap<String, [u8; 32]>>;

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
        return Err(VerifyError::Format(format!("the event exceeds {MAX_EVENT_BYTES} bytes")));
    }
    let event_type = text(event, "type", rules)?.ok_or_else(|| missing("type"))?;
    let sender = text(event, "sender", rules)?.ok_or_else(|| missing("sender"))?;
    if <&UserId>::try_from(sender).is_err() {
        return Err(VerifyError::Format("`sender` is not a user ID".to_owned()));
    }
    text(event, "state_key", rules)?;
    let room_id = text(event, "room_id", rules)?;
    match room_id {
        Some(room_id) if <&RoomId>::try_from(room_id).is_err() => {
            return Err(VerifyError::Format("`room_id` is not a room ID".to_owned()));
        }
        None if event_type != "m.room.create" || !rules.room_id_is_create_hash() => {
            return Err(missing("room_id"));
        }
        Some(_) | None => {}
    }
    for field in ["depth", "origin_server_ts"] {
        let number = event.get(field).and_then(Value::as_integer).map(i64::from);
        if number.is_none_or(|number| !(0..=MAX_INTEGER).contains(&number)) {
            return Err(VerifyError::Format(format!("`{field}` is missing or out of range")));
        }
    }
    for field in ["content", "hashes", "signatures"] {
        if event.get(field).and_then(Value::as_object).is_none() {
            return Err(VerifyError::Format(format!("`{field}` is missing or no object")));
        }
    }
    check_ids(event, "prev_events", MAX_PREV_EVENTS)?;
    for auth_event in check_ids(event, "auth_events", MAX_AUTH_EVENTS)? {
        // Such a room's create event is known by the room ID, and must not be cited.
        if rules.room_id_is_create_hash()
            && room_id.is_some_and(|room_id| room_id.strip_prefix('!') == auth_event.strip_prefix('$'))
        {
            return Err(VerifyError::Format("`auth_events` holds the create event".to_owned()));
        }
    }
    Ok(())
}

fn missing(field: &str) -> VerifyError {
    VerifyError::Format(format!("`{field}` is missing"))
}

/// Reads a text of at most 255 bytes, or code points in older room versions. Nothing that names something has a U+0000: the
/// grammars of IDs forbid it, and what keeps events by type and state key need not be able to.
fn text<'a>(event: &'a Object, field: &str, rules: &RoomRules) -> Result<Option<&'a str>, VerifyError> {
    let fits = |text: &str| {
        text.len() <= MAX_FIELD_BYTES
            || (rules.counts_code_points() && text.chars().count() <= MAX_FIELD_BYTES)
    };
    match event.get(field) {
        None => Ok(None),
        Some(Value::String(text)) if text.contains('\0') => {
            Err(VerifyError::Format(format!("`{field}` has a NUL")))
        }
        Some(Value::String(text)) if fits(text) => Ok(Some(text)),
        Some(Value::String(_)) => {
            Err(VerifyError::Format(format!("`{field}` exceeds the limit of {MAX_FIELD_BYTES}")))
        }
        Some(_) => Err(VerifyError::Format(format!("`{field}` is not a string"))),
    }
}

/// Reads a list of event IDs.
fn check_ids<'a>(event: &'a Object, field: &str, at_most: usize) -> Result<Vec<&'a str>, VerifyError> {
    let items = event.get(field).and_then(Value::as_array).ok_or_else(|| missing(field))?;
    if items.len() > at_most {
        return Err(VerifyError::Format(format!("`{field}` holds more than {at_most} events")));
    }
    let fits = |item: &&str| {
        item.len() <= MAX_FIELD_BYTES && !item.contains('\0') && <&EventId>::try_from(*item).is_ok()
    };
    let id = |item: &'a Value| item.as_str().filter(fits);
    items
        .iter()
        .map(|item| {
            id(item)
                .ok_or_else(|| VerifyError::Format(format!("`{field}` holds something else than event IDs")))
        })
        .collect()
}

/// Whether the content hash of a signed event is right. If it is not, only the redacted event may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// Signatures and hash are right.
    Whole,
    /// The signatures are right, the hash is not.
    HashMismatch,
}

/// True if a signature, in base64, is one of the bytes by the key.
#[must_use]
pub fn is_signed(message: &[u8], signature: &str, key: &[u8; 32]) -> bool {
    let Ok(signature) = SIGNATURE.decode(signature) else { return false };
    verify_canonical_json_bytes(&SigningKeyAlgorithm::Ed25519, key, &signature, message).is_ok()
}

/// Reads a public key in base64.
#[must_use]
pub fn public_key(text: &str) -> Option<[u8; 32]> {
    SIGNATURE.decode(text).ok()?.try_into().ok()
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

/// Lists the servers that must have signed an event of the right format.
///
/// It is the sender's server, unless the event is an invite that a third-party invite led to: whoever sent that does
/// not sign what became of it. Where the room version has restricted joins, it is also the server of the user who
/// authorized one.
#[must_use]
pub fn signers(event: &Object, rules: &RoomRules) -> BTreeSet<OwnedServerName> {
    let text = |object: &Object, field: &str| object.get(field).and_then(Value::as_str).map(str::to_owned);
    let server_of = |user: Option<String>| {
        let user = user?;
        <&UserId>::try_from(user.as_str()).ok().map(|user| user.server_name().to_owned())
    };
    let mut servers = BTreeSet::new();
    let is_member = text(event, "type").as_deref() == Some("m.room.member");
    let content = event.get("content").and_then(Value::as_object).filter(|_| is_member);
    let membership = content.and_then(|content| text(content, "membership"));
    let is_third_party_invite = membership.as_deref() == Some("invite")
        && content
            .and_then(|content| content.get("third_party_invite"))
            .is_some_and(|it| it.as_object().is_some());
    if !is_third_party_invite {
        servers.extend(server_of(text(event, "sender")));
    }
    if rules.rules.signatures.check_join_authorised_via_users_server {
        servers
            .extend(server_of(content.and_then(|content| text(content, "join_authorised_via_users_server"))));
    }
    servers
}

/// Checks that every server that must have signed an event has signed it: with at least one of its keys, and with none
/// of them wrongly.
///
/// # Errors
///
/// Fails if a signature is missing or wrong, or no key is given that could verify it.
pub fn verify_signers(event: &Object, keys: &PublicKeys, rules: &RoomRules) -> Result<(), VerifyError> {
    let signed = RedactingSerializer::new()
        .rules(&rules.rules.redaction)
        .custom_redacted_root_fields(&["signatures", "unsigned"])
        .serialize(event)
        .map_err(|error| VerifyError::Format(error.to_string()))?;
    verify_signed(event, signed.as_bytes(), keys, rules)
}

/// Checks that one server has signed an event, whether it must have or not: with at least one of the keys, and with none of
/// them wrongly.
///
/// # Errors
///
/// Fails if the signature is missing or wrong, or no key is given that could verify it.
pub fn verify_signed_by(
    event: &Object,
    server: &ServerName,
    keys: &PublicKeys,
    rules: &RoomRules,
) -> Result<(), VerifyError> {
    let signed = RedactingSerializer::new()
        .rules(&rules.rules.redaction)
        .custom_redacted_root_fields(&["signatures", "unsigned"])
        .serialize(event)
        .map_err(|error| VerifyError::Format(error.to_string()))?;
    let signatures = event.get("signatures").and_then(Value::as_object);
    let claimed = signatures.and_then(|all| all.get(server.as_str())).and_then(Value::as_object);
    let unsigned = || VerifyError::Signature(format!("the event is not signed by {server}"));
    verify_server(server, claimed.ok_or_else(unsigned)?, keys, signed.as_bytes())
}

/// The same where what was signed is known: the redacted event without signatures.
pub(crate) fn verify_signed(
    event: &Object,
    signed: &[u8],
    keys: &PublicKeys,
    rules: &RoomRules,
) -> Result<(), VerifyError> {
    let signatures = event.get("signatures").and_then(Value::as_object);
    for server in signers(event, rules) {
        let Some(claimed) = signatures.and_then(|all| all.get(server.as_str())).and_then(Value::as_object)
        else {
            return Err(VerifyError::Signature(format!("the event is not signed by {server}")));
        };
        verify_server(&server, claimed, keys, signed)?;
    }
    Ok(())
}

fn verify_server(
    server: &ServerName,
    claimed: &Object,
    keys: &PublicKeys,
    signed: &[u8],
) -> Result<(), VerifyError> {
    let mut verified = false;
    for (key_id, signature) in claimed {
        let Some(key) = keys.get(server).and_then(|keys| keys.get(key_id)) else { continue };
        let wrong = || VerifyError::Signature(format!("the signature of {server} with {key_id} is wrong"));
        let signature = signature.as_str().and_then(|text| SIGNATURE.decode(text).ok()).ok_or_else(wrong)?;
        verify_canonical_json_bytes(&SigningKeyAlgorithm::Ed25519, key, &signature, signed)
            .map_err(|_| wrong())?;
        verified = true;
    }
    if verified {
        Ok(())
    } else {
        Err(VerifyError::Signature(format!("no key of {server} is known that the event is signed with")))
    }
}
