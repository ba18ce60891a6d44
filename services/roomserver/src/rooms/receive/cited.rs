//! Looks up the events that an incoming event cites.

use std::sync::Arc;

use ruma::OwnedEventId;

use super::Incoming;
use crate::rooms::{
    event::{StoredEvent, flags},
    work::{Stop, Work, all, invalid},
};

/// The events that an event cites, as far as they are stored.
pub(super) struct Cited {
    pub(super) auth: Vec<Arc<StoredEvent>>,
    pub(super) prevs: Vec<Arc<StoredEvent>>,
    pub(super) missing_auth: Vec<OwnedEventId>,
    pub(super) missing_prevs: Vec<OwnedEventId>,
}

/// Looks up an event and the events that it cites, in one round of loading.
pub(super) fn look_up(
    work: &mut Work<'_>,
    incoming: &Incoming,
) -> Result<(Option<Arc<StoredEvent>>, Cited), Stop> {
    let mut cited =
        Cited { auth: Vec::new(), prevs: Vec::new(), missing_auth: Vec::new(), missing_prevs: Vec::new() };
    let room = work.room.identity.nid;
    let known = work.event_by_id(&incoming.id);
    let arrival = work.arrival(&incoming.id);
    let auth_ids = incoming.pdu.auth_event_ids();
    let auth = all(auth_ids.iter().map(|id| work.event_by_id(id)));
    let prev_ids = incoming.pdu.prev_event_ids();
    let prevs = all(prev_ids.iter().map(|id| work.event_by_id(id)));
    let (known, auth, prevs) = (known?, auth?, prevs?);
    arrival?;
    for (id, event) in auth_ids.iter().zip(auth) {
        match event {
            Some(event) if event.room_nid == room => cited.auth.push(event),
            // An event of another room authorizes nothing; it cannot be had for this one.
            Some(_) => return Err(invalid("an auth event is of another room")),
            None => cited.missing_auth.push(id.clone()),
        }
    }
    for (id, event) in prev_ids.iter().zip(prevs) {
        match event {
            Some(event) if event.room_nid != room => {
                return Err(invalid("a previous event is of another room"));
            }
            Some(event) if event.lacks(flags::OUTLIER) => cited.prevs.push(event),
            Some(_) | None => cited.missing_prevs.push(id.clone()),
        }
    }
    if known.as_ref().is_some_and(|known| known.room_nid != room) {
        return Err(invalid("the event is known as one of another room"));
    }
    Ok((known, cited))
}
