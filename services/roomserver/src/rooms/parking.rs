//! Parks events that cite missing ones, asks the fetcher for those, and applies the events when they have come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Parked, Verdict, verdict},
    log::v1::{
        self, FetchDone, FetchRequest, InputRoomEvent, fetch_done::Outcome as Fetched, input_room_event,
        output_room_event::Body,
    },
};
use prost::Message as _;
use ruma::{EventId, OwnedEventId};

use super::{
    ids::ParkedNid,
    outcome::{accepted, rejected},
    parked::{ParkedEntries, ParkedEntry, find},
    receive::{self, Stage},
    rows::ParkedRow,
    work::{Stop, Work, all, bad_state, bytes, invalid, unsigned},
};

/// Parked events of a room after which only those are kept that no other one cites.
const MAX_PARKED: usize = 100;
/// Parked events of a room after which the oldest ones are given up, of whatever server has sent most of them.
const MAX_KEPT: usize = 1_000;
/// How long an event may be parked, in milliseconds.
const MAX_AGE: i64 = 24 * 60 * 60 * 1000;
/// How often what is missing is asked for.
const MAX_ATTEMPTS: i32 = 5;
/// Most servers named in a request.
const MAX_VIA: usize = 20;

impl Work<'_> {
    /// The parked events of the room.
    pub(super) fn parked(&mut self) -> Result<&mut Arc<ParkedEntries>, Stop> {
        let room_nid = self.room.identity.nid;
        if self.room.parked.entries().is_none()
            && let Some(entries) = self.loaded.parked.get(&room_nid)
        {
            self.room.parked.set(Arc::clone(entries));
        }
        let Some(entries) = self.room.parked.entries() else {
            self.request.parked.insert(room_nid);
            return Err(Stop::Missing);
        };
        Ok(entries)
    }

    /// Parks an event.
    pub(super) fn park(
        &mut self,
        pdu: &v1::Pdu,
        id: &EventId,
        missing_prevs: Vec<OwnedEventId>,
        missing_auth: Vec<OwnedEventId>,
    ) -> Result<Verdict, Stop> {
        let entries = Arc::clone(self.parked()?);
        if let Some(entry) = find(&entries, id) {
            return Ok(parked(entry));
        }
        let mut missing: BTreeMap<OwnedEventId, bool> =
            missing_auth.into_iter().map(|id| (id, false)).collect();
        missing.extend(missing_prevs.into_iter().map(|id| (id, true)));
        let entry = Arc::new(ParkedEntry {
            nid: self.counters.parked(),
            event_id: id.to_owned(),
            missing,
            produced_ts: self.record.produced_ts,
            attempts: 1,
            origin: pdu.origin.as_str().into(),
        });
        let record =
            InputRoomEvent { body: Some(input_room_event::Body::Pdu(pdu.clone())), ..self.record.clone() };
        self.rows.parked.push(ParkedRow {
            room_nid: self.room.identity.nid,
            partition: self.room.identity.partition,
            entry: Arc::clone(&entry),
            record: bytes(record.encode_to_vec()),
        });
        let verdict = parked(&entry);
        self.request(&entry, pdu, &entries);
        Arc::make_mut(self.parked()?).insert(entry.nid, entry);
        self.bound_parked(pdu)?;
        Ok(verdict)
    }

    /// Asks the fetcher for what an event lacks, but for what is parked itself.
    fn request(&mut self, entry: &ParkedEntry, pdu: &v1::Pdu, parked: &ParkedEntries) {
        let wanted = |is_prev: bool| {
            let ids = entry.missing.iter().filter(move |(_, prev)| **prev == is_prev).map(|(id, _)| id);
            ids.filter(|id| find(parked, id).is_none()).map(ToString::to_string).collect::<Vec<_>>()
        };
        let (missing_prev_event_ids, missing_auth_event_ids) = (wanted(true), wanted(false));
        if missing_prev_event_ids.is_empty() && missing_auth_event_ids.is_empty() {
            return;
        }
        let mut via: Vec<String> = Vec::new();
        for server in std::iter::once(&pdu.origin).chain(&pdu.via).filter(|server| !server.is_empty()) {
            if !via.contains(server) && via.len() < MAX_VIA {
                via.push(server.clone());
            }
        }
        let request = FetchRequest {
            event_id: entry.event_id.to_string(),
            missing_prev_event_ids,
            missing_auth_event_ids,
            via,
            latest_event_ids: self.room.extremity_ids(),
            min_depth: unsigned(
                self.room.forward_extremities.iter().map(|extremity| extremity.depth).min().unwrap_or(0),
            ),
            attempt: u32::try_from(entry.attempts.saturating_sub(1)).unwrap_or(0),
        };
        self.put_out(None, Body::Fetch(request));
    }

    /// Keeps the number of parked events within its bounds.
    fn bound_parked(&mut self, pdu: &v1::Pdu) -> Result<(), Stop> {
        let entries = Arc::clone(self.parked()?);
        if entries.len() <= MAX_PARKED {
            return Ok(());
        }
        let cited: BTreeSet<&OwnedEventId> =
            entries.values().flat_map(|entry| entry.missing.keys()).collect();
        let (inner, outer): (Vec<_>, Vec<_>) =
            entries.values().partition(|entry| cited.contains(&entry.event_id));
        for entry in &inner {
            self.drop_parked(entry.nid)?;
        }
        // What was dropped has to be fetched for those that cite it.
        let inner_ids: BTreeSet<_> = inner.iter().map(|entry| &entry.event_id).collect();
        let left = Arc::clone(self.parked()?);
        for entry in &outer {
            if entry.missing.keys().any(|id| inner_ids.contains(id)) {
                self.request(entry, pdu, &left);
            }
        }
        for _ in MAX_KEPT..left.len() {
            let left = Arc::clone(self.parked()?);
            let Some(entry) = oldest_of_most(&left) else { break };
            self.give_up(entry, "too many events of the room are parked")?;
        }
        Ok(())
    }

    fn drop_parked(&mut self, nid: ParkedNid) -> Result<(), Stop> {
        Arc::make_mut(self.parked()?).remove(&nid);
        // One that this input has parked is not to be written in the first place.
        let known = self.rows.parked.len();
        self.rows.parked.retain(|row| row.entry.nid != nid);
        if self.rows.parked.len() == known {
            self.rows.unparked.push(nid);
        }
        Ok(())
    }

    /// An event is not parked any more: it was applied.
    pub(super) fn unpark(&mut self, parked: Option<ParkedNid>, id: &EventId) -> Result<(), Stop> {
        let entries = self.parked()?;
        let nid = parked.or_else(|| find(entries, id).map(|entry| entry.nid));
        match nid {
            Some(nid) if entries.contains_key(&nid) => self.drop_parked(nid),
            Some(_) | None => Ok(()),
        }
    }

    /// An event is stored: what waited for it may go on. An outlier does not serve those that need the state at it.
    pub(super) fn note_arrived(&mut self, id: &OwnedEventId, is_outlier: bool) -> Result<(), Stop> {
        let entries = Arc::clone(self.parked()?);
        let served = |entry: &&Arc<ParkedEntry>| {
            entry.missing.get(id).is_some_and(|is_prev| !(is_outlier && *is_prev))
        };
        let waiting: Vec<_> = entries.values().filter(served).map(Arc::clone).collect();
        for entry in waiting {
            let mut less = ParkedEntry::clone(&entry);
            less.missing.remove(id);
            if less.missing.is_empty() {
                self.unparked.insert(less.nid);
            } else {
                self.rows.arrived.push((less.nid, id.clone()));
            }
            Arc::make_mut(self.parked()?).insert(less.nid, Arc::new(less));
        }
        Ok(())
    }

    /// Gives up events that have been parked for a day.
    pub(super) fn expire_parked(&mut self) -> Result<(), Stop> {
        let before = self.record.produced_ts.saturating_sub(MAX_AGE);
        let entries = Arc::clone(self.parked()?);
        for entry in entries.values().filter(|entry| entry.produced_ts < before && !entry.missing.is_empty())
        {
            self.give_up(entry, "what the event cites could not be had for 24 hours")?;
        }
        Ok(())
    }

    /// Gives up a parked event. What waits for it asks for it: whoever sent that may know more than who sent the event.
    fn give_up(&mut self, entry: &ParkedEntry, why: &str) -> Result<(), Stop> {
        let (nid, id) = (entry.nid, &entry.event_id);
        let entries = Arc::clone(self.parked()?);
        if !entries.contains_key(&nid) {
            return Ok(());
        }
        let waiting: Vec<_> = entries.values().filter(|entry| entry.missing.contains_key(id)).collect();
        let mut pdus = Vec::with_capacity(waiting.len());
        for (entry, pdu) in waiting.iter().zip(all(waiting.iter().map(|entry| self.parked_pdu(entry.nid)))?) {
            pdus.extend(pdu.map(|pdu| (Arc::clone(entry), pdu)));
        }
        self.drop_parked(nid)?;
        receive::decide(self, id, None, Stage::Missing, why.to_owned());
        let left = Arc::clone(self.parked()?);
        for (entry, pdu) in pdus {
            self.request(&entry, &pdu, &left);
        }
        Ok(())
    }
}

