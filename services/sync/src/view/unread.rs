//! Unread notifications of a member: a fold over the timeline.
//!
//! What counts is decided by the events, the state they came into, the member's receipts and push rules; nothing else.
//! So a count that was carried on event by event equals one that is worked out from the last receipt on, here or in
//! another process. An event costs one look, whatever is unread before it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use plexus_push::{Outcome, Reader, Rules};
use ruma::{RoomId, UserId};

use super::{Event, MEMBER, RoomView, event::Around, receipts::Scope};

/// How many relations are followed to find the thread of an event, as the specification recommends.
const MAX_HOPS: usize = 3;

/// Notifications that were not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) notifications: u64,
    pub(crate) highlights: u64,
}

/// Notifications that were not read, by thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) main: Counts,
    /// By root; none is zero.
    pub(crate) threads: BTreeMap<String, Counts>,
}

/// Whose notifications are counted, and by what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) room: &'a RoomId,
    pub(crate) rules: &'a Arc<Rules>,
    /// `seq` of the account data that holds the rules; 0 if the user changed none.
    pub(crate) rules_seq: u64,
    /// `seq` of the event by which the user came into the room.
    pub(crate) joined_since: u64,
}

/// A count, and what it rests on: if any of that changes, it is worked out again.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    upto: u64,
    basis: Basis,
    unread: Unread,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Basis {
    rules_seq: u64,
    joined_since: u64,
    /// `seq` of the newest receipt of the user.
    receipt: u64,
    /// How often an event was redacted.
    redactions: u64,
}

/// Up to where a member has read.
#[derive(Debug, Default)]
struct Floors {
    everywhere: u64,
    main: u64,
    threads: HashMap<String, u64>,
}

/// A count under way, from the newest event to the oldest.
#[derive(Debug)]
pub(crate) struct Walk {
    upto: u64,
    basis: Basis,
    floors: Floors,
    /// Threads in which the user has said something since: what is before was read.
    answered: HashSet<Option<String>>,
    unread: Unread,
    /// The room as it was after the next event to look at.
    around: Around,
    version: String,
}

/// Where a count stands.
#[derive(Debug)]
pub(crate) enum Counting {
    Done(Unread),
    /// Events up to `from` and after `to` have to be asked for.
    Ask {
        from: u64,
        to: u64,
        walk: Box<Walk>,
    },
}

impl Unread {
    /// All of it, for clients that know no threads.
    pub(crate) fn total(&self) -> Counts {
        self.threads.values().fold(self.main, |sum, counts| Counts {
            notifications: sum.notifications + counts.notifications,
            highlights: sum.highlights + counts.highlights,
        })
    }

    fn count(&mut self, thread: Option<String>, outcome: Outcome<'_>) {
        let counts = match thread {
            None => &mut self.main,
            Some(root) => self.threads.entry(root).or_default(),
        };
        counts.notifications += 1;
        counts.highlights += u64::from(outcome.highlights());
    }

    fn clear(&mut self, thread: Option<&str>) {
        match thread {
            None => self.main = Counts::default(),
            Some(root) => drop(self.threads.remove(root)),
        }
    }
}

impl Floors {
    fn of(view: &RoomView, member: &Member<'_>, upto: u64) -> (Self, u64) {
        let mut floors = Self { everywhere: member.joined_since, ..Self::default() };
        let mut newest = 0;
        for receipt in view.receipts.of(member.user, upto) {
            newest = newest.max(receipt.seq);
            let floor = match &receipt.scope {
                Scope::Unthreaded => &mut floors.everywhere,
                Scope::Main => &mut floors.main,
                Scope::Thread(root) => floors.threads.entry(root.clone()).or_default(),
            };
            *floor = (*floor).max(receipt.event_seq);
        }
        (floors, newest)
    }

    fn covers(&self, seq: u64, thread: Option<&str>) -> bool {
        let of_thread = match thread {
            None => self.main,
            Some(root) => self.threads.get(root).copied().unwrap_or_default(),
        };
        seq <= self.everywhere.max(of_thread)
    }
}

/// Whether an event of the user's own says that everything before it was read. A new name or face, which the server
/// writes into every room, says nothing of the kind.
fn is_answer(event: &Event, user: &UserId) -> bool {
    event.sender == user && event.kind != MEMBER
}

