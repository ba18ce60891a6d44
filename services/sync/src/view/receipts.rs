//! Receipts of a room: how far its members have read.

use std::collections::{BTreeMap, HashMap};

use plexus_proto::log::v1::Receipt as Record;
use ruma::{OwnedEventId, OwnedUserId, UserId};

use super::RecordError;

/// Where a receipt counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    /// In the whole room.
    Unthreaded,
    /// In the main timeline.
    Main,
    /// In a thread, named by its root.
    Thread(String),
}

/// A receipt: there is one for each user, type and scope.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) user: OwnedUserId,
    /// Whether only the user may know.
    pub(crate) private: bool,
    pub(crate) scope: Scope,
    pub(crate) event_id: OwnedEventId,
    /// `seq` of the event.
    pub(crate) event_seq: u64,
    /// In milliseconds since the Unix epoch.
    pub(crate) ts: i64,
    /// `seq` of the record that tells it.
    pub(crate) seq: u64,
}

/// The receipts of a room.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    of: HashMap<OwnedUserId, BTreeMap<(bool, Scope), Receipt>>,
    by_seq: BTreeMap<u64, (OwnedUserId, bool, Scope)>,
}

impl Scope {
    /// `thread_id`, as clients know it.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Unthreaded => None,
            Self::Main => Some("main"),
            Self::Thread(root) => Some(root),
        }
    }
}

impl Receipt {
    /// Reads a receipt.
    pub(crate) fn read(record: Record, seq: u64) -> Result<Self, RecordError> {
        Ok(Self {
            user: OwnedUserId::try_from(record.user_id)?,
            private: record.r#type == "m.read.private",
            scope: match record.thread_id.as_str() {
                "" => Scope::Unthreaded,
                "main" => Scope::Main,
                _ => Scope::Thread(record.thread_id),
            },
            event_id: OwnedEventId::try_from(record.event_id)?,
            event_seq: record.event_seq,
            ts: record.ts,
            seq,
        })
    }

    /// `m.read` or `m.read.private`.
    pub(crate) fn kind(&self) -> &'static str {
        if self.private { "m.read.private" } else { "m.read" }
    }
}

impl Receipts {
    /// Sets a receipt, in the place of an older one.
    pub(super) fn set(&mut self, receipt: Receipt) {
        let scope = (receipt.private, receipt.scope.clone());
        let own = self.of.entry(receipt.user.clone()).or_default();
        if let Some(known) = own.get(&scope) {
            if known.seq >= receipt.seq {
                return;
            }
            self.by_seq.remove(&known.seq);
        }
        self.by_seq.insert(receipt.seq, (receipt.user.clone(), receipt.private, receipt.scope.clone()));
        own.insert(scope, receipt);
    }

    /// Those that moved after one position, up to another.
    pub(crate) fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Receipt> {
        let range = (from < to).then(|| self.by_seq.range(from + 1..=to));
        range
            .into_iter()
            .flatten()
            .filter_map(|(_, (user, private, scope))| self.of.get(user)?.get(&(*private, scope.clone())))
    }

    /// Those of a user, as far as they moved up to a position.
    pub(crate) fn of(&self, user: &UserId, upto: u64) -> impl Iterator<Item = &Receipt> {
        let own = self.of.get(user).into_iter().flat_map(BTreeMap::values);
        own.filter(move |receipt| receipt.seq <= upto)
    }
}
