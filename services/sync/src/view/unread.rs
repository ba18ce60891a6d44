//! Unread notifications of a member: a fold over the timeline.
//!
//! What counts is decided by the events, the state they came into, the member's receipts, push rules and ignored users;
//! nothing else. So a count that was carried on event by event equals one that is worked out from the last receipt on,
//! here or in another process. An event costs one look, whatever is unread before it.
//!
//! A room only tells what is to be looked at, which is quick. The looking is done without its lock, because users' own
//! rules may be much work.

mod floors;
mod listing;
mod member;
mod tally;

use std::{collections::BTreeMap, sync::Arc};

use plexus_push::Outcome;
use ruma::UserId;

use super::{Event, MEMBER, RoomView};

use floors::Floors;
pub(crate) use listing::{Heard, Listing};
pub(crate) use member::{Attention, Member};
pub(crate) use tally::Tally;

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

/// A count, and what it rests on: if any of that changes, it is worked out again.
#[derive(Debug, Clone)]
pub(crate) struct Counter {
    upto: u64,
    basis: Basis,
    unread: Unread,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Basis {
    rules_seq: u64,
    ignored_seq: u64,
    joined_since: u64,
    /// `seq` of the newest receipt of the user.
    receipt: u64,
    /// How often an event was redacted.
    redactions: u64,
    /// How often the room came into memory.
    generation: u64,
}

impl Unread {
    /// All of it, for clients that know no threads.
    pub(crate) fn total(&self) -> Counts {
        self.threads.values().fold(self.main, |sum, counts| Counts {
            notifications: sum.notifications + counts.notifications,
            highlights: sum.highlights + counts.highlights,
        })
    }

    fn count(&mut self, thread: Option<&str>, outcome: Outcome<'_>) {
        let counts = match thread {
            None => &mut self.main,
            Some(root) => self.threads.entry(root.to_owned()).or_default(),
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

impl Counter {
    pub(crate) fn unread(&self) -> &Unread {
        &self.unread
    }
}

/// Whether an event of the user's own says that everything before it was read. A new name or face, which the server
/// writes into every room, says nothing of the kind.
fn is_answer(event: &Event, user: &UserId) -> bool {
    event.sender == user && event.kind != MEMBER
}

/// The root of the thread that an event is in, as far as the events that it relates to can be found.
fn thread_of<'e>(event: &'e Event, find: impl Fn(&str) -> Option<&'e Event>) -> Option<String> {
    let mut relation = event.relation()?;
    for _ in 0..MAX_HOPS {
        if relation.rel_type == "m.thread" {
            return Some(relation.event_id.clone());
        }
        relation = find(&relation.event_id)?.relation()?;
    }
    (relation.rel_type == "m.thread").then(|| relation.event_id.clone())
}

impl RoomView {
    /// Prepares to count what is unread at `upto`, which is not after what the view reflects. `known` is carried on if
    /// it can be.
    pub(super) fn tally(&self, member: Member, upto: u64, known: Option<Counter>) -> Tally {
        let (floors, receipt) = Floors::of(self, &member, upto);
        let basis = Basis {
            rules_seq: member.attention.rules_seq,
            ignored_seq: member.attention.ignored_seq,
            joined_since: member.joined_since,
            receipt,
            redactions: self.redactions,
            generation: self.generation,
        };
        let known = known
            .filter(|known| known.basis == basis && known.upto <= upto && known.upto >= self.timeline_floor);
        if let Some(counter) = known {
            let events = self.timeline_between(counter.upto, upto).cloned().collect();
            let own = self.own_of(&member);
            return Tally::carried_on(member, own, floors, counter, upto, events);
        }
        let to = floors.everywhere;
        let events = self.timeline_between(to, upto).rev().cloned().collect();
        let counter = Counter { upto, basis, unread: Unread::default() };
        let older = (self.timeline_floor > to).then(|| tally::Older {
            from: self.timeline_floor,
            to,
            around: self.around_floor.clone(),
            version: self.version.clone(),
            creators: self.creators().to_vec(),
        });
        let own = self.own_of(&member);
        Tally::anew(member, own, floors, counter, events, older)
    }

    /// What of the timeline in memory a member may have been notified of, oldest first.
    pub(super) fn listing(&self, member: Member) -> Listing {
        Listing::of(self, member)
    }

    fn timeline_between(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let start = self.timeline.partition_point(|event| event.seq <= from);
        let end = self.timeline.partition_point(|event| event.seq <= to);
        self.timeline.range(start..end.max(start))
    }

    /// The thread of an event that is in the room, or about to come into it.
    pub(super) fn thread_of(&self, event: &Event) -> Option<String> {
        thread_of(event, |id| self.timeline.iter().rev().find(|event| event.id == id).map(|event| &**event))
    }

    /// The member event of a member.
    fn own_of(&self, member: &Member) -> Option<Arc<Event>> {
        self.get(MEMBER, member.user.as_str()).cloned()
    }
}
