//! An event takes its place: state before and after it, the front of the room, rows and output records.

use std::sync::Arc;

use plexus_proto::log::v1::{
    ClientTransaction, HistoryVisibility, NewEvent, OldEvent, StateChange, StateDelta, StateRewritten,
    output_room_event::Body,
};
use ruma::{OwnedEventId, UserId};

use super::{
    event::{StoredEvent, flags},
    hot::StateEvent,
    ids::EventNid,
    members,
    outcome::{EventRow, RoomStateRow},
    room::Latest,
    state::MEMBER,
    states::{At, Differences, State, parse},
    work::{Stop, Work, bytes, unsigned},
};

/// Most entries of a delta in a record.
const MAX_DELTA: usize = 200;

/// What is written of an event.
pub(super) struct Draft<'a> {
    pub(super) nid: EventNid,
    pub(super) event_id: OwnedEventId,
    pub(super) json: Vec<u8>,
    pub(super) event_type: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) sender: &'a UserId,
    pub(super) depth: i64,
    pub(super) auth_generation: i32,
    pub(super) origin_server_ts: i64,
    pub(super) auth_nids: Vec<EventNid>,
    pub(super) visibility: HistoryVisibility,
    pub(super) txn: Option<ClientTransaction>,
    /// Whether it is stored already, as an outlier.
    pub(super) was_outlier: bool,
    /// Whether this server hands it on to the others in the room.
    pub(super) relay: bool,
    /// Whether it cites events that could not be had.
    pub(super) gap_before: bool,
}

/// How an event stands in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Accepted, at the front of the room.
    Front,
    /// Accepted, and from now on the only one at the front: a join through another server.
    OnlyFront,
    /// Accepted, before the timeline.
    Old,
    /// Part of the graph, but not for clients and not to be cited.
    SoftFailed,
    /// Refused by the rules; kept, so that what cites it can be judged.
    Rejected,
}

/// Where an event goes.
pub(super) struct Place<'a> {
    pub(super) standing: Standing,
    pub(super) before: At,
    /// Its previous events, as far as they are stored.
    pub(super) prevs: &'a [Latest],
}

/// An event that has its place.
pub(super) struct Placed {
    pub(super) nid: EventNid,
    pub(super) event_id: OwnedEventId,
    /// Its place in the timeline; 0 if it has none.
    pub(super) seq: i64,
}

/// Gives an event its place.
pub(super) fn place(work: &mut Work<'_>, draft: Draft<'_>, place: Place<'_>) -> Result<Placed, Stop> {
    let Place { standing, before, prevs } = place;
    let replaced = match draft.state_key {
        Some(state_key) if standing != Standing::Rejected => {
            let found = work.state_at(&before, draft.event_type, state_key)?;
            work.settle()?;
            found.flatten()
        }
        Some(_) | None => None,
    };
    let local = draft.sender.server_name() == work.env.server_name;
    let standing_flags = match standing {
        Standing::Front | Standing::OnlyFront | Standing::Old => 0,
        Standing::SoftFailed => flags::SOFT_FAILED,
        Standing::Rejected => flags::REJECTED,
    };
    // Only what is at the front is handed on, and only there a gap is told.
    let at_front = matches!(standing, Standing::Front | Standing::OnlyFront);
    let bit = |flag: i32, is_set: bool| if is_set { flag } else { 0 };
    let flags = standing_flags
        | bit(flags::LOCAL, local)
        | bit(flags::RELAY, draft.relay && at_front)
        | bit(flags::GAP_BEFORE, draft.gap_before && at_front);
    let mut event = StoredEvent {
        nid: draft.nid,
        event_id: draft.event_id.clone(),
        room_nid: work.room.identity.nid,
        event_type: draft.event_type.to_owned(),
        state_key: draft.state_key.map(str::to_owned),
        sender: draft.sender.to_owned(),
        depth: draft.depth,
        flags,
        auth_generation: draft.auth_generation,
        members_root: None,
        other_root: None,
        seq: None,
        origin_server_ts: draft.origin_server_ts,
        auth_nids: draft.auth_nids,
        prev_nids: prevs.iter().map(|prev| prev.nid).collect(),
        replaces_nid: replaced.as_ref().map(|old| old.nid),
        json: bytes(draft.json),
    };
    let mut visibility = draft.visibility;
    if draft.event_type == "m.room.history_visibility" && draft.state_key == Some("") {
        visibility = visibility.max(parse(&event)?.visibility);
    }
    let new = New { visibility, txn: draft.txn, was_outlier: draft.was_outlier };
    let placed = |seq| Placed { nid: draft.nid, event_id: draft.event_id.clone(), seq };
    match standing {
        Standing::Front | Standing::OnlyFront => {
            let seq = to_front(work, event, new, At2 { before, replaced, prevs, standing })?;
            Ok(placed(seq))
        }
        Standing::SoftFailed | Standing::Rejected => {
            let after = after(work, &event, &before, standing == Standing::SoftFailed)?;
            take_roots(&mut event, &after);
            write(work, event, new);
            Ok(placed(0))
        }
        Standing::Old => {
            let after = after(work, &event, &before, true)?;
            take_roots(&mut event, &after);
            work.room.forked = true;
            let position = before_timeline(work);
            event.seq = Some(position);
            let record = OldEvent {
                event_id: event.event_id.to_string(),
                json: event.json.clone(),
                depth: unsigned(event.depth),
                visibility: visibility.into(),
                position,
            };
            work.put_out(Some(event.nid), Body::OldEvent(record));
            write(work, event, new);
            Ok(placed(position))
        }
    }
}

