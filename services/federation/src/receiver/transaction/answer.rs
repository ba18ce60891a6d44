//! Builds the answer to a transaction: an entry for each event whose ID is known.

use std::collections::BTreeMap;

use ruma::OwnedEventId;
use serde_json::{Value, json};

/// Most characters of an error text.
const MAX_ERROR: usize = 300;

/// What became of an event, as its origin is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is stored, or waits for what it cites.
    Taken,
    /// It is not.
    Error(String),
}

/// The entries of an answer.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<OwnedEventId, Entry>);

impl Answers {
    /// Tells what became of an event. What comes twice is told by its first copy.
    pub(super) fn add(&mut self, event_id: OwnedEventId, entry: Entry) {
        self.0.entry(event_id).or_insert(entry);
    }

    /// An event that is refused.
    pub(super) fn refuse(&mut self, event_id: OwnedEventId, why: impl ToString) {
        self.add(event_id, Entry::Error(why.to_string()));
    }

    /// The body of the answer.
    pub(super) fn to_json(&self) -> String {
        let entry = |entry: &Entry| match entry {
            Entry::Taken => json!({}),
            Entry::Error(why) => json!({ "error": why.chars().take(MAX_ERROR).collect::<String>() }),
        };
        let pdus = self.0.iter().map(|(id, what)| (id.to_string(), entry(what)));
        json!({ "pdus": pdus.collect::<serde_json::Map<String, Value>>() }).to_string()
    }
}
