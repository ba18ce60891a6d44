//! A count under way.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use plexus_push::{Budget, Spent};
use ruma::OwnedUserId;

use super::{Counter, Floors, Member, is_answer, thread_of};
use crate::view::{Event, event::Around};

/// A count under way. It holds all that it needs, so that it can be done anywhere, and be gone on with when its budget
/// was spent.
#[derive(Debug)]
pub(crate) struct Tally {
    member: Member,
    /// How the member is called.
    name: Option<String>,
    floors: Floors,
    counter: Counter,
    /// Still to be looked at, in the order of looking.
    events: VecDeque<Arc<Event>>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// From where a count stood up to this position.
    Forward { upto: u64 },
    /// From the newest event to the oldest.
    Backward {
        /// Threads in which the user has said something since: what is before was read.
        answered: HashSet<Option<String>>,
        /// What is not in memory, and has to be asked for.
        older: Option<Older>,
        /// Whether what is to be looked at was asked for.
        is_older: bool,
    },
}

/// The part of a timeline that is not in memory.
#[derive(Debug)]
pub(super) struct Older {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The room as it was after the next event to look at.
    pub(super) around: Around,
    pub(super) version: String,
    pub(super) creators: Vec<OwnedUserId>,
}

impl Tally {
    /// A count that goes on from another; events oldest first.
    pub(super) fn carried_on(
        member: Member,
        own: Option<Arc<Event>>,
        floors: Floors,
        counter: Counter,
        upto: u64,
        events: VecDeque<Arc<Event>>,
    ) -> Self {
        let name = if events.is_empty() { None } else { member.name(own.as_ref()) };
        Self { member, name, floors, counter, events, way: Way::Forward { upto } }
    }

    /// A count from nothing; events newest first.
    pub(super) fn anew(
        member: Member,
        own: Option<Arc<Event>>,
        floors: Floors,
        counter: Counter,
        events: VecDeque<Arc<Event>>,
        older: Option<Older>,
    ) -> Self {
        let name = member.name(own.as_ref());
        let way = Way::Backward { answered: HashSet::new(), older, is_older: false };
        Self { member, name, floors, counter, events, way }
    }

    /// Looks at the events, as far as the budget suffices.
    pub(crate) fn run(&mut self, budget: &mut Budget) -> Result<(), Spent> {
        while let Some(event) = self.events.front() {
            let event = Arc::clone(event);
            self.look(&event, budget)?;
            self.events.pop_front();
        }
        if let Way::Forward { upto } = self.way {
            self.counter.upto = upto;
        }
        Ok(())
    }

    fn look(&mut self, event: &Event, budget: &mut Budget) -> Result<(), Spent> {
        let Self { member, name, floors, counter, events, way } = self;
        let around = match way {
            Way::Backward { older: Some(older), is_older: true, .. } => Some(&older.around),
            Way::Backward { .. } | Way::Forward { .. } => None,
        };
        let thread = || match around {
            // It is followed by those that are older.
            Some(_) => {
                thread_of(event, |id| events.iter().find(|event| event.id == id).map(|event| &**event))
            }
            None => event.thread().map(str::to_owned),
        };
        if is_answer(event, &member.user) {
            budget.take(1)?;
            let thread = thread();
            match way {
                Way::Forward { .. } => counter.unread.clear(thread.as_deref()),
                Way::Backward { answered, .. } => drop(answered.insert(thread)),
            }
        } else {
            let outcome = member.outcome(event, name.as_deref(), around, budget)?;
            if outcome.notifies() {
                let thread = thread();
                let is_answered = matches!(way, Way::Backward { answered, .. } if answered.contains(&thread));
                if !is_answered && !floors.covers(event.seq, thread.as_deref()) {
                    counter.unread.count(thread.as_deref(), outcome);
                }
            }
        }
        match way {
            Way::Forward { .. } => counter.upto = event.seq,
            Way::Backward { older: Some(older), is_older: true, .. } => {
                older.around.undo(event, &older.version, &older.creators);
            }
            Way::Backward { .. } => {}
        }
        Ok(())
    }

    /// The part of the timeline that has to be asked for: up to the first position, after the second.
    pub(crate) fn asks(&self) -> Option<(u64, u64)> {
        match &self.way {
            Way::Backward { older: Some(older), .. } => Some((older.from, older.to)),
            Way::Backward { older: None, .. } | Way::Forward { .. } => None,
        }
    }

    /// Goes on with events that were asked for, newest first; those after `next` remain to be asked for, if there are any.
    pub(crate) fn go_on(&mut self, page: impl IntoIterator<Item = Event>, next: Option<u64>) {
        if let Way::Backward { older: Some(older), is_older, .. } = &mut self.way {
            *is_older = true;
            self.events.extend(page.into_iter().map(Arc::new));
            // Where nothing remains, the end is reached.
            let next = next.filter(|next| *next > older.to && *next < older.from);
            older.from = next.unwrap_or(older.to);
        }
    }

    /// The count, as far as it went; `None` if it says nothing before its end.
    pub(crate) fn so_far(self) -> Option<Counter> {
        match self.way {
            Way::Forward { .. } => Some(self.counter),
            Way::Backward { .. } => None,
        }
    }

    /// The count.
    pub(crate) fn finish(self) -> Counter {
        self.counter
    }
}