impl Work<'_> {
    /// Keeps the current state as that after an output record, where the state after its event is another one.
    pub(super) fn keep_state(&mut self, seq: i64) {
        self.rows.room_states.push(RoomStateRow {
            room_nid: self.room.identity.nid,
            seq,
            members_root: self.room.members.root_column(),
            other_root: self.room.other.root_column(),
        });
    }
}

/// The position of an event from before the timeline. In a batch, what is cited goes first, so that its last event is the
/// one next to what was there before.
fn before_timeline(work: &mut Work<'_>) -> i64 {
    let base = match &work.room.filling {
        Some((input_id, base)) if *input_id == work.record.input_id => *base,
        _ => work.room.oldest_position,
    };
    work.room.filling = Some((work.record.input_id.clone(), base));
    let position = base - 1 - i64::from(work.following);
    work.room.oldest_position = work.room.oldest_position.min(position);
    position
}

/// What is written beside an event.
struct New {
    visibility: HistoryVisibility,
    txn: Option<ClientTransaction>,
    was_outlier: bool,
}

/// Where an event at the front stands.
struct At2<'a> {
    before: At,
    replaced: Option<Arc<StateEvent>>,
    prevs: &'a [Latest],
    standing: Standing,
}

/// The state after an event; one that is rejected changes nothing.
fn after(work: &mut Work<'_>, event: &StoredEvent, before: &At, counts: bool) -> Result<State, Stop> {
    let before = work.state_of(before);
    match &event.state_key {
        Some(state_key) if counts => work.with_event(&before, &event.event_type, state_key, event.nid),
        Some(_) | None => Ok(before),
    }
}

fn take_roots(event: &mut StoredEvent, after: &State) {
    event.members_root = after.members.root();
    event.other_root = after.other.root();
}

