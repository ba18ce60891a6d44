//! State entries of a room that were looked at lately, parsed, and auth verdicts on ordinary messages.
//!
//! It belongs to one value of [`super::Room`]: the room after an event has its own. So what a batch that was not
//! committed has put here is gone with the rooms it made.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use plexus_events::{Pdu, PduError};
use plexus_proto::log::v1::HistoryVisibility;
use ruma::OwnedEventId;
use serde::Deserialize;

use super::{
    event::{StoredEvent, flags, visibility_from_str},
    ids::EventNid,
    trie::Key,
};

/// Most state entries kept.
const MAX_ENTRIES: usize = 256;
/// Most senders whose verdicts are kept.
const MAX_SENDERS: usize = 256;
/// Most event types for which a sender's verdicts are kept.
const MAX_TYPES: usize = 16;

/// A state event, parsed.
#[derive(Debug)]
pub(super) struct StateEvent {
    pub(super) nid: EventNid,
    pub(super) event_id: OwnedEventId,
    pub(super) auth_generation: i32,
    pub(super) seq: i64,
    pub(super) pdu: Pdu,
    /// `membership` of a member event.
    pub(super) membership: Option<String>,
    /// What an `m.room.history_visibility` event sets.
    pub(super) visibility: HistoryVisibility,
}

impl StateEvent {
    pub(super) fn parse(event: &StoredEvent) -> Result<Self, PduError> {
        let rejected = event.flags & flags::REJECTED != 0;
        let pdu = Pdu::from_checked(event.event_id.clone(), &event.json, rejected)?;
        let membership = match event.event_type.as_str() {
            "m.room.member" => string_field::<Membership>(&pdu).and_then(|content| content.membership),
            _ => None,
        };
        let visibility = match event.event_type.as_str() {
            "m.room.history_visibility" => {
                string_field::<Visibility>(&pdu).and_then(|content| content.history_visibility)
            }
            _ => None,
        };
        Ok(Self {
            nid: event.nid,
            event_id: event.event_id.clone(),
            auth_generation: event.auth_generation,
            seq: event.seq.unwrap_or(0),
            pdu,
            membership,
            visibility: visibility_from_str(visibility.as_deref()),
        })
    }
}

/// Reads a content; one of the wrong form counts as empty.
fn string_field<'a, T: Deserialize<'a>>(pdu: &'a Pdu) -> Option<T> {
    pdu.content_as().ok()
}

#[derive(Deserialize)]
struct Membership {
    membership: Option<String>,
}

#[derive(Deserialize)]
struct Visibility {
    history_visibility: Option<String>,
}

/// What authorizes an ordinary message: with the same events behind it, the verdict is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Authority {
    pub(super) create: EventNid,
    pub(super) power_levels: Option<EventNid>,
    pub(super) sender_member: EventNid,
}

/// The cache of a room.
#[derive(Debug, Clone, Default)]
pub(super) struct Hot {
    entries: HashMap<Key, Option<Arc<StateEvent>>>,
    order: VecDeque<Key>,
    allowed: HashMap<Authority, Vec<Box<str>>>,
}

impl Hot {
    /// Returns an entry: `None` if it is not cached, `Some(None)` if the state is known to have none.
    pub(super) fn get(&self, key: Key) -> Option<&Option<Arc<StateEvent>>> {
        self.entries.get(&key)
    }

    /// Keeps an entry. One that nearly every input asks for stays; the others make place for each other.
    pub(super) fn put(&mut self, key: Key, event: Option<Arc<StateEvent>>, stays: bool) {
        if self.entries.insert(key, event).is_some() || stays {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_ENTRIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// Whether messages of this type are known to be allowed.
    pub(super) fn is_allowed(&self, authority: Authority, event_type: &str) -> bool {
        self.allowed.get(&authority).is_some_and(|types| types.iter().any(|known| **known == *event_type))
    }

    pub(super) fn allow(&mut self, authority: Authority, event_type: &str) {
        if self.allowed.len() >= MAX_SENDERS && !self.allowed.contains_key(&authority) {
            self.allowed.clear();
        }
        let types = self.allowed.entry(authority).or_default();
        if types.len() >= MAX_TYPES {
            types.clear();
        }
        types.push(event_type.into());
    }

    /// Forgets all verdicts: an event behind them was redacted, and so has changed without changing its ID.
    pub(super) fn forget_verdicts(&mut self) {
        self.allowed.clear();
    }
}
