//! Users who asked to be erased, as far as events of theirs came to this process.
//!
//! Whether somebody is served such an event redacted is for the room server to say; this tells about which to ask. Names
//! come from two sides: with every event that the room server answers, and by the log of users for those who ask while
//! their events are in memory. None is ever taken away: an erasure is final.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::RwLock;
use plexus_proto::room::v1::RoomEvent;
use ruma::{OwnedUserId, UserId};

/// A set of users; cheap to clone. There is at most one entry for each account of the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Erased {
    /// Most servers never see one: then nobody takes the lock.
    any: Arc<AtomicBool>,
    users: Arc<RwLock<HashSet<OwnedUserId>>>,
}

impl Erased {
    /// Notes that a user asked to be erased.
    pub(crate) fn add(&self, user: &UserId) {
        if !self.contains(user) {
            self.users.write().insert(user.to_owned());
            self.any.store(true, Ordering::Release);
        }
    }

    /// Notes the senders of events that the room server answered.
    pub(crate) fn learn<'e>(&self, events: impl IntoIterator<Item = &'e RoomEvent>) {
        for event in events.into_iter().filter(|event| !event.erased_sender.is_empty()) {
            if let Ok(user) = <&UserId>::try_from(event.erased_sender.as_str()) {
                self.add(user);
            }
        }
    }

    /// Whether the user asked to be erased.
    pub(crate) fn contains(&self, user: &UserId) -> bool {
        !self.is_empty() && self.users.read().contains(user)
    }

    /// Whether nobody did.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }
}
