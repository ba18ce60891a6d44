//! A room in memory: its current state, how it came to be that lately, and its recent timeline.

mod summary;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use plexus_push::Power;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use tracing::error;

use super::{
    Event, Membership,
    applied::{Applied, Fact},
    event::Around,
    receipts::Receipts,
};
use crate::limits;

/// Type of member events.
pub(crate) const MEMBER: &str = "m.room.member";
/// Type of the event that holds the power levels.
pub(crate) const POWER_LEVELS: &str = "m.room.power_levels";
const CREATE: &str = "m.room.create";
const CHILD: &str = "m.space.child";

type Members = HashMap<String, Arc<Event>>;
type Others = HashMap<(String, String), Arc<Event>>;

/// A room, as far as it is in memory. Only data: nothing here waits or asks.
#[derive(Debug, Default)]
pub(crate) struct RoomView {
    /// Current member events by user; apart from the rest, because rooms have many and lazy loading wants few.
    members: Members,
    /// Current state without member events.
    others: Others,
    joined: u64,
    invited: u64,
    /// Events of the timeline, all those with a `seq` greater than the floor.
    pub(super) timeline: VecDeque<Arc<Event>>,
    pub(super) timeline_floor: u64,
    timeline_bytes: usize,
    /// Changes of the state, all those with a `seq` greater than the floor.
    pub(super) changes: VecDeque<Change>,
    pub(super) changes_floor: u64,
    changes_bytes: usize,
    /// What the room was like at the floor of the timeline.
    pub(super) around_floor: Around,
    pub(super) receipts: Receipts,
    /// How often an event was redacted since the room came into memory.
    pub(super) redactions: u64,
    /// How often the room came into memory before.
    pub(super) generation: u64,
    pub(super) version: String,
    creators: Vec<OwnedUserId>,
    power: Option<Arc<Power>>,
    /// Bytes that all of this took when it was weighed.
    pub(super) weight: usize,
    /// Records applied since.
    unweighed: u32,
}

/// A change of one entry of the state, both ways.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) seq: u64,
    pub(crate) kind: String,
    pub(crate) state_key: String,
    pub(crate) old: Option<Arc<Event>>,
    pub(crate) new: Option<Arc<Event>>,
}

/// An entry of the state that differs between two points.
#[derive(Debug, Clone)]
pub(crate) struct Changed {
    /// At the earlier point.
    pub(crate) old: Option<Arc<Event>>,
    /// At the later point.
    pub(crate) new: Option<Arc<Event>>,
}

#[derive(Deserialize)]
struct Child {
    via: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    additional_creators: Vec<OwnedUserId>,
}

impl Change {
    /// Bytes of its events.
    fn bytes(&self) -> usize {
        [&self.old, &self.new].into_iter().flatten().map(|event| event.json.len()).sum()
    }
}

impl RoomView {
    /// An empty room of this version, of which timeline and changes will be known after this position.
    pub(super) fn known_from(position: u64, version: String) -> Self {
        Self { timeline_floor: position, changes_floor: position, version, ..Self::default() }
    }

    /// Those who made the room.
    pub(super) fn creators(&self) -> &[OwnedUserId] {
        &self.creators
    }

    /// The receipts of the room.
    pub(crate) fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    fn around(&self) -> Around {
        Around { members: self.joined, power: self.power.clone() }
    }

    /// Weighs what was just loaded, and notes what the room was like at each event of its timeline, going back from now.
    pub(super) fn survey(&mut self) {
        self.timeline_bytes = self.timeline.iter().map(|event| event.json.len()).sum();
        self.changes_bytes = self.changes.iter().map(Change::bytes).sum();
        let mut around = self.around();
        let mut changes = self.changes.iter().rev().peekable();
        let undo = |around: &mut Around, change: &Change| {
            let joined = |event: &Option<Arc<Event>>| {
                event.as_ref().is_some_and(|event| event.membership == Some(Membership::Join))
            };
            if change.kind == MEMBER {
                let by = i64::from(joined(&change.old)) - i64::from(joined(&change.new));
                around.members = around.members.saturating_add_signed(by);
            } else if change.kind == POWER_LEVELS && change.state_key.is_empty() {
                around.power = power_of(change.old.as_deref(), &self.version, &self.creators);
            }
        };
        for event in self.timeline.iter().rev() {
            while let Some(change) = changes.next_if(|change| change.seq > event.seq) {
                undo(&mut around, change);
            }
            event.came_into(around.clone());
        }
        changes.for_each(|change| undo(&mut around, change));
        self.around_floor = around;
        for event in &self.timeline {
            event.is_in_thread(self.thread_of(event));
        }
    }

