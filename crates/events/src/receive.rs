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
    canonical::{self, CanonicalError, Object, Value},
    hash,
    pdu::{Pdu, PduError},
    redact::{self, RedactError},
    verify::{self, Integrity, PublicKeys, VerifyError},
    version::RoomRules,
};

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
    let object = canonical::parse_object(json)?;
    parsed(object, rules)
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
    Ok(Unverified { rules, event_id, object })
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

    /// The event as JSON, without `unsigned`.
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
        verify::verify_signers(&self.object, keys, self.rules)?;
        self.trust_signatures()
    }

    /// Takes the signatures as verified elsewhere and checks the content hash.
    ///
    /// # Errors
    ///
    /// Fails if a field cannot be read.
    pub fn trust_signatures(mut self) -> Result<Received, ReceiveError> {
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
