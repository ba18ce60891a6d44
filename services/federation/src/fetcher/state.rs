//! Fetches the state before an event whose previous events cannot be had: all of it, or nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use plexus_proto::room::v1::KnownEvent;
use ruma::{OwnedEventId, state_res::Event as _};

use super::{
    Failure,
    ask::{Peer, Raw},
    auth,
    order::{self, By},
    room::{Room, lacking},
};
use crate::checked::CheckedPdu;

/// Most events of a state with its auth chain, and most of them that may be unknown here.
const MAX_IDS: usize = 300_000;
const MAX_UNKNOWN: usize = 50_000;
/// Unknown events that are fetched one by one: so many, or a tenth of all.
const FEW: usize = 20;
/// Most events that a server may leave out of a state.
const MAX_LEFT_OUT: usize = 100;

/// A state that another server has told.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Events that are not known here: what is cited as an auth event goes first.
    pub(super) events: Vec<CheckedPdu>,
    /// The events of the state.
    pub(super) state: Vec<OwnedEventId>,
}

/// Fetches the state before an event. Where one previous event is missing, that is the state after it; where there are
/// several, the state that the server has before the event itself.
pub(super) async fn fetch(
    room: &Room<'_>,
    peer: Peer<'_>,
    event: &CheckedPdu,
    missing: &[OwnedEventId],
) -> Result<Snapshot, Failure> {
    let (at, previous) = match missing {
        [previous] => (previous.clone(), Some(previous.clone())),
        _ => (event.event_id().to_owned(), None),
    };
    let ids = peer.state_ids(&at).await?;
    if ids.pdu_ids.is_empty() || ids.pdu_ids.len() + ids.auth_chain_ids.len() > MAX_IDS {
        return Err(Failure::Invalid(format!("{} tells no state, or too much of it", peer.server)));
    }
    let mut state: BTreeSet<OwnedEventId> = ids.pdu_ids.into_iter().collect();
    let mut wanted: BTreeSet<OwnedEventId> = state.iter().cloned().chain(ids.auth_chain_ids).collect();
    wanted.extend(previous.clone());
    let known = room.known(&wanted).await?;
    let unknown = lacking(&wanted, &known);
    if unknown.len() > MAX_UNKNOWN {
        return Err(Failure::Refused(format!("more than {MAX_UNKNOWN} events of a state are missing")));
    }
    let mut events = all(room, peer, &at, unknown, wanted.len()).await?;
    if let Some(previous) = previous {
        put(&mut state, &previous, &events, &known);
    }
    let have: HashSet<OwnedEventId> = events.keys().cloned().collect();
    let cited = events.values().flat_map(|event| event.pdu().auth_event_ids()).cloned().collect();
    // An auth chain that was told in part is completed.
    for event in auth::collect(room, peer, event.event_id(), cited, &have).await? {
        events.insert(event.event_id().to_owned(), event);
    }
    let events = order::sorted(events.into_values().collect(), By::Auth);
    Ok(Snapshot { events, state: state.into_iter().collect() })
}

/// Fetches events of a state: each, or the state as a whole if they are many.
async fn all(
    room: &Room<'_>,
    peer: Peer<'_>,
    at: &OwnedEventId,
    mut unknown: BTreeSet<OwnedEventId>,
    of: usize,
) -> Result<HashMap<OwnedEventId, CheckedPdu>, Failure> {
    let by_id = |events: Vec<CheckedPdu>| -> HashMap<OwnedEventId, CheckedPdu> {
        events.into_iter().map(|event| (event.event_id().to_owned(), event)).collect()
    };
    let mut events = HashMap::new();
    if unknown.len() > FEW.max(of / 10) {
        let full = peer.state(at).await?;
        let told: Vec<Raw> = full.pdus.into_iter().chain(full.auth_chain).take(MAX_IDS).collect();
        let mut read = room.read(&told);
        drop(told);
        let mut seen = HashSet::new();
        read.retain(|event| unknown.contains(event.event_id()) && seen.insert(event.event_id().to_owned()));
        events = by_id(room.check(read).await);
        unknown.retain(|id| !events.contains_key(id));
        if unknown.len() > MAX_LEFT_OUT {
            return Err(Failure::Refused(format!("{} leaves out much of a state", peer.server)));
        }
    }
    events.extend(by_id(room.fetch_each(peer, unknown).await?));
    Ok(events)
}

/// Turns the state before an event into that after it.
pub(super) fn put(
    state: &mut BTreeSet<OwnedEventId>,
    event_id: &OwnedEventId,
    events: &HashMap<OwnedEventId, CheckedPdu>,
    known: &HashMap<OwnedEventId, KnownEvent>,
) {
    let key_of = |id: &OwnedEventId| -> Option<(String, String)> {
        match (events.get(id), known.get(id)) {
            (Some(event), _) => {
                let pdu = event.pdu();
                Some((pdu.event_type().to_string(), pdu.state_key()?.to_owned()))
            }
            (None, Some(event)) => Some((event.r#type.clone(), event.state_key.clone()?)),
            (None, None) => None,
        }
    };
    let Some(key) = key_of(event_id) else { return };
    let keys: BTreeMap<OwnedEventId, Option<(String, String)>> =
        state.iter().map(|id| (id.clone(), key_of(id))).collect();
    state.retain(|id| keys.get(id).is_none_or(|of_id| of_id.as_ref() != Some(&key)));
    state.insert(event_id.clone());
}