    /// Applies a record; records come in order.
    pub(crate) fn apply(&mut self, applied: &Applied) {
        for change in &applied.changes {
            let old = self.set(&change.kind, &change.state_key, change.event.clone());
            if let (Some(new), Some(old)) = (&change.event, &old) {
                new.replaces(old);
            }
            let change = Change {
                seq: applied.seq,
                kind: change.kind.clone(),
                state_key: change.state_key.clone(),
                old,
                new: change.event.clone(),
            };
            self.changes_bytes += change.bytes();
            self.changes.push_back(change);
        }
        match &applied.fact {
            Fact::Event(event) => {
                event.came_into(self.around());
                event.is_in_thread(self.thread_of(event));
                self.timeline_bytes += event.json.len();
                self.timeline.push_back(Arc::clone(event));
            }
            Fact::Redacted { event_id, json } => {
                self.redactions += 1;
                self.redact(event_id, json);
            }
            Fact::Receipt(receipt) => self.receipts.set(receipt.clone()),
            Fact::Other => {}
        }
        self.trim();
        self.unweighed += 1;
        if self.unweighed >= limits::UNWEIGHED {
            self.weigh();
        }
    }

    /// Weighs events, which are nearly all that a room takes. Those of the state are not counted again in the timeline.
    pub(super) fn weigh(&mut self) {
        let of_state = self.members.values().chain(self.others.values());
        let messages = self.timeline.iter().filter(|event| event.state_key.is_none());
        let replaced = self.changes.iter().filter_map(|change| change.old.as_ref());
        self.weight = of_state.chain(messages).chain(replaced).map(|event| event.weight()).sum();
        self.unweighed = 0;
    }

    /// Sets an entry of the current state; returns what it was.
    pub(super) fn set(
        &mut self,
        kind: &str,
        state_key: &str,
        event: Option<Arc<Event>>,
    ) -> Option<Arc<Event>> {
        if kind != MEMBER {
            let key = (kind.to_owned(), state_key.to_owned());
            let old = match event {
                Some(event) => self.others.insert(key, event),
                None => self.others.remove(&key),
            };
            if matches!(kind, POWER_LEVELS | CREATE) && state_key.is_empty() {
                self.refresh_power();
            }
            return old;
        }
        self.count_members(event.as_ref(), 1);
        let old = match event {
            Some(event) => self.members.insert(state_key.to_owned(), event),
            None => self.members.remove(state_key),
        };
        self.count_members(old.as_ref(), -1);
        old
    }

    fn refresh_power(&mut self) {
        if let Some(create) = self.get(CREATE, "") {
            let created = create.read_content::<Created>();
            let additional = created.map(|created| created.additional_creators).unwrap_or_default();
            self.creators = [create.sender.clone()].into_iter().chain(additional).collect();
        }
        let levels = self.get(POWER_LEVELS, "").map(|event| &**event);
        self.power = power_of(levels, &self.version, &self.creators);
    }

    fn count_members(&mut self, event: Option<&Arc<Event>>, by: i64) {
        let counter = match event.and_then(|event| event.membership) {
            Some(Membership::Join) => &mut self.joined,
            Some(Membership::Invite) => &mut self.invited,
            Some(Membership::Leave | Membership::Ban | Membership::Knock) | None => return,
        };
        *counter = counter.saturating_add_signed(by);
    }

    fn redact(&mut self, event_id: &ruma::EventId, json: &bytes::Bytes) {
        let Some(index) = self.timeline.iter().rposition(|event| event.id == event_id) else {
            let of_state = self.others.values().chain(self.members.values());
            let event = of_state.into_iter().find(|event| event.id == event_id).cloned();
            if let Some(event) = event {
                self.replace(&event, json);
            }
            return;
        };
        let event = Arc::clone(&self.timeline[index]);
        if let Some(redacted) = self.replace(&event, json) {
            self.timeline_bytes =
                (self.timeline_bytes + redacted.json.len()).saturating_sub(event.json.len());
            self.timeline[index] = redacted;
        }
    }

    /// Puts the redacted form of an event where the event is in the state.
    fn replace(&mut self, event: &Arc<Event>, json: &bytes::Bytes) -> Option<Arc<Event>> {
        let redacted = match event.redacted(json.clone()) {
            Ok(redacted) => Arc::new(redacted),
            Err(failure) => {
                error!(event.id = %event.id, error = %failure, "redacted event cannot be read");
                return None;
            }
        };
        let current = event.state_key.as_deref().and_then(|key| self.get(&event.kind, key));
        if let (Some(state_key), Some(current)) = (&event.state_key, current)
            && current.id == event.id
        {
            self.set(&event.kind, state_key, Some(Arc::clone(&redacted)));
        }
        for change in &mut self.changes {
            for side in [&mut change.old, &mut change.new] {
                if side.as_ref().is_some_and(|side| side.id == event.id) {
                    self.changes_bytes =
                        (self.changes_bytes + redacted.json.len()).saturating_sub(event.json.len());
                    *side = Some(Arc::clone(&redacted));
                }
            }
        }
        Some(redacted)
    }

