//! Events of other servers, from their bytes to what the rules may look at: the checks that need no state.
//!
//! [`parse`] does what needs nothing but the bytes and the room version (step 1 of the [checks performed on receipt of a
//! PDU]); [`Unverified::signers`] says whose signatures are needed; [`Unverified::verify`] checks them and the content
//! hash (steps 2 and 3). Who has done that before, such as the receiver of federation traffic in front of the log, is
//! taken by its word with [`Unverified::trust_signatures`]; the hash is checked again, for it costs little.
//!
//! [checks performed on receipt of a PDU]: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu

use std::collections::{BTreeMap, BTreeSet};

use ruma::{OwnedEventId, OwnedServerName};

use crate::{
    MAX_EVENT_BYTES,
    canonical::{
        self, CanonicalError, Object, Value,
        lax::{self, LaxObject},
    },
    hash,
    pdu::{Pdu, PduError},
    redact::{self, RedactError},
    verify::{self, Integrity, PublicKeys, VerifyError},
    version::RoomRules,
};

/// Most bytes of an event before it is made canonical: escapes take up to six bytes for one.
const MAX_TEXT_BYTES: usize = 8 * MAX_EVENT_BYTES;

/// An event that is dropped: it is not even stored as rejected.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It is not JSON as the room version wants it.
    #[error(transparent)]
    Json(#[from] CanonicalError),
    /// It exceeds a limit, a field is missing or has the wrong type, or a signature is missing or wrong.
    #[error(transparent)]
    Check(#[from] VerifyError),
    /// A field cannot be read.
    #[error(transparent)]
    Malformed(#[from] PduError),
    /// Its content hash is wrong, and it cannot be redacted.
    #[error(transparent)]
    Redact(#[from] RedactError),
    /// It cannot be hashed.
    #[error(transparent)]
    Hash(#[from] hash::HashError),
}

/// An event of the right format. Nothing is known yet of who made it.
#[derive(Debug, Clone)]
pub struct Unverified {
    rules: &'static RoomRules,
    event_id: OwnedEventId,
    object: Object,
    /// The event as it is hashed, if it has numbers without a canonical form; `object` has `null` in their places.
    lax: Option<LaxObject>,
}

/// An event that may be authorized.
#[derive(Debug, Clone)]
pub struct Received {
    /// The event. If its content hash was wrong, it is redacted, and so is `json`.
    pub pdu: Pdu,
    /// Canonical JSON, as it is stored. It has no `unsigned`: what other servers say there is not theirs to say.
    pub json: Vec<u8>,
    /// Whether the content hash was right.
    pub integrity: Integrity,
}

/// Reads an event and checks its format: JSON, fields, sizes and counts.
///
/// # Errors
///
/// Fails with the first thing that is wrong.
pub fn parse(json: &[u8], rules: &'static RoomRules) -> Result<Unverified, ReceiveError> {
    if json.len() > MAX_TEXT_BYTES {
        return Err(VerifyError::Format(format!("the event exceeds {MAX_EVENT_BYTES} bytes")).into());
    }
    match canonical::parse_object(json) {
        Ok(object) => parsed(object, rules),
        Err(error) if rules.rules.authorization.strict_canonical_json => Err(error.into()),
        Err(_) => {
            let object = lax::parse_object(json)?;
            match lax::strict(&object) {
                (object, false) => parsed(object, rules),
                (strict, true) => parsed_lax(object, strict, rules),
            }
        }
    }
}

fn parsed_lax(
    mut lax: LaxObject,
    mut object: Object,
    rules: &'static RoomRules,
) -> Result<Unverified, ReceiveError> {
    if lax::without(&lax, &[]).len() > MAX_EVENT_BYTES {
        return Err(VerifyError::Format(format!("the event exceeds {MAX_EVENT_BYTES} bytes")).into());
    }
    verify::check_format(&object, rules)?;
    object.remove("unsigned");
    lax.remove("unsigned");
    let event_id = hash::event_id_of(&signed(&lax), rules)?;
    Ok(Unverified { rules, event_id, object, lax: Some(lax) })
}

/// What is signed of an event: the redacted event without signatures. Its hash is the event ID.
fn signed(event: &LaxObject) -> Vec<u8> {
    let mut redacted = event.clone();
    lax::prune(&mut redacted);
    lax::without(&redacted, &["signatures", "unsigned"])
}

/// Checks the format of an event that is part of a larger JSON text.
///
/// # Errors
///
/// Fails with the first thing that is wrong.
pub fn parsed(mut object: Object, rules: &'static RoomRules) -> Result<Unverified, ReceiveError> {
    verify::check_format(&object, rules)?;
    object.remove("unsigned");
    let event_id = hash::event_id(&object, rules)?;
    Ok(Unverified { rules, event_id, object, lax: None })
}

impl Unverified {
    /// The event ID, computed from the reference hash.
    #[must_use]
    pub fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    /// The room version's rules it was read by.
    #[must_use]
    pub fn rules(&self) -> &'static RoomRules {
        self.rules
    }

    /// The event as JSON, without `unsigned`. Numbers that room versions 3 to 5 allow, and that have no canonical form,
    /// are `null` here.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Servers that must have signed the event.
    #[must_use]
    pub fn signers(&self) -> BTreeSet<OwnedServerName> {
        verify::signers(&self.object, self.rules)
    }

    /// IDs of the keys that each of the needed servers claims to have signed with. One valid signature is enough, so
    /// a server that is missing here cannot pass.
    #[must_use]
    pub fn signing_keys(&self) -> BTreeMap<OwnedServerName, BTreeSet<String>> {
        let signatures = self.object.get("signatures").and_then(Value::as_object);
        let mut keys = BTreeMap::new();
        for server in self.signers() {
            let signed = signatures.and_then(|all| all.get(server.as_str())).and_then(Value::as_object);
            let ids = signed.into_iter().flat_map(|signed| signed.keys());
            keys.insert(server, ids.filter(|id| id.starts_with("ed25519:")).cloned().collect());
        }
        keys
    }

    /// When its server says it was made. From room version 5 on, keys must have been valid at that time.
    #[must_use]
    pub fn origin_server_ts(&self) -> i64 {
        self.object.get("origin_server_ts").and_then(Value::as_integer).map_or(0, i64::from)
    }

    /// Checks the signatures with the keys of the servers of [`Self::signers`], then the content hash.
    ///
    /// # Errors
    ///
    /// Fails if a signature is missing or wrong, or no key is given that could verify it.
    pub fn verify(self, keys: &PublicKeys) -> Result<Received, ReceiveError> {
        match &self.lax {
            None => verify::verify_signers(&self.object, keys, self.rules)?,
            Some(lax) => verify::verify_signed(&self.object, &signed(lax), keys, self.rules)?,
        }
        self.trust_signatures()
    }

    /// Takes the signatures as verified elsewhere and checks the content hash.
    ///
    /// # Errors
    ///
    /// Fails if a field cannot be read.
    pub fn trust_signatures(mut self) -> Result<Received, ReceiveError> {
        if let Some(mut lax) = self.lax {
            let hashed = lax::without(&lax, &["hashes", "signatures", "unsigned"]);
            let integrity = if hash::content_hash_is_of(&self.object, &hashed) {
                Integrity::Whole
            } else {
                lax::prune(&mut lax);
                Integrity::HashMismatch
            };
            let json = lax::without(&lax, &[]);
            let pdu = Pdu::from_checked(self.event_id, &json, false)?;
            return Ok(Received { pdu, json, integrity });
        }
        let integrity = if hash::content_hash_matches(&self.object) {
            Integrity::Whole
        } else {
            redact::prune(&mut self.object, self.rules)?;
            Integrity::HashMismatch
        };
        let json = canonical::object_to_vec(&self.object);
        let pdu = Pdu::from_checked(self.event_id, &json, false)?;
        Ok(Received { pdu, json, integrity })
    }
}

#[cfg(test)]
mod tests;