impl RoomView {
    /// Counts what is unread at `upto`, which is not after what the view reflects. `known` is carried on if it can be.
    pub(super) fn count(
        &self,
        member: &Member<'_>,
        upto: u64,
        known: Option<&Counter>,
    ) -> (Counting, Option<Counter>) {
        let (floors, receipt) = Floors::of(self, member, upto);
        let basis = Basis {
            rules_seq: member.rules_seq,
            joined_since: member.joined_since,
            receipt,
            redactions: self.redactions,
        };
        if let Some(known) = known
            && known.basis == basis
            && known.upto <= upto
            && known.upto >= self.timeline_floor
        {
            let mut counter = known.clone();
            for event in self.timeline_between(counter.upto, upto) {
                self.carry_on(member, &floors, event, &mut counter.unread);
            }
            counter.upto = upto;
            return (Counting::Done(counter.unread.clone()), Some(counter));
        }
        let mut walk = Walk {
            upto,
            basis,
            floors,
            answered: HashSet::new(),
            unread: Unread::default(),
            around: self.around_floor.clone(),
            version: self.version.clone(),
        };
        let to = walk.floors.everywhere;
        for event in self.timeline_between(to, upto).rev() {
            walk.look(self, member, event, None);
        }
        if self.timeline_floor > to {
            return (Counting::Ask { from: self.timeline_floor, to, walk: Box::new(walk) }, None);
        }
        let counter = walk.finish();
        (Counting::Done(counter.unread.clone()), Some(counter))
    }

    /// What of the timeline in memory a member was notified of, oldest first: the event, whether it was read, and what
    /// the rules do.
    pub(crate) fn notifications<'v, 'r: 'v>(
        &'v self,
        member: &'v Member<'r>,
    ) -> impl Iterator<Item = (&'v Arc<Event>, bool, Outcome<'r>)> {
        let (floors, _) = Floors::of(self, member, u64::MAX);
        let mut answered: HashMap<Option<String>, u64> = HashMap::new();
        for event in self.timeline.iter().filter(|event| is_answer(event, member.user)) {
            answered.insert(self.thread_of(event), event.seq);
        }
        let seen = self.timeline.iter().filter(|event| event.seq > member.joined_since);
        seen.filter_map(move |event| {
            if event.sender == member.user {
                return None;
            }
            let outcome = self.outcome(member, event, None);
            if !outcome.notifies() {
                return None;
            }
            let thread = self.thread_of(event);
            let is_answered = answered.get(&thread).is_some_and(|answer| *answer > event.seq);
            Some((event, is_answered || floors.covers(event.seq, thread.as_deref()), outcome))
        })
    }

    fn timeline_between(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let start = self.timeline.partition_point(|event| event.seq <= from);
        let end = self.timeline.partition_point(|event| event.seq <= to);
        self.timeline.range(start..end.max(start))
    }

    fn carry_on(&self, member: &Member<'_>, floors: &Floors, event: &Event, unread: &mut Unread) {
        if event.sender == member.user {
            if is_answer(event, member.user) {
                unread.clear(self.thread_of(event).as_deref());
            }
            return;
        }
        let outcome = self.outcome(member, event, None);
        if outcome.notifies() {
            let thread = self.thread_of(event);
            if !floors.covers(event.seq, thread.as_deref()) {
                unread.count(thread, outcome);
            }
        }
    }

    /// What the rules of a member make of an event. `around` stands in where the event came before what is in memory.
    pub(crate) fn outcome<'r>(
        &self,
        member: &Member<'r>,
        event: &Event,
        around: Option<&Around>,
    ) -> Outcome<'r> {
        if event.redacted {
            return Outcome::default();
        }
        let name = self.get(MEMBER, member.user.as_str()).and_then(|event| event.display_name());
        let reader = Reader { user: member.user, room: member.room, display_name: name.as_deref() };
        event.facts(around).apply(member.rules, reader)
    }

    /// The root of the thread that an event is in, as far as its relations are in memory.
    pub(crate) fn thread_of(&self, event: &Event) -> Option<String> {
        let mut relation = event.relation()?;
        for _ in 0..MAX_HOPS {
            if relation.rel_type == "m.thread" {
                return Some(relation.event_id.clone());
            }
            let parent = self.timeline.iter().rev().find(|event| event.id == relation.event_id.as_str())?;
            relation = parent.relation()?;
        }
        (relation.rel_type == "m.thread").then(|| relation.event_id.clone())
    }
}

impl Walk {
    fn look(&mut self, view: &RoomView, member: &Member<'_>, event: &Event, around: Option<&Around>) {
        if event.sender == member.user {
            if is_answer(event, member.user) {
                self.answered.insert(view.thread_of(event));
            }
            return;
        }
        let outcome = view.outcome(member, event, around);
        if !outcome.notifies() {
            return;
        }
        let thread = view.thread_of(event);
        if !self.floors.covers(event.seq, thread.as_deref()) && !self.answered.contains(&thread) {
            self.unread.count(thread, outcome);
        }
    }

    /// Goes on over events that are not in memory, newest first.
    pub(super) fn go_on(&mut self, view: &RoomView, member: &Member<'_>, events: &[Event]) {
        for event in events {
            let around = self.around.clone();
            self.look(view, member, event, Some(&around));
            self.around.undo(event, &self.version, view.creators());
        }
    }

    /// Ends the count.
    pub(super) fn finish(self) -> Counter {
        Counter { upto: self.upto, basis: self.basis, unread: self.unread }
    }
}

impl Counter {
    pub(super) fn unread(&self) -> &Unread {
        &self.unread
    }
}