/// The oldest event of the server that has most events parked: no server pushes out what others have sent.
fn oldest_of_most(entries: &ParkedEntries) -> Option<&Arc<ParkedEntry>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries.values() {
        *counts.entry(&entry.origin).or_default() += 1;
    }
    let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    entries.values().find(|entry| *entry.origin == *most)
}

impl Work<'_> {
    /// Events of the room that are parked.
    pub(super) fn list_parked(&mut self) -> Result<Vec<OwnedEventId>, Stop> {
        Ok(self.parked()?.values().map(|entry| entry.event_id.clone()).collect())
    }

    /// Asks for what a parked event lacks as if for the first time. `None` if no such event is parked.
    pub(super) fn ask_anew(&mut self, id: &EventId) -> Result<Option<Verdict>, Stop> {
        let entries = Arc::clone(self.parked()?);
        let Some(entry) = find(&entries, id) else { return Ok(None) };
        let Some(pdu) = self.parked_pdu(entry.nid)? else {
            return Err(bad_state("the parked event cannot be read"));
        };
        let anew = ParkedEntry { attempts: 1, ..ParkedEntry::clone(entry) };
        self.rows.asked_again.push((anew.nid, anew.attempts, 0));
        self.request(&anew, &pdu, &entries);
        let verdict = parked(&anew);
        Arc::make_mut(self.parked()?).insert(anew.nid, Arc::new(anew));
        Ok(Some(verdict))
    }
}

