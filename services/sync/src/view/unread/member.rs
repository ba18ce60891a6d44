//! Notifications of a member.

use std::{collections::HashSet, sync::Arc};

use plexus_push::{Budget, Outcome, Reader, Rules, Spent};
use ruma::{OwnedRoomId, OwnedUserId, UserId};

use crate::view::{Candidate, Event, event::Around};

/// What of what happens a user is notified of.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) rules: Arc<Rules>,
    /// `seq` of the account data that holds the rules; 0 if the user changed none.
    pub(crate) rules_seq: u64,
    pub(crate) ignored: Arc<HashSet<OwnedUserId>>,
    /// `seq` of the account data that holds the ignored users; 0 if there are none.
    pub(crate) ignored_seq: u64,
}

/// Whose notifications are counted, and by what.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) user: OwnedUserId,
    pub(crate) room: OwnedRoomId,
    pub(crate) attention: Attention,
    /// `seq` of the event by which the user came into the room.
    pub(crate) joined_since: u64,
}

impl Default for Attention {
    fn default() -> Self {
        Self { rules: Rules::shared(), rules_seq: 0, ignored: Arc::default(), ignored_seq: 0 }
    }
}

impl Attention {
    /// The user as a member of a room.
    pub(crate) fn member(&self, user: &UserId, candidate: &Candidate) -> Member {
        Member {
            user: user.to_owned(),
            room: candidate.room.id.clone(),
            attention: self.clone(),
            joined_since: candidate.since,
        }
    }
}

impl Member {
    /// What the member's rules make of an event: the one rule of what is unread, listed and pushed. Nothing of it is
    /// for the member's own events, for redacted ones, and for what ignored users do, even where it is shown.
    ///
    /// `name` is how the member is called; `around` stands in where the event came before what is in memory.
    pub(crate) fn outcome(
        &self,
        event: &Event,
        name: Option<&str>,
        around: Option<&Around>,
        budget: &mut Budget,
    ) -> Result<Outcome<'_>, Spent> {
        budget.take(1)?;
        if event.redacted || event.sender == self.user || self.attention.ignored.contains(&event.sender) {
            return Ok(Outcome::default());
        }
        if !event.has_facts() {
            budget.take(event.json.len() as u64)?;
        }
        let reader = Reader { user: &self.user, room: &self.room, display_name: name };
        event.facts(around).apply(&event.json, &self.attention.rules, reader, budget)
    }

    /// How the member is called, if the member's rules may ask for it. `own` is the member event.
    pub(super) fn name(&self, own: Option<&Arc<Event>>) -> Option<String> {
        own.filter(|_| self.attention.rules_seq > 0).and_then(|own| own.display_name())
    }
}
