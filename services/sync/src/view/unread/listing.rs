//! Notifications, one by one.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use plexus_push::{Budget, Spent};
use ruma::push::Action;

use super::{Floors, Member, is_answer};
use crate::view::{Event, RoomView};

/// The notifications of a member in the timeline that is in memory, while they are being told apart from other events.
/// It holds all that it needs, like a [`Tally`](super::Tally).
#[derive(Debug)]
pub(crate) struct Listing {
    member: Member,
    name: Option<String>,
    /// Still to be looked at, oldest first, and whether each was read.
    events: VecDeque<(Arc<Event>, bool)>,
    found: Vec<Heard>,
}

/// A notification.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) event: Arc<Event>,
    pub(crate) read: bool,
    /// What the rules do.
    pub(crate) actions: Vec<Action>,
    pub(crate) highlights: bool,
}

impl Listing {
    pub(super) fn of(view: &RoomView, member: Member) -> Self {
        let (floors, _) = Floors::of(view, &member, u64::MAX);
        let mut answered: HashMap<Option<&str>, u64> = HashMap::new();
        for event in view.timeline.iter().filter(|event| is_answer(event, &member.user)) {
            answered.insert(event.thread(), event.seq);
        }
        let seen = view.timeline.iter().filter(|event| event.seq > member.joined_since);
        let events = seen.map(|event| {
            let thread = event.thread();
            let is_answered = answered.get(&thread).is_some_and(|answer| *answer > event.seq);
            (Arc::clone(event), is_answered || floors.covers(event.seq, thread))
        });
        let events = events.collect();
        let own = view.own_of(&member);
        Self::new(member, own.as_ref(), events)
    }

    /// Makes the listing of an event alone that was not read.
    pub(crate) fn of_one(member: Member, event: Arc<Event>) -> Self {
        Self::new(member, Some(&event), VecDeque::from([(Arc::clone(&event), false)]))
    }

    fn new(member: Member, own: Option<&Arc<Event>>, events: VecDeque<(Arc<Event>, bool)>) -> Self {
        Self { name: member.name(own), member, events, found: Vec::new() }
    }

    /// Looks at the events, as far as the budget suffices.
    pub(crate) fn run(&mut self, budget: &mut Budget) -> Result<(), Spent> {
        while let Some((event, read)) = self.events.front() {
            let outcome = self.member.outcome(event, self.name.as_deref(), None, budget)?;
            if outcome.notifies() {
                self.found.push(Heard {
                    event: Arc::clone(event),
                    read: *read,
                    actions: outcome.actions.to_vec(),
                    highlights: outcome.highlights(),
                });
            }
            self.events.pop_front();
        }
        Ok(())
    }

    /// The notifications that were found, oldest first.
    pub(crate) fn finish(self) -> Vec<Heard> {
        self.found
    }
}
