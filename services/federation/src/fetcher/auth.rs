//! Fetches auth events that are missing, and what authorizes them in turn.

use std::collections::{BTreeSet, HashMap, HashSet};

use ruma::{EventId, OwnedEventId};
use tracing::debug;

use super::{
    Failure,
    ask::Peer,
    order::{self, By},
    room::{Room, lacking},
};
use crate::checked::{CheckedPdu, ReadPdu};

/// Most auth events of one saga, most of an answer, and how far the search goes.
const MAX_EVENTS: usize = 500;
const MAX_ANSWER: usize = 5_000;
const MAX_ROUNDS: usize = 10;

/// Collects auth events that are not known here, with what they cite: all of them, in an order in which they can be
/// stored. `of`: the event whose auth chain the server is asked for first. `have`: events that are going to be stored
/// anyway.
pub(super) async fn collect(
    room: &Room<'_>,
    peer: Peer<'_>,
    of: &EventId,
    cited: BTreeSet<OwnedEventId>,
    have: &HashSet<OwnedEventId>,
) -> Result<Vec<CheckedPdu>, Failure> {
    let mut open = unknown(room, cited, have).await?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let mut told = chain(room, peer, of).await?;
    let mut found: HashMap<OwnedEventId, CheckedPdu> = HashMap::new();
    for _ in 0..MAX_ROUNDS {
        if found.len() + open.len() > MAX_EVENTS {
            return Err(Failure::Refused(format!("more than {MAX_EVENTS} auth events are missing")));
        }
        let (mut read, mut untold) = (Vec::new(), Vec::new());
        for id in open {
            match told.remove(&id) {
                Some(event) => read.push(event),
                None => untold.push(id),
            }
        }
        let count = read.len();
        let mut events = room.check(read).await;
        if events.len() < count {
            return Err(Failure::Invalid(format!("{} tells auth events that are none", peer.server)));
        }
        events.extend(room.fetch_each(peer, untold).await?);
        let mut cited: BTreeSet<OwnedEventId> =
            events.iter().flat_map(|event| event.pdu().auth_event_ids()).cloned().collect();
        found.extend(events.into_iter().map(|event| (event.event_id().to_owned(), event)));
        cited.retain(|id| !found.contains_key(id));
        open = unknown(room, cited, have).await?;
        if open.is_empty() {
            return Ok(order::sorted(found.into_values().collect(), By::Auth));
        }
    }
    Err(Failure::Refused("the auth chain is too long".to_owned()))
}

async fn unknown(
    room: &Room<'_>,
    mut cited: BTreeSet<OwnedEventId>,
    have: &HashSet<OwnedEventId>,
) -> Result<BTreeSet<OwnedEventId>, Failure> {
    cited.retain(|id| !have.contains(id));
    if cited.is_empty() {
        return Ok(cited);
    }
    let known = room.known(&cited).await?;
    Ok(lacking(&cited, &known))
}

/// What a server tells of the auth chain of an event; nothing if it does not tell.
async fn chain(
    room: &Room<'_>,
    peer: Peer<'_>,
    of: &EventId,
) -> Result<HashMap<OwnedEventId, ReadPdu>, Failure> {
    let mut chain = match peer.event_auth(of).await {
        Ok(chain) => chain,
        Err(error @ (Failure::Refused(_) | Failure::Invalid(_))) => {
            debug!(%error, "an auth chain is not told");
            Vec::new()
        }
        Err(error @ Failure::Unreachable(_)) => return Err(error),
    };
    chain.truncate(MAX_ANSWER);
    let read = room.read(&chain);
    Ok(read.into_iter().map(|event| (event.event_id().to_owned(), event)).collect())
}
