//! The two orderings: reverse topological power ordering, and mainline ordering.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet},
};

use ruma::{
    Int, MilliSecondsSinceUnixEpoch, OwnedEventId,
    events::{TimelineEventType, room::power_levels::UserPowerLevel},
    state_res::Event as _,
};
use serde::Deserialize;

use super::{Lookup, Reader, Unresolved};
use crate::{pdu::Pdu, power::Power};

type Sorted<N> = Result<Vec<N>, Unresolved<N>>;

/// Picks the power events of the full conflicted set, and what of it is in their auth chains, and sorts them: Kahn's
/// algorithm, which takes of those events whose auth events have all been taken the smallest.
pub(super) fn power<L: Lookup>(reader: &Reader<'_, L>, full: &BTreeSet<L::Nid>) -> Sorted<L::Nid> {
    let mut next = Vec::new();
    for &nid in full {
        if is_power_event(&*reader.loaded(nid)?) {
            next.push(nid);
        }
    }
    let mut waits_for: HashMap<L::Nid, usize> = HashMap::new();
    let mut cited_by: HashMap<L::Nid, Vec<L::Nid>> = HashMap::new();
    let mut picked: HashSet<L::Nid> = next.iter().copied().collect();
    while let Some(nid) = next.pop() {
        let links = reader.links(nid).ok_or_else(|| reader.stop())?;
        let auth: BTreeSet<_> = links.auth.iter().filter(|auth| full.contains(auth)).copied().collect();
        waits_for.insert(nid, auth.len());
        for auth in auth {
            cited_by.entry(auth).or_default().push(nid);
            if picked.insert(auth) {
                next.push(auth);
            }
        }
    }
    let create = reader.loaded(reader.conflict.create)?;
    let place = |nid: L::Nid| -> Result<Place<L::Nid>, Unresolved<L::Nid>> {
        let event = reader.loaded(nid)?;
        let level = sender_level(reader, &create, nid, &event)?;
        Ok(Reverse((Reverse(level), event.origin_server_ts(), event.event_id().clone(), nid)))
    };
    let mut ready = BinaryHeap::new();
    for (&nid, &count) in &waits_for {
        if count == 0 {
            ready.push(place(nid)?);
        }
    }
    let mut sorted = Vec::with_capacity(picked.len());
    while let Some(Reverse((.., nid))) = ready.pop() {
        sorted.push(nid);
        for &above in cited_by.get(&nid).into_iter().flatten() {
            let Some(count) = waits_for.get_mut(&above) else { continue };
            *count -= 1;
            if *count == 0 {
                ready.push(place(above)?);
            }
        }
    }
    Ok(sorted)
}

/// Smaller is earlier: greater power, then older, then the lesser event ID.
type Place<N> = Reverse<(Reverse<UserPowerLevel>, MilliSecondsSinceUnixEpoch, OwnedEventId, N)>;

/// Level of an event's sender, by the power levels among its own auth events.
fn sender_level<L: Lookup>(
    reader: &Reader<'_, L>,
    create: &Pdu,
    nid: L::Nid,
    event: &Pdu,
) -> Result<UserPowerLevel, Unresolved<L::Nid>> {
    let links = reader.links(nid).ok_or_else(|| reader.stop())?;
    let mut levels = None;
    for &auth in &*links.auth {
        let auth = reader.loaded(auth)?;
        if is_power_levels(&auth) {
            levels = Some(auth);
            break;
        }
    }
    // Malformed power levels are never accepted, so what they would mean does not matter.
    Ok(Power::new(create, levels.as_deref(), reader.conflict.rules)
        .and_then(|power| power.of_user(event.sender()))
        .unwrap_or(Int::MIN.into()))
}

fn is_power_levels(event: &Pdu) -> bool {
    *event.event_type() == TimelineEventType::RoomPowerLevels && event.state_key() == Some("")
}

