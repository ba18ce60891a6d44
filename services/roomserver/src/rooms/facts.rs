//! Names the state entries that are kept in `current_facts`, for reads over many rooms at once.

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
