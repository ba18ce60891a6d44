//! Bringing a room into memory.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use plexus_proto::{
    log::v1::HistoryVisibility,
    room::v1::{RoomEvent, StateKey},
};
use ruma::RoomId;
use tracing::error;

use super::{Event, RoomView, receipts::Receipt, room::Change};
use crate::upstream::{Snapshot, Upstream, UpstreamError};

type Key = (String, String);

/// Reads a room from the room server. Returns it with the position that it reflects.
///
/// The snapshot tells the state at its end. Timelines are shown with the state before them, so the state at the start of
/// the snapshot's timeline is worked out too: what differs is asked for, and kept as changes.
pub(super) async fn load(upstream: &Upstream, room_id: &RoomId) -> Result<(RoomView, u64), UpstreamError> {
    let snapshot = upstream.snapshot(room_id).await?;
    let seq = snapshot.seq;
    let start = match snapshot.timeline.iter().filter_map(|entry| entry.event.as_ref()).next() {
        Some(first) if snapshot.more_before => first.seq.saturating_sub(1),
        None if snapshot.more_before => seq,
        Some(_) | None => 0,
    };
    let before = state_before(upstream, room_id, start, seq).await?;
    Ok((build(room_id, snapshot, start, before), seq))
}

/// The entries that differ between the start and the end, as they were at the start; `None` stands for "all, and there
/// were none".
async fn state_before(
    upstream: &Upstream,
    room_id: &RoomId,
    start: u64,
    end: u64,
) -> Result<Option<HashMap<Key, Option<RoomEvent>>>, UpstreamError> {
    if start == 0 {
        return Ok(None);
    }
    let delta = upstream.state_delta(room_id, start, end).await?;
    let mut keys: HashSet<Key> = HashSet::new();
    for event in &delta.changed {
        if let Some(event) = read(room_id, event.clone(), HistoryVisibility::Shared) {
            keys.insert(key_of(&event));
        }
    }
    keys.extend(delta.removed.into_iter().map(|key| (key.r#type, key.state_key)));
    let wanted = keys.iter().map(|(kind, key)| StateKey { r#type: kind.clone(), state_key: key.clone() });
    let old = upstream.state_entries(room_id, wanted.collect(), Some(start)).await?;
    let mut before: HashMap<Key, Option<RoomEvent>> = keys.into_iter().map(|key| (key, None)).collect();
    for event in old {
        if let Some(parsed) = read(room_id, event.clone(), HistoryVisibility::Shared) {
            before.insert(key_of(&parsed), Some(event));
        }
    }
    Ok(Some(before))
}

fn build(
    room_id: &RoomId,
    snapshot: Snapshot,
    start: u64,
    before: Option<HashMap<Key, Option<RoomEvent>>>,
) -> RoomView {
    let mut room = RoomView::known_from(start, snapshot.info.room_version.clone());
    let mut by_id: HashMap<String, Arc<Event>> = HashMap::new();
    for entry in snapshot.timeline {
        let visibility = entry.visibility();
        let event = entry.event.and_then(|event| read(room_id, event, visibility)).map(Arc::new);
        if let Some(event) = event.filter(|event| event.seq > start && event.seq <= snapshot.seq) {
            by_id.insert(event.id.to_string(), Arc::clone(&event));
            room.timeline.push_back(event);
        }
    }
    for stored in snapshot.state {
        // Events of the timeline are the same in the state; they need not be there twice.
        let known = by_id.get(&stored.event_id).cloned();
        let event = known.or_else(|| read(room_id, stored, HistoryVisibility::Shared).map(Arc::new));
        if let Some(event) = event {
            let (kind, state_key) = key_of(&event);
            room.set(&kind, &state_key, Some(event));
        }
    }
    room.changes = changes(room_id, &room, snapshot.seq, before).into();
    for stored in snapshot.receipts {
        let (seq, receipt) = (stored.seq, stored.receipt.unwrap_or_default());
        // One that is newer than the snapshot comes by the log.
        if seq > snapshot.seq {
            continue;
        }
        match Receipt::read(receipt, seq) {
            Ok(receipt) => room.receipts.set(receipt),
            Err(failure) => error!(room.id = %room_id, error = %failure, "stored receipt cannot be read"),
        }
    }
    room.survey();
    room.trim();
    room.weigh();
    room
}

/// Works out what happened to the state in the timeline.
fn changes(
    room_id: &RoomId,
    room: &RoomView,
    end: u64,
    before: Option<HashMap<Key, Option<RoomEvent>>>,
) -> Vec<Change> {
    let from_nothing = before.is_none();
    let mut at: HashMap<Key, Option<Arc<Event>>> = match before {
        Some(before) => before
            .into_iter()
            .map(|(key, old)| {
                let old = old.and_then(|old| read(room_id, old, HistoryVisibility::Shared));
                (key, old.map(Arc::new))
            })
            .collect(),
        None => room.all_at(u64::MAX, true).iter().map(|event| (key_of(event), None)).collect(),
    };
    let mut changes = Vec::new();
    for event in room.timeline.iter().filter(|event| event.state_key.is_some()) {
        let (kind, state_key) = key_of(event);
        // An entry that is the same at both ends did not change, or changed and came back: then nobody misses it.
        let Some(current) = at.get_mut(&(kind.clone(), state_key.clone())) else {
            continue;
        };
        let old = current.replace(Arc::clone(event));
        if let Some(old) = &old {
            event.replaces(old);
        }
        changes.push(Change { seq: event.seq, kind, state_key, old, new: Some(Arc::clone(event)) });
    }
    // Whatever the timeline does not explain, such as a resolution of conflicts, is taken to have happened at the end.
    for ((kind, state_key), current) in at {
        let now = room.get(&kind, &state_key).cloned();
        let id = |event: &Option<Arc<Event>>| event.as_ref().map(|event| event.id.clone());
        if id(&current) != id(&now) {
            // In a room that is in memory from its first event on, nothing precedes what the timeline hides.
            let seq = if from_nothing { now.as_ref().map_or(end, |now| now.seq.min(end)) } else { end };
            changes.push(Change { seq, kind, state_key, old: current, new: now });
        }
    }
    changes.sort_by_key(|change| change.seq);
    changes
}

fn read(room_id: &RoomId, stored: RoomEvent, visibility: HistoryVisibility) -> Option<Event> {
    let event_id = stored.event_id.clone();
    Event::stored(stored, visibility)
        .inspect_err(|failure| {
            error!(room.id = %room_id, event.id = event_id, error = %failure, "stored event cannot be read");
        })
        .ok()
}

fn key_of(event: &Event) -> Key {
    (event.kind.clone(), event.state_key.clone().unwrap_or_default())
}