/// Puts an event at the front of the room; returns its `seq`.
fn to_front(work: &mut Work<'_>, mut event: StoredEvent, new: New, at: At2<'_>) -> Result<i64, Stop> {
    let own = Latest {
        nid: event.nid,
        event_id: event.event_id.clone(),
        depth: event.depth,
        local: event.flags & flags::LOCAL != 0,
    };
    let front = match at.standing {
        Standing::OnlyFront => vec![own],
        _ => work.front_with(own, at.prevs)?,
    };
    let alone = matches!(front.as_slice(), [only] if only.nid == event.nid);
    let rewritten = at.standing == Standing::OnlyFront;
    let seq = work.counters.next_seq + i64::from(rewritten);
    event.seq = Some(seq);
    let delta = if let (At::Current, true) = (&at.before, alone) {
        extend_line(work, &mut event, at.replaced.as_deref())?
    } else {
        work.room.forked = true;
        let after = after(work, &event, &at.before, true)?;
        take_roots(&mut event, &after);
        work.arriving = Some(Arc::new(event.clone()));
        let (front, current) =
            if alone { (front, after.clone()) } else { work.resolve_front(front, &event, &after)? };
        let delta = change_current(work, &event, (current, &after), rewritten)?;
        work.room.latest = front;
        work.arriving = None;
        delta
    };
    if alone {
        work.room.latest = vec![Latest {
            nid: event.nid,
            event_id: event.event_id.clone(),
            depth: event.depth,
            local: event.flags & flags::LOCAL != 0,
        }];
    }
    work.room.depth = work.room.depth.max(event.depth);
    if rewritten {
        let joined = unsigned(work.room.joined_members.into());
        work.put_out(None, Body::StateRewritten(StateRewritten { joined_members: joined }));
    }
    if !alone {
        work.keep_state(seq);
    }
    let told = work.server_changes()?;
    let server_changes = if rewritten || delta.truncated { None } else { told };
    let record = NewEvent {
        event_id: event.event_id.to_string(),
        json: event.json.clone(),
        latest_event_ids: work.room.latest.iter().map(|latest| latest.event_id.to_string()).collect(),
        depth: unsigned(event.depth),
        delta: Some(delta),
        visibility: new.visibility.into(),
        txn: new.txn.clone(),
        soft_failed: false,
        relay: !event.lacks(flags::RELAY),
        gap_before: !event.lacks(flags::GAP_BEFORE),
        server_changes,
    };
    work.put_out(Some(event.nid), Body::NewEvent(record));
    write(work, event, new);
    Ok(seq)
}

/// The ordinary case: the event follows on all that was at the front, so that the state after it is the current one.
fn extend_line(
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

/// The current state becomes another one: members, counts and the cache follow. Returns the delta. `after` is the state
/// after the event.
fn change_current(
    work: &mut Work<'_>,
    event: &StoredEvent,
    (current, after): (State, &State),
    rewritten: bool,
) -> Result<StateDelta, Stop> {
    let seq = event.seq.unwrap_or(0);
    let before = work.room.state();
    let differences = work.differences(&before, &current);
    work.settle()?;
    let differences = differences.unwrap_or_default();
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
pub(super) struct Entry {
    pub(super) key: super::Key,
    pub(super) event_type: String,
    pub(super) state_key: String,
    pub(super) before: Option<Arc<StateEvent>>,
    pub(super) after: Option<Arc<StateEvent>>,
}

/// Reads what changes; the event itself goes first.
fn load_entries(
    work: &mut Work<'_>,
    event: &StoredEvent,
    differences: &Differences,
) -> Result<Vec<Entry>, Stop> {
    let mut found = Vec::with_capacity(differences.len());
    for change in differences.iter() {
        let mut side = |nid: Option<EventNid>| match nid {
            None => Some(None),
            Some(nid) if nid == event.nid => Some(Some(Arc::new(event.clone()))),
            Some(nid) => work.event(nid).map(Some),
        };
        if let (Some(before), Some(after)) = (side(change.before), side(change.after)) {
            found.push((change.key, before, after));
        }
    }
    work.settle()?;
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
        let entry = Entry { key, event_type, state_key, before, after };
        if entry.after.as_ref().is_some_and(|after| after.nid == event.nid) {
            entries.insert(0, entry);
        } else {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn write(work: &mut Work<'_>, event: StoredEvent, new: New) {
    let (txn_device_id, txn_id) = match new.txn {
        Some(txn) => (Some(txn.device_id), Some(txn.txn_id)),
        None => (None, None),
    };
    let row = EventRow {
        event: Arc::new(event),
        received_ts: work.record.produced_ts,
        visibility: visibility_column(new.visibility),
        txn_device_id,
        txn_id,
    };
    if new.was_outlier {
        work.rows.placed.push(row);
    } else {
        work.rows.events.push(row);
    }
}

pub(super) fn visibility_column(visibility: HistoryVisibility) -> i16 {
    i16::try_from(i32::from(visibility)).unwrap_or(3)
}
