//! Caches parsed state entries of a room, and verdicts of authorization on ordinary messages.
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

/// Most state entries kept, beside those that stay, and most bytes of all of them.
const MAX_ENTRIES: usize = 256;
const MAX_BYTES: usize = 1024 * 1024;
/// About how many bytes an entry, or a verdict, takes beside what it says.
const OVERHEAD: usize = 512;
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
    /// Bytes of its JSON.
    pub(super) size: usize,
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
            size: event.json.len(),
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
pub(super) struct AuthCacheKey {
    pub(super) create: EventNid,
    pub(super) power_levels: Option<EventNid>,
    pub(super) sender_member: EventNid,
}

/// The cache of a room.
#[derive(Debug, Clone, Default)]
pub(super) struct StateCache {
    entries: HashMap<Key, Option<Arc<StateEvent>>>,
    order: VecDeque<Key>,
    allowed: HashMap<AuthCacheKey, Vec<Box<str>>>,
    entry_bytes: usize,
}

impl StateCache {
    /// Returns an entry: `None` if it is not cached, `Some(None)` if the state is known to have none.
    pub(super) fn get(&self, key: Key) -> Option<&Option<Arc<StateEvent>>> {
        self.entries.get(&key)
    }

    /// Keeps an entry. One that nearly every input asks for stays; the others make place for each other.
    pub(super) fn put(&mut self, key: Key, event: Option<Arc<StateEvent>>, stays: bool) {
        self.entry_bytes += size(event.as_deref());
        match self.entries.insert(key, event) {
            Some(old) => self.entry_bytes -= size(old.as_deref()),
            None if stays => {}
            None => self.order.push_back(key),
        }
        while (self.order.len() > MAX_ENTRIES || self.entry_bytes > MAX_BYTES)
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(event) = self.entries.remove(&oldest) {
                self.entry_bytes -= size(event.as_deref());
            }
        }
    }

    /// About how many bytes this takes.
    pub(super) fn bytes(&self) -> usize {
        let verdicts = self.allowed.values().flatten().map(|event_type| event_type.len() + OVERHEAD);
        self.entry_bytes + verdicts.sum::<usize>()
    }

    /// Whether messages of this type are known to be allowed.
    pub(super) fn is_allowed(&self, cache_key: AuthCacheKey, event_type: &str) -> bool {
        self.allowed.get(&cache_key).is_some_and(|types| types.iter().any(|known| **known == *event_type))
    }

    pub(super) fn allow(&mut self, cache_key: AuthCacheKey, event_type: &str) {
        if self.allowed.len() >= MAX_SENDERS && !self.allowed.contains_key(&cache_key) {
            self.forget_verdicts();
        }
        let types = self.allowed.entry(cache_key).or_default();
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

/// About how many bytes an entry takes.
fn size(event: Option<&StateEvent>) -> usize {
    OVERHEAD + event.map_or(0, |event| event.size)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state_event(text: &str) -> Arc<StateEvent> {
        let json = json!({
            "type": "org.example.state", "state_key": "", "sender": "@alice:example.org", "room_id": "!r:example.org",
            "content": { "text": text }, "origin_server_ts": 1, "depth": 1, "prev_events": [], "auth_events": [],
            "hashes": { "sha256": "" }, "signatures": {},
        });
        let event = StoredEvent::sample("org.example.state", Some(""), json.to_string());
        Arc::new(StateEvent::parse(&event).unwrap())
    }

    #[test]
    fn entries_are_bounded_by_number_and_by_bytes() {
        let mut state_cache = StateCache::default();
        state_cache.put(Key(0), Some(state_event("stays")), true);
        for key in 1..2000 {
            state_cache.put(Key(key), None, false);
        }
        assert_eq!(state_cache.entries.len(), MAX_ENTRIES + 1);
        let large = state_event(&"x".repeat(60_000));
        for key in 5000..5100 {
            state_cache.put(Key(key), Some(Arc::clone(&large)), false);
            assert!(state_cache.bytes() <= MAX_BYTES);
        }
        // The latest are there, and what stays.
        assert!(
            state_cache.get(Key(5099)).is_some()
                && state_cache.get(Key(5090)).is_some()
                && state_cache.get(Key(0)).is_some()
        );
        // In place of a large one a small one, and the other way round.
        state_cache.put(Key(5099), None, false);
        state_cache.put(Key(5099), Some(large), false);
        assert_eq!(
            state_cache.bytes(),
            state_cache.entries.values().map(|event| size(event.as_deref())).sum::<usize>()
        );
    }

    #[test]
    fn bytes_of_verdicts_are_counted() {
        let mut state_cache = StateCache::default();
        for sender in 0..1000 {
            let cache_key =
                AuthCacheKey { create: EventNid(1), power_levels: None, sender_member: EventNid(sender) };
            for event_type in 0..40 {
                state_cache.allow(cache_key, &format!("org.example.{event_type}"));
            }
        }
        let held = state_cache.allowed.values().flatten().map(|known| known.len() + OVERHEAD).sum::<usize>();
        assert_eq!(state_cache.bytes(), held);
        state_cache.forget_verdicts();
        assert_eq!(state_cache.bytes(), 0);
    }
}
