//! Checks events of other servers: the one door by which they come in, whichever way they came.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu)
//!
//! [`read`] checks what needs nothing but the bytes: the form and the limits of the room version, and that the event is of
//! the room that it is said to be of. [`verify`] looks up keys and checks signatures and content hashes. An event whose
//! content hash is wrong comes out redacted. What is left to check is authorization, which the room server does.
//!
//! Whether the server that told the event may tell it (it is in the room, the ACL lets it) is asked by the receiver.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use plexus_events::{
    Pdu, RoomRules, canonical, hash,
    receive::{self, ReceiveError, Received, Unverified},
    verify::{Integrity, PublicKeys, VerifyError},
};
use plexus_proto::log::v1::{self, pdu::Kind};
use plexus_s2s::{
    KeyRing, Purpose, chain,
    keys::{KeyError, source::Wanted},
};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use tokio::time::{Instant, timeout_at};

/// Events whose keys are looked up at the same time.
const AT_ONCE: usize = 16;
/// Most keys of a server that are looked up for an event: others are as good as unknown.
const MAX_KEYS: usize = 8;

/// Why an event is not let in. It is dropped, and nothing is remembered of it: the true event may follow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// It has not the form that its room version asks for.
    #[error("the event is malformed: {}", chain(.0))]
    Format(#[source] ReceiveError),
    /// It is not of the room that it is said to be of.
    #[error("the event is of another room")]
    OtherRoom,
    /// It is not the event that was asked for.
    #[error("the event is another one than was asked for")]
    OtherEvent,
    /// There is no key to verify it with. It may come again when there is one.
    #[error("no key of {0} is known that could verify the event")]
    NoKey(OwnedServerName),
    /// A signature is missing or wrong.
    #[error("{}", chain(.0))]
    Signature(#[source] ReceiveError),
}

/// An event of the right form. Nothing is known yet of who made it.
#[derive(Debug, Clone)]
pub(crate) struct ReadPdu {
    room_id: OwnedRoomId,
    unverified: Unverified,
}

/// An event whose form, signatures and content hash were checked. Nothing but [`verify`] makes one.
#[derive(Debug, Clone)]
pub(crate) struct CheckedPdu {
    room_id: OwnedRoomId,
    rules: &'static RoomRules,
    received: Received,
}

/// Reads an event of a room.
pub(crate) fn read(json: &[u8], room_id: &RoomId, rules: &'static RoomRules) -> Result<ReadPdu, CheckError> {
    let unverified = receive::parse(json, rules).map_err(CheckError::Format)?;
    let of_this_room = match unverified.object().get("room_id").and_then(canonical::Value::as_str) {
        Some(named) => named == room_id.as_str(),
        // Only create events have none, and only where their ID is that of the room.
        None => unverified.event_id().as_str().strip_prefix('$') == room_id.as_str().strip_prefix('!'),
    };
    if of_this_room {
        Ok(ReadPdu { room_id: room_id.to_owned(), unverified })
    } else {
        Err(CheckError::OtherRoom)
    }
}

/// The ID of an event that cannot be read, if it has one: whoever sent it is told by that what was wrong.
pub(crate) fn id_of(json: &[u8], rules: &RoomRules) -> Option<OwnedEventId> {
    hash::event_id(&canonical::parse_object(json).ok()?, rules).ok()
}

impl ReadPdu {
    /// Event ID, computed from the event.
    pub(crate) fn event_id(&self) -> &EventId {
        self.unverified.event_id()
    }

    /// The keys that are needed to verify it.
    pub(crate) fn wanted_keys(&self) -> Vec<Wanted> {
        let minimum_valid_until_ts = self.unverified.origin_server_ts();
        let keys = self.unverified.signing_keys().into_iter();
        let of_server = |(server, ids): (OwnedServerName, BTreeSet<String>)| {
            let ids: Vec<String> = ids.into_iter().take(MAX_KEYS).collect();
            ids.into_iter().map(move |id| Wanted {
                server: server.clone(),
                key_id: Some(id),
                minimum_valid_until_ts,
            })
        };
        keys.flat_map(of_server).collect()
    }

    /// Who says to have sent it.
    pub(crate) fn sender(&self) -> Option<&UserId> {
        let sender = self.unverified.object().get("sender").and_then(canonical::Value::as_str)?;
        sender.try_into().ok()
    }
}

impl CheckedPdu {
    /// Event ID.
    pub(crate) fn event_id(&self) -> &EventId {
        self.received.pdu.id()
    }

    /// The room that it is of.
    pub(crate) fn room_id(&self) -> &RoomId {
        &self.room_id
    }

    /// The event as the rules look at it.
    pub(crate) fn pdu(&self) -> &Pdu {
        &self.received.pdu
    }

    /// Canonical JSON, redacted if the content hash was wrong.
    pub(crate) fn json(&self) -> &[u8] {
        &self.received.json
    }

    /// The event as it is written to the input log. `origin`: the server that told it.
    pub(crate) fn to_input(&self, kind: Kind, origin: &ServerName) -> v1::Pdu {
        let integrity = match self.received.integrity {
            Integrity::Whole => v1::pdu::Integrity::Whole,
            Integrity::HashMismatch => v1::pdu::Integrity::HashMismatch,
        };
        v1::Pdu {
            kind: kind.into(),
            json: self.received.json.clone().into(),
            room_version: self.rules.id.as_str().to_owned(),
            origin: origin.to_string(),
            integrity: integrity.into(),
            ..v1::Pdu::default()
        }
    }
}

/// Checks that a server has signed an event that it need not have signed by the rules: of whom an invite is for.
pub(crate) async fn is_signed_by(
    ring: &KeyRing,
    event: &ReadPdu,
    server: &ServerName,
    patience: Duration,
) -> Result<(), CheckError> {
    let (object, rules) = (event.unverified.object(), event.unverified.rules());
    let purpose = Purpose::Event {
        origin_server_ts: event.unverified.origin_server_ts(),
        enforces_validity: rules.rules.enforce_key_validity,
    };
    let signatures = object.get("signatures").and_then(canonical::Value::as_object);
    let claimed = signatures.and_then(|all| all.get(server.as_str())).and_then(canonical::Value::as_object);
    let (deadline, mut found) = (Instant::now() + patience, BTreeMap::new());
    for key_id in claimed.into_iter().flatten().map(|(key_id, _)| key_id).take(MAX_KEYS) {
        match timeout_at(deadline, ring.find(server, key_id, purpose)).await {
            Ok(Ok(key)) => drop(found.insert(key_id.clone(), key)),
            Ok(Err(error)) => log_missing(server, key_id, &error),
            Err(_) => tracing::debug!(%server, key_id, "the key of an event did not come in time"),
        }
    }
    if found.is_empty() {
        return Err(CheckError::NoKey(server.to_owned()));
    }
    let keys = PublicKeys::from([(server.to_owned(), found)]);
    plexus_events::verify::verify_signed_by(object, server, &keys, rules)
        .map_err(|error| CheckError::Signature(ReceiveError::Check(error)))
}

/// Checks the signatures and hashes of events; returns what came of each, in order. Keys that do not come by the deadline
/// count as unknown.
pub(crate) async fn verify(
    keys: &KeyRing,
    events: Vec<ReadPdu>,
    patience: Duration,
) -> Vec<(OwnedEventId, Result<CheckedPdu, CheckError>)> {
    let deadline = Instant::now() + patience;
    let with_keys = stream::iter(events).map(async |event| {
        let found = public_keys(keys, &event.unverified, deadline).await;
        (event, found)
    });
    let with_keys: Vec<_> = with_keys.buffered(AT_ONCE).collect().await;
    let check = move || with_keys.into_iter().map(|(event, keys)| verify_one(event, keys)).collect();
    // Fifty microseconds each: enough of them would hold up what else is to be done.
    match tokio::task::spawn_blocking(check).await {
        Ok(checked) => checked,
        Err(error) => match error.try_into_panic() {
            Ok(reason) => std::panic::resume_unwind(reason),
            // The process is ending.
            Err(_) => Vec::new(),
        },
    }
}

fn verify_one(
    event: ReadPdu,
    keys: Result<PublicKeys, OwnedServerName>,
) -> (OwnedEventId, Result<CheckedPdu, CheckError>) {
    let ReadPdu { room_id, unverified } = event;
    let (event_id, rules) = (unverified.event_id().clone(), unverified.rules());
    let keys = match keys {
        Ok(keys) => keys,
        Err(server) => return (event_id, Err(CheckError::NoKey(server))),
    };
    let received = unverified.verify(&keys).map_err(|error| match error {
        error @ ReceiveError::Check(VerifyError::Signature(_)) => CheckError::Signature(error),
        error => CheckError::Format(error),
    });
    (event_id, received.map(|received| CheckedPdu { room_id, rules, received }))
}

/// The keys of those who must have signed an event, as far as they may have signed it; or a server of which none is known.
async fn public_keys(
    ring: &KeyRing,
    event: &Unverified,
    deadline: Instant,
) -> Result<PublicKeys, OwnedServerName> {
    let purpose = Purpose::Event {
        origin_server_ts: event.origin_server_ts(),
        enforces_validity: event.rules().rules.enforce_key_validity,
    };
    let mut keys = PublicKeys::new();
    for (server, key_ids) in event.signing_keys() {
        // Who has not signed at all is told so by the check of signatures.
        let claims_key = !key_ids.is_empty();
        let mut found = BTreeMap::new();
        for key_id in key_ids.into_iter().take(MAX_KEYS) {
            match timeout_at(deadline, ring.find(&server, &key_id, purpose)).await {
                Ok(Ok(key)) => drop(found.insert(key_id, key)),
                Ok(Err(error)) => log_missing(&server, &key_id, &error),
                Err(_) => tracing::debug!(%server, key_id, "the key of an event did not come in time"),
            }
        }
        if found.is_empty() && claims_key {
            return Err(server);
        }
        keys.insert(server, found);
    }
    Ok(keys)
}

fn log_missing(server: &ServerName, key_id: &str, error: &KeyError) {
    match error {
        KeyError::Store(_) => tracing::warn!(%server, key_id, %error, "no key for an event"),
        KeyError::NotValid | KeyError::Banned | KeyError::Unavailable(_) | KeyError::Busy => {
            tracing::debug!(%server, key_id, %error, "no key for an event");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
