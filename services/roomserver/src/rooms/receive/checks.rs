//! Runs the checks of authorization on receipt of a PDU: against its auth events, the state before it, and the current
//! state.
//!
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu)

use std::sync::Arc;

use plexus_events::{Pdu, auth};
use ruma::state_res::Event as _;

use super::{Incoming, cited::Cited};
use crate::rooms::{
    auth_events::is_ordinary,
    event::StoredEvent,
    insert_event::Disposition,
    states::StateRef,
    work::{Stop, Work},
};

/// Which check an event failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rooms) enum Stage {
    /// Against its auth events.
    AuthEvents,
    /// Against the state before it.
    StateBefore,
    /// Against the current state.
    CurrentState,
    /// It was parked, and what it waited for did not come.
    Missing,
}

impl Stage {
    pub(in crate::rooms) fn as_str(self) -> &'static str {
        match self {
            Self::AuthEvents => "auth_events",
            Self::StateBefore => "state_before",
            Self::CurrentState => "current_state",
            Self::Missing => "missing",
        }
    }
}

/// Runs the checks of authorization; returns the first that fails.
pub(super) fn check(
    work: &mut Work<'_>,
    incoming: &Incoming,
    cited: &Cited,
    before: &StateRef,
    disposition: Disposition,
) -> Result<Option<(Stage, String)>, Stop> {
    let is_create = incoming.event_type == "m.room.create";
    if is_create && incoming.id != work.room.identity.create_id {
        return Ok(Some((Stage::AuthEvents, "the room has another create event".to_owned())));
    }
    if let StateRef::Current = before
        && check_ordinary(work, incoming, cited)?
    {
        return Ok(None);
    }
    if let Err(refused) = check_auth_events(work, incoming, &cited.auth)? {
        return Ok(Some((Stage::AuthEvents, refused.0)));
    }
    if let Err(refused) = work.check_against(&incoming.pdu, before)? {
        return Ok(Some((Stage::StateBefore, refused.0)));
    }
    let (StateRef::State(state), Disposition::Extremity) = (before, disposition) else { return Ok(None) };
    // What cites all forward extremities was just checked against the current state. Where something in between is missing, the
    // current state may be long out of date, and what is told of the state before the event counts as much.
    let current = if cited.missing_prevs.is_empty() {
        StateRef::Current
    } else {
        let current = work.room.state();
        StateRef::State(work.resolve(&[current, state.clone()])?)
    };
    match work.check_against(&incoming.pdu, &current)? {
        Ok(()) => Ok(None),
        Err(refused) => Ok(Some((Stage::CurrentState, refused.0))),
    }
}

/// Whether an event is an ordinary message that cites the current state as its auth events, and known to be allowed: then
/// all three checks are the same one, whose verdict is remembered.
fn check_ordinary(work: &mut Work<'_>, incoming: &Incoming, cited: &Cited) -> Result<bool, Stop> {
    if incoming.pdu.state_key().is_some() || !is_ordinary(incoming.pdu.event_type()) {
        return Ok(false);
    }
    let held = work.message_auth_events(&incoming.sender, &StateRef::Current)?;
    let (mut ours, mut theirs) = (held.nids(), cited.auth.iter().map(|event| event.nid).collect::<Vec<_>>());
    ours.sort_unstable();
    theirs.sort_unstable();
    if ours != theirs {
        return Ok(false);
    }
    match work.check_message(&incoming.event_type, &held, || Ok(incoming.pdu.clone())) {
        Ok(()) => Ok(true),
        // The full checks tell at which stage.
        Err(Stop::Refuse(..)) => Ok(false),
        Err(stop) => Err(stop),
    }
}

/// Checks an event against the auth events that it cites.
pub(super) fn check_auth_events(
    work: &mut Work<'_>,
    incoming: &Incoming,
    auth_events: &[Arc<StoredEvent>],
) -> Result<Result<(), auth::Refused>, Stop> {
    let rules = work.rules();
    let is_create = incoming.id == work.room.identity.create_id;
    let create = if is_create { None } else { Some(work.create_event()?) };
    let mut parsed = Vec::with_capacity(auth_events.len());
    for event in auth_events {
        parsed.push(work.pdu_of(event)?);
    }
    let create = create.as_ref().map(|create| &create.pdu);
    let independent = auth::check_independent(&incoming.pdu, rules, |id| {
        parsed.iter().map(AsRef::as_ref).chain(create).find(|event| event.id() == id)
    });
    if let Err(refused) = independent {
        return Ok(Err(refused));
    }
    if is_create {
        return Ok(Ok(()));
    }
    // The create event counts as held where the version does not let it be cited.
    let implied = create.filter(|_| rules.room_id_is_create_hash());
    Ok(auth::check_dependent(&incoming.pdu, rules, |event_type, state_key| {
        parsed.iter().map(AsRef::as_ref).chain(implied).find(|event| {
            event.state_key() == Some(state_key) && *event.event_type() == event_type.to_string().into()
        })
    }))
}

impl Work<'_> {
    /// A stored event as the rules look at it.
    fn pdu_of(&self, event: &StoredEvent) -> Result<Arc<Pdu>, Stop> {
        let parsed = self.loaded.parsed.parse(event);
        parsed.map_err(|error| Stop::Poison(format!("stored event {}: {error}", event.nid)))
    }
}
