//! Inserts an event into the room: the states before and after it, forward extremities, rows and output records.

use std::sync::Arc;

use plexus_proto::log::v1::{
    ClientTransaction, HistoryVisibility, NewEvent, OldEvent, StateRewritten, output_room_event::Body,
};
use ruma::{OwnedEventId, UserId};

use super::{
    event::{StoredEvent, flags},
    ids::EventNid,
    room::ForwardExtremity,
    rows::{EventRow, RoomStateRow},
    state_cache::StateEvent,
    state_change,
    states::{State, StateRef, parse},
    work::{Stop, Work, bytes, unsigned},
};

/// An event to insert.
pub(super) struct EventInsert<'a> {
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

/// How an event goes into the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Accepted, as a forward extremity.
    Extremity,
    /// Accepted, and from now on the only forward extremity: a join through another server.
    SoleExtremity,
    /// Accepted, before the timeline.
    Backfilled,
    /// Part of the graph, but not for clients and not to be cited.
    SoftFailed,
    /// Refused by the rules; kept, so that what cites it can be judged.
    Rejected,
}

/// An event that was inserted.
pub(super) struct Inserted {
    pub(super) nid: EventNid,
    pub(super) event_id: OwnedEventId,
    /// Its position in the timeline; 0 if it has none.
    pub(super) seq: i64,
}

/// Inserts an event whose checks are done. `before` is the state before it, `prevs` are its previous events, as far as
/// they are stored.
pub(super) fn insert_event(
    work: &mut Work<'_>,
    insert: EventInsert<'_>,
    disposition: Disposition,
    before: &StateRef,
    prevs: &[ForwardExtremity],
) -> Result<Inserted, Stop> {
    let replaced = match insert.state_key {
        Some(state_key) if disposition != Disposition::Rejected => {
            work.state_at(before, insert.event_type, state_key)?
        }
        Some(_) | None => None,
    };
    let local = insert.sender.server_name() == work.env.server_name;
    let disposition_flags = match disposition {
        Disposition::Extremity | Disposition::SoleExtremity | Disposition::Backfilled => 0,
        Disposition::SoftFailed => flags::SOFT_FAILED,
        Disposition::Rejected => flags::REJECTED,
    };
    // Only forward extremities are handed on, and only for them a gap is told.
    let is_extremity = matches!(disposition, Disposition::Extremity | Disposition::SoleExtremity);
    let bit = |flag: i32, is_set: bool| if is_set { flag } else { 0 };
    let flags = disposition_flags
        | bit(flags::LOCAL, local)
        | bit(flags::RELAY, insert.relay && is_extremity)
        | bit(flags::GAP_BEFORE, insert.gap_before && is_extremity);
    let mut event = StoredEvent {
        nid: insert.nid,
        event_id: insert.event_id.clone(),
        room_nid: work.room.identity.nid,
        event_type: insert.event_type.to_owned(),
        state_key: insert.state_key.map(str::to_owned),
        sender: insert.sender.to_owned(),
        depth: insert.depth,
        flags,
        auth_generation: insert.auth_generation,
        members_root: None,
        other_root: None,
        seq: None,
        origin_server_ts: insert.origin_server_ts,
        auth_nids: insert.auth_nids,
        prev_nids: prevs.iter().map(|prev| prev.nid).collect(),
        replaces_nid: replaced.as_ref().map(|old| old.nid),
        json: bytes(insert.json),
    };
    let mut visibility = insert.visibility;
    if insert.event_type == "m.room.history_visibility" && insert.state_key == Some("") {
        visibility = visibility.max(parse(&event)?.visibility);
    }
    let beside = BesideEvent { visibility, txn: insert.txn, was_outlier: insert.was_outlier };
    let seq = match disposition {
        Disposition::Extremity | Disposition::SoleExtremity => {
            let context = ExtremityContext { before, replaced, prevs, disposition };
            insert_at_extremity(work, event, beside, &context)?
        }
        Disposition::SoftFailed | Disposition::Rejected => {
            let after = state_after(work, &event, before, disposition == Disposition::SoftFailed)?;
            take_roots(&mut event, &after);
            write(work, event, beside);
            0
        }
        Disposition::Backfilled => backfill(work, event, beside, before)?,
    };
    Ok(Inserted { nid: insert.nid, event_id: insert.event_id, seq })
}

