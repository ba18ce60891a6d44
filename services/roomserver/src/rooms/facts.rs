//! Entries of the current state that are read for many rooms at once: what a room is, and which rooms a space has.

use super::{outcome::FactRow, place::Entry, work::Work};

/// Types of entries with an empty state key.
const TYPES: [&str; 9] = [
    "m.room.create",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.join_rules",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.encryption",
];

/// Whether a state entry is one of them.
pub(crate) fn is_fact(event_type: &str, state_key: &str) -> bool {
    event_type == "m.space.child" || state_key.is_empty() && TYPES.contains(&event_type)
}

impl Work<'_> {
    /// Writes an entry of the current state that changes. What the record tells of the change is written from the record.
    pub(super) fn change_fact(&mut self, entry: &Entry) {
        if is_fact(&entry.event_type, &entry.state_key) {
            self.rows.facts.push(FactRow {
                room_nid: self.room.identity.nid,
                event_type: entry.event_type.clone(),
                state_key: entry.state_key.clone(),
                nid: entry.after.as_ref().map(|after| after.nid),
            });
        }
    }
}