    pub(super) fn trim(&mut self) {
        while self.timeline.len() > limits::TIMELINE || self.timeline_bytes > limits::TIMELINE_BYTES {
            let Some(event) = self.timeline.pop_front() else { break };
            self.timeline_bytes = self.timeline_bytes.saturating_sub(event.json.len());
            self.timeline_floor = event.seq;
            if let Some(around) = event.around() {
                self.around_floor = around.clone();
            }
        }
        while self.changes.len() > limits::CHANGES || self.changes_bytes > limits::CHANGES_BYTES {
            let Some(change) = self.changes.pop_front() else { break };
            self.changes_floor = change.seq;
            self.changes_bytes = self.changes_bytes.saturating_sub(change.bytes());
            // One record may have made several changes: they go together.
            while let Some(next) = self.changes.pop_front_if(|next| next.seq == change.seq) {
                self.changes_bytes = self.changes_bytes.saturating_sub(next.bytes());
            }
        }
    }

    /// An entry of the current state.
    pub(crate) fn get(&self, kind: &str, state_key: &str) -> Option<&Arc<Event>> {
        if kind == MEMBER {
            return self.members.get(state_key);
        }
        // The map's keys are owned pairs; a lookup by borrowed parts costs two short strings.
        self.others.get(&(kind.to_owned(), state_key.to_owned()))
    }

    /// Whether the state at a position can be told.
    pub(crate) fn knows(&self, position: u64) -> bool {
        position >= self.changes_floor
    }

    /// Changes after one position up to another, oldest first. Both must be known.
    fn between(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = &Change> {
        let start = self.changes.partition_point(|change| change.seq <= from);
        let end = self.changes.partition_point(|change| change.seq <= to);
        self.changes.range(start..end.max(start))
    }

    /// An entry of the state at a position that is known.
    pub(crate) fn get_at(&self, kind: &str, state_key: &str, position: u64) -> Option<&Arc<Event>> {
        let mut later = self.between(position, u64::MAX);
        match later.find(|change| change.kind == kind && change.state_key == state_key) {
            Some(change) => change.old.as_ref(),
            None => self.get(kind, state_key),
        }
    }

    /// What changed between two positions that are known; entries that came back to what they were are included.
    pub(crate) fn changed(&self, from: u64, to: u64) -> HashMap<(&str, &str), Changed> {
        let mut changed: HashMap<(&str, &str), Changed> = HashMap::new();
        for change in self.between(from, to) {
            changed
                .entry((&change.kind, &change.state_key))
                .and_modify(|known| known.new.clone_from(&change.new))
                .or_insert_with(|| Changed { old: change.old.clone(), new: change.new.clone() });
        }
        changed
    }

    /// The whole state at a position that is known, members only if they are wanted.
    pub(crate) fn all_at(&self, position: u64, with_members: bool) -> Vec<Arc<Event>> {
        let later = self.changed(position, u64::MAX);
        let is_as_now = |event: &&Arc<Event>| {
            let state_key = event.state_key.as_deref().unwrap_or_default();
            !later.contains_key(&(event.kind.as_str(), state_key))
        };
        let mut state: Vec<_> = self.others.values().filter(is_as_now).cloned().collect();
        if with_members {
            state.extend(self.members.values().filter(is_as_now).cloned());
        }
        let undone = later.iter().filter(|((kind, _), _)| with_members || *kind != MEMBER);
        state.extend(undone.filter_map(|(_, changed)| changed.old.clone()));
        state.sort_unstable_by_key(|event| event.seq);
        state
    }

    /// The rooms of a space: those that it says how to reach.
    pub(crate) fn children(&self) -> HashSet<OwnedRoomId> {
        let children = self.others.iter().filter(|((kind, _), _)| kind == CHILD);
        let present = children.filter(|(_, event)| {
            event.read_content::<Child>().is_some_and(|child| child.via.is_some_and(|via| !via.is_empty()))
        });
        present.filter_map(|((_, room), _)| OwnedRoomId::try_from(room.as_str()).ok()).collect()
    }
}

fn power_of(levels: Option<&Event>, version: &str, creators: &[OwnedUserId]) -> Option<Arc<Power>> {
    let content = levels.and_then(Event::content).map(serde_json::value::RawValue::get);
    plexus_push::power(content, version, creators)
}