/// Inserts an event before the timeline; returns its position there.
fn backfill(
    work: &mut Work<'_>,
    mut event: StoredEvent,
    beside: BesideEvent,
    before: &StateRef,
) -> Result<i64, Stop> {
    let after = state_after(work, &event, before, true)?;
    take_roots(&mut event, &after);
    work.room.forked = true;
    let position = before_timeline(work);
    event.seq = Some(position);
    let record = OldEvent {
        event_id: event.event_id.to_string(),
        json: event.json.clone(),
        depth: unsigned(event.depth),
        visibility: beside.visibility.into(),
        position,
    };
    work.put_out(Some(event.nid), Body::OldEvent(record));
    write(work, event, beside);
    Ok(position)
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
struct BesideEvent {
    visibility: HistoryVisibility,
    txn: Option<ClientTransaction>,
    was_outlier: bool,
}

/// What an event that becomes a forward extremity follows on.
struct ExtremityContext<'a> {
    before: &'a StateRef,
    replaced: Option<Arc<StateEvent>>,
    prevs: &'a [ForwardExtremity],
    disposition: Disposition,
}

/// Computes the state after an event; one that is rejected changes nothing.
fn state_after(
    work: &mut Work<'_>,
    event: &StoredEvent,
    before: &StateRef,
    counts: bool,
) -> Result<State, Stop> {
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

/// Makes an event a forward extremity of the room; returns its `seq`.
fn insert_at_extremity(
    work: &mut Work<'_>,
    mut event: StoredEvent,
    beside: BesideEvent,
    at: &ExtremityContext<'_>,
) -> Result<i64, Stop> {
    let own = ForwardExtremity::from(&event);
    let extremities = match at.disposition {
        Disposition::SoleExtremity => vec![own.clone()],
        _ => work.extremities_with(own.clone(), at.prevs)?,
    };
    let alone = matches!(extremities.as_slice(), [only] if only.nid == event.nid);
    let rewritten = at.disposition == Disposition::SoleExtremity;
    let seq = work.counters.next_seq + i64::from(rewritten);
    event.seq = Some(seq);
    let delta = if let (StateRef::Current, true) = (at.before, alone) {
        state_change::extend(work, &mut event, at.replaced.as_deref())?
    } else {
        work.room.forked = true;
        let after = state_after(work, &event, at.before, true)?;
        take_roots(&mut event, &after);
        work.arriving = Some(Arc::new(event.clone()));
        let (extremities, current) = if alone {
            (extremities, after.clone())
        } else {
            work.resolve_extremities(extremities, &event, &after)?
        };
        let delta = state_change::replace(work, &event, (current, &after), rewritten)?;
        work.room.forward_extremities = extremities;
        work.arriving = None;
        delta
    };
    if alone {
        work.room.forward_extremities = vec![own];
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
        latest_event_ids: work.room.extremity_ids(),
        depth: unsigned(event.depth),
        delta: Some(delta),
        visibility: beside.visibility.into(),
        txn: beside.txn.clone(),
        soft_failed: false,
        relay: !event.lacks(flags::RELAY),
        gap_before: !event.lacks(flags::GAP_BEFORE),
        server_changes,
    };
    work.put_out(Some(event.nid), Body::NewEvent(record));
    write(work, event, beside);
    Ok(seq)
}

fn write(work: &mut Work<'_>, event: StoredEvent, beside: BesideEvent) {
    let (txn_device_id, txn_id) = match beside.txn {
        Some(txn) => (Some(txn.device_id), Some(txn.txn_id)),
        None => (None, None),
    };
    let row = EventRow {
        event: Arc::new(event),
        received_ts: work.record.produced_ts,
        visibility: visibility_column(beside.visibility),
        txn_device_id,
        txn_id,
    };
    if beside.was_outlier {
        work.rows.placed.push(row);
    } else {
        work.rows.events.push(row);
    }
}

pub(super) fn visibility_column(visibility: HistoryVisibility) -> i16 {
    i16::try_from(i32::from(visibility)).unwrap_or(3)
}
