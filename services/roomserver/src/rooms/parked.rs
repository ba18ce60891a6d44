//! Parked events of a room, as they are kept in memory.

use std::{collections::BTreeMap, sync::Arc};

use ruma::{EventId, OwnedEventId};

use super::ids::ParkedNid;

/// A parked event, without the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParkedEntry {
    /// Numeric ID.
    pub(crate) nid: ParkedNid,
    /// Event ID.
    pub(crate) event_id: OwnedEventId,
    /// What it waits for, and whether that is cited as a previous event: then the state at it must become known.
    pub(crate) missing: BTreeMap<OwnedEventId, bool>,
    /// When the input was produced.
    pub(crate) produced_ts: i64,
    /// How often what is missing was asked for.
    pub(crate) attempts: i32,
    /// Server that sent it; empty if that is not known.
    pub(crate) origin: Box<str>,
}

/// All parked events of a room by numeric ID.
pub(crate) type ParkedEntries = BTreeMap<ParkedNid, Arc<ParkedEntry>>;

/// The parked events of a room: how many there are, and, once they were loaded, which.
#[derive(Debug, Clone, Default)]
pub(super) struct Parked {
    stored: i32,
    entries: Option<Arc<ParkedEntries>>,
}

impl Parked {
    /// As many as the room's row tells.
    pub(super) fn stored(count: i32) -> Self {
        Self { stored: count, entries: None }
    }

    /// How many there are.
    pub(super) fn count(&self) -> i32 {
        match &self.entries {
            Some(entries) => i32::try_from(entries.len()).unwrap_or(i32::MAX),
            None => self.stored,
        }
    }

    /// Whether there are some, and they were not loaded.
    pub(super) fn wants_loading(&self) -> bool {
        self.stored > 0 && self.entries.is_none()
    }

    /// The entries, if they were loaded. There is nothing to load if there are none.
    pub(super) fn entries(&mut self) -> Option<&mut Arc<ParkedEntries>> {
        if self.stored == 0 && self.entries.is_none() {
            self.entries = Some(Arc::default());
        }
        self.entries.as_mut()
    }

    /// About how many bytes of them are in memory.
    pub(super) fn loaded_bytes(&self) -> usize {
        /// Of an event, and of one that it waits for.
        const BYTES: (usize, usize) = (256, 128);
        let entries = self.entries.iter().flat_map(|entries| entries.values());
        entries.map(|entry| BYTES.0 + BYTES.1 * entry.missing.len()).sum()
    }

    /// Takes over what was loaded.
    pub(super) fn set(&mut self, entries: Arc<ParkedEntries>) {
        self.entries = Some(entries);
    }
}

/// Finds the entry of an event.
pub(super) fn find<'e>(entries: &'e ParkedEntries, id: &EventId) -> Option<&'e Arc<ParkedEntry>> {
    entries.values().find(|entry| entry.event_id == id)
}