/// Whether an event might take away somebody's ability to do something. (The create event is one, too: it may only
/// ever be the first.)
fn is_power_event(event: &Pdu) -> bool {
    #[derive(Deserialize)]
    struct Content {
        membership: Option<String>,
    }
    match event.event_type() {
        TimelineEventType::RoomPowerLevels
        | TimelineEventType::RoomJoinRules
        | TimelineEventType::RoomCreate => event.state_key() == Some(""),
        TimelineEventType::RoomMember => {
            let membership = event.content_as::<Content>().ok().and_then(|content| content.membership);
            matches!(membership.as_deref(), Some("leave" | "ban"))
                && event.state_key() != Some(event.sender().as_str())
        }
        _ => false,
    }
}

/// Sorts events by the mainline of a power levels event. What it returns is of no use if the reader lacks something.
pub(super) fn mainline<L: Lookup>(
    reader: &Reader<'_, L>,
    power_levels: Option<L::Nid>,
    events: &[L::Nid],
) -> Sorted<L::Nid> {
    let mut mainline = Mainline {
        reader,
        tail: power_levels,
        length: 0,
        positions: HashMap::new(),
        parents: HashMap::new(),
    };
    let mut sorted = Vec::with_capacity(events.len());
    for &nid in events {
        let position = mainline.position(nid);
        if let (Some(position), Some(event)) = (position, reader.event(nid)) {
            sorted.push((Reverse(position), event.origin_server_ts(), event.event_id().clone(), nid));
        }
    }
    sorted.sort_unstable();
    Ok(sorted.into_iter().map(|(.., nid)| nid).collect())
}

/// The position of events that are based on no event of the mainline.
const INFINITY: usize = usize::MAX;

/// The power levels events that led to the present ones, newest first. It is followed only as far as needed: an event
/// is in it if it is met before the generations fall below its own.
struct Mainline<'a, L: Lookup> {
    reader: &'a Reader<'a, L>,
    /// The next event of the mainline.
    tail: Option<L::Nid>,
    /// How many events are known to be in the mainline.
    length: usize,
    /// Positions of power levels events: of those in the mainline, and of others as they were found.
    positions: HashMap<L::Nid, usize>,
    /// Power levels events among the auth events of others.
    parents: HashMap<L::Nid, Option<L::Nid>>,
}

impl<L: Lookup> Mainline<'_, L> {
    /// Position of an event; `None` if something is lacking.
    fn position(&mut self, nid: L::Nid) -> Option<usize> {
        let mut passed = Vec::new();
        let mut current = self.parent(nid)?;
        let position = loop {
            let Some(levels) = current else { break INFINITY };
            if let Some(&position) = self.positions.get(&levels) {
                break position;
            }
            self.follow_to(self.reader.links(levels)?.generation)?;
            if let Some(&position) = self.positions.get(&levels) {
                break position;
            }
            passed.push(levels);
            current = self.parent(levels)?;
        };
        self.positions.extend(passed.into_iter().map(|levels| (levels, position)));
        Some(position)
    }

    /// Follows the mainline through all events of at least this generation.
    fn follow_to(&mut self, generation: i32) -> Option<()> {
        while let Some(tail) = self.tail
            && self.reader.links(tail)?.generation >= generation
        {
            let parent = self.parent(tail)?;
            self.positions.insert(tail, self.length);
            self.length += 1;
            self.tail = parent;
        }
        Some(())
    }

    /// The power levels event that an event cites.
    fn parent(&mut self, nid: L::Nid) -> Option<Option<L::Nid>> {
        if let Some(parent) = self.parents.get(&nid) {
            return Some(*parent);
        }
        let links = self.reader.links(nid)?;
        let mut found = None;
        let mut lacking = false;
        for &auth in &*links.auth {
            match self.reader.event(auth) {
                Some(event) if found.is_none() && is_power_levels(&event) => found = Some(auth),
                Some(_) => {}
                None => lacking = true,
            }
        }
        if lacking {
            return None;
        }
        self.parents.insert(nid, found);
        Some(found)
    }
}