/// Applies the end of an attempt to fetch.
pub(super) fn fetch_done(work: &mut Work<'_>, done: &FetchDone) -> Result<Verdict, Stop> {
    let id = EventId::parse(&done.event_id).map_err(|_| invalid("`event_id` is not an event ID"))?;
    let entries = Arc::clone(work.parked()?);
    let Some(entry) = find(&entries, &id) else {
        // It was applied, or given up, in the meantime.
        return Ok(accepted(None, 0));
    };
    match done.outcome() {
        Fetched::Unspecified => return Err(invalid("the outcome is not set")),
        Fetched::GaveUp => {
            let reason: String = done.reason.chars().take(1000).collect();
            let why = format!("what the event cites could not be fetched: {reason}");
            work.give_up(entry, &why)?;
            return Ok(accepted(None, 0));
        }
        Fetched::Deferred => return defer(work, entry, done),
        Fetched::Fetched => {}
    }
    let Some(pdu) = work.parked_pdu(entry.nid)? else {
        return Err(bad_state("the parked event cannot be read"));
    };
    if let Some(state_before) = &done.state_before {
        return receive::receive_with_state(work, &pdu, entry.nid, state_before);
    }
    if entry.attempts >= MAX_ATTEMPTS {
        work.give_up(entry, "what the event cites could not be fetched in five attempts")?;
    } else {
        let again = ParkedEntry { attempts: entry.attempts + 1, ..ParkedEntry::clone(entry) };
        work.rows.asked_again.push((again.nid, again.attempts, 0));
        work.request(&again, &pdu, &entries);
        Arc::make_mut(work.parked()?).insert(again.nid, Arc::new(again));
    }
    Ok(accepted(None, 0))
}

/// Notes that an attempt has to be repeated later: whoever could tell was not to be reached.
fn defer(work: &mut Work<'_>, entry: &ParkedEntry, done: &FetchDone) -> Result<Verdict, Stop> {
    if entry.attempts >= MAX_ATTEMPTS {
        let reason: String = done.reason.chars().take(1000).collect();
        let why = format!("what the event cites could not be fetched in five attempts: {reason}");
        work.give_up(entry, &why)?;
        return Ok(accepted(None, 0));
    }
    let again = ParkedEntry { attempts: entry.attempts + 1, ..ParkedEntry::clone(entry) };
    let latest = work.record.produced_ts.saturating_add(MAX_AGE);
    work.rows.asked_again.push((again.nid, again.attempts, done.not_before_ts.clamp(0, latest)));
    Arc::make_mut(work.parked()?).insert(again.nid, Arc::new(again));
    Ok(accepted(None, 0))
}

/// Gives up a parked event that lacks nothing and is refused all the same.
pub(super) fn abandon(work: &mut Work<'_>, nid: ParkedNid, why: &str) -> Result<Verdict, Stop> {
    let entry = work.parked()?.get(&nid).map(Arc::clone);
    if let Some(entry) = entry {
        work.give_up(&entry, why)?;
    }
    Ok(rejected(ErrorReason::InvalidParam, why))
}

/// Gives up what has been parked for too long.
pub(super) fn expire(work: &mut Work<'_>) -> Result<i64, Stop> {
    work.expire_parked()?;
    Ok(0)
}

impl Work<'_> {
    /// The input of a parked event.
    fn parked_pdu(&mut self, nid: ParkedNid) -> Result<Option<v1::Pdu>, Stop> {
        let own = self.rows.parked.iter().find(|row| row.entry.nid == nid).map(|row| row.record.clone());
        let record = own.or_else(|| self.loaded.parked_records.get(&nid).cloned());
        let record = self.found(record, |request| {
            request.parked_records.insert(nid);
        })?;
        let record = InputRoomEvent::decode(record)
            .map_err(|error| Stop::Poison(format!("parked input {nid} cannot be read: {error}")))?;
        Ok(match record.body {
            Some(input_room_event::Body::Pdu(pdu)) => Some(pdu),
            _ => None,
        })
    }
}

fn parked(entry: &ParkedEntry) -> Verdict {
    let missing_event_ids = entry.missing.keys().map(ToString::to_string).collect();
    Verdict { outcome: Some(verdict::Outcome::Parked(Parked { missing_event_ids })) }
}

/// What is said where a record asks for something that only rooms with members here have.
pub(super) fn unknown_room() -> Stop {
    Stop::Refuse(ErrorReason::RoomUnknown, "the room is not known here".to_owned())
}
