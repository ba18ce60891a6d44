//! Entries of a state to set or to remove.

use std::collections::BTreeMap;

use super::{ids::EventNid, trie::Key};

/// Keys to set or to remove.
#[derive(Debug, Clone, Default)]
pub(super) struct EntryChanges {
    pub(super) members: BTreeMap<Key, Option<EventNid>>,
    pub(super) other: BTreeMap<Key, Option<EventNid>>,
}
