//! Changes the current state: the entries, memberships, counts and the delta that readers of the output log are told.

use std::sync::Arc;

use plexus_proto::log::v1::{StateChange, StateDelta};

use super::{
    event::StoredEvent,
    facts::is_fact,
    ids::EventNid,
    members,
    rows::FactRow,
    state::MEMBER,
    state_cache::StateEvent,
    states::{Differences, State, parse},
    work::{Stop, Work, all},
};

/// Most entries of a delta in a record.
const MAX_DELTA: usize = 200;

/// Extends the current state by an event that follows on all forward extremities: the ordinary case, in which the state
/// after the event becomes the current one. Returns what changes.
pub(super) fn extend(
    work: &mut Work<'_>,
    event: &mut StoredEvent,
    replaced: Option<&StateEvent>,
) -> Result<StateDelta, Stop> {
    let mut delta = StateDelta::default();
    if let Some(state_key) = event.state_key.clone() {
        let seq = event.seq.unwrap_or(0);
        let parsed = parse(event)?;
        if event.event_type == MEMBER {
            members::change(work, &state_key, replaced, Some(&parsed), seq)?;
        }
        work.weigh(&event.event_type, replaced, Some(&parsed));
        work.set_state(&event.event_type, &state_key, parsed)?;
        delta.changes.push(StateChange {
            r#type: event.event_type.clone(),
            state_key,
            event_id: event.event_id.to_string(),
            replaces_event_id: replaced.map(|old| old.event_id.to_string()).unwrap_or_default(),
        });
    }
    event.members_root = work.room.members.root();
    event.other_root = work.room.other.root();
    Ok(delta)
}

/// Replaces the current state by another one: members, counts and the cache follow. Returns what changes. `after` is the
/// state after the event.
pub(super) fn replace(
    work: &mut Work<'_>,
    event: &StoredEvent,
    (current, after): (State, &State),
    rewritten: bool,
) -> Result<StateDelta, Stop> {
    let seq = event.seq.unwrap_or(0);
    let before = work.room.state();
    let differences = work.differences(&before, &current)?;
    work.charge(differences.len())?;
    let entries = load_entries(work, event, &differences)?;
    if !rewritten {
        work.detect_resets(event, [&current, after], &entries)?;
    }
    work.room.members = current.members;
    work.room.other = current.other;
    let mut delta = StateDelta { changes: Vec::new(), truncated: entries.len() > MAX_DELTA };
    for entry in entries {
        if entry.event_type == MEMBER {
            members::change(work, &entry.state_key, entry.before.as_deref(), entry.after.as_deref(), seq)?;
        }
        work.weigh(&entry.event_type, entry.before.as_deref(), entry.after.as_deref());
        if delta.truncated {
            work.change_fact(&entry);
        } else {
            let id = |event: &Option<Arc<StateEvent>>| {
                event.as_ref().map(|event| event.event_id.to_string()).unwrap_or_default()
            };
            delta.changes.push(StateChange {
                r#type: entry.event_type,
                state_key: entry.state_key,
                event_id: id(&entry.after),
                replaces_event_id: id(&entry.before),
            });
        }
        work.note_state(entry.key, entry.after);
    }
    Ok(delta)
}

/// An entry of the current state that changes.
pub(super) struct ChangedEntry {
    pub(super) key: super::Key,
    pub(super) event_type: String,
    pub(super) state_key: String,
    pub(super) before: Option<Arc<StateEvent>>,
    pub(super) after: Option<Arc<StateEvent>>,
}

/// Reads the entries that change; the event itself goes first.
fn load_entries(
    work: &mut Work<'_>,
    event: &StoredEvent,
    differences: &Differences,
) -> Result<Vec<ChangedEntry>, Stop> {
    let found = all(differences.iter().map(|change| {
        let mut side = |nid: Option<EventNid>| match nid {
            None => Ok(None),
            Some(nid) if nid == event.nid => Ok(Some(Arc::new(event.clone()))),
            Some(nid) => work.event(nid).map(Some),
        };
        let (before, after) = (side(change.before), side(change.after));
        Ok((change.key, before?, after?))
    }))?;
    let mut entries = Vec::with_capacity(found.len());
    for (key, before, after) in found {
        let Some(named) = after.as_ref().or(before.as_ref()) else { continue };
        let state_key = named.state_key.clone().unwrap_or_default();
        let event_type = named.event_type.clone();
        let mut parsed = [None, None];
        for (slot, side) in parsed.iter_mut().zip([&before, &after]) {
            *slot = side.as_ref().map(|event| parse(event).map(Arc::new)).transpose()?;
        }
        let [before, after] = parsed;
        let entry = ChangedEntry { key, event_type, state_key, before, after };
        if entry.after.as_ref().is_some_and(|after| after.nid == event.nid) {
            entries.insert(0, entry);
        } else {
            entries.push(entry);
        }
    }
    Ok(entries)
}

impl Work<'_> {
    /// Writes an entry of the current state that changes. What the record tells of the change is written from the record.
    pub(super) fn change_fact(&mut self, entry: &ChangedEntry) {
        if is_fact(&entry.event_type, &entry.state_key) {
            self.rows.facts.push(FactRow {
                room_nid: self.room.identity.nid,
                event_type: entry.event_type.clone(),
                state_key: entry.state_key.clone(),
                nid: entry.after.as_ref().map(|after| after.nid),
            });
        }
    }
}
