//! Remembers the member events that a device knows, so that lazy loading need not send them again.
//!
//! What an answer told counts only once the client shows that it got the answer, by coming back with its token. So a
//! lost answer costs nothing, and what is remembered here can be lost too: it only costs sending members again. A client
//! that goes back to an older token has gone back to what it knew then, which is not remembered.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, LazyLock},
};

use moka::sync::Cache;
use parking_lot::Mutex;
use plexus_matrix_http::{AuthedUser, token::SyncToken};
use ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId};

use crate::limits;

/// Members known to devices; cheap to clone.
#[derive(Clone)]
pub(crate) struct LazyMembers {
    devices: Cache<(OwnedUserId, OwnedDeviceId), Device>,
}

/// Members known to one device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Device(Arc<Mutex<Known>>);

/// A member event that was sent: room, user, event.
pub(crate) type Sent = (OwnedRoomId, OwnedUserId, OwnedEventId);

#[derive(Debug, Default)]
struct Known {
    /// Hashes of room and user, each with that of the event: members are many, and a mistake in 2^64 only leaves a name
    /// unknown until it changes.
    confirmed: HashMap<u64, u64>,
    /// The token that the client came with last.
    at: Option<SyncToken>,
    /// What the answer with this token told.
    pending: Option<(SyncToken, Vec<Sent>)>,
}

impl LazyMembers {
    pub(crate) fn new() -> Self {
        Self { devices: Cache::new(limits::LAZY_DEVICES) }
    }

    /// What the device knows, now that it comes with this token.
    pub(crate) fn device(&self, user: &AuthedUser, since: Option<&SyncToken>) -> Device {
        let key = (user.id.clone(), user.device_id.clone());
        let device = self.devices.get_with(key, Device::default);
        device.returned(since);
        device
    }
}

impl Device {
    fn returned(&self, since: Option<&SyncToken>) {
        let mut known = self.0.lock();
        let Some(since) = since else {
            // It begins anew and knows nothing.
            *known = Known::default();
            return;
        };
        if let Some((_, sent)) = known.pending.take_if(|(token, _)| token == since) {
            if known.confirmed.len() + sent.len() > limits::LAZY_MEMBERS {
                known.confirmed.clear();
            }
            let sent = sent.into_iter().take(limits::LAZY_MEMBERS);
            known.confirmed.extend(sent.map(|(room, user, event)| (hash(&(room, user)), hash(&event))));
        } else if known.at.as_ref() != Some(since) {
            *known = Known::default();
        }
        known.at = Some(*since);
    }

    pub(crate) fn knows(&self, room: &OwnedRoomId, user: &OwnedUserId, event: &OwnedEventId) -> bool {
        self.0.lock().confirmed.get(&hash(&(room, user))) == Some(&hash(event))
    }

    /// Notes what an answer tells.
    pub(crate) fn sent(&self, token: SyncToken, sent: Vec<Sent>) {
        self.0.lock().pending = Some((token, sent));
    }
}

/// Keyed, so that nobody can make two members the same.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn hash(what: &impl std::hash::Hash) -> u64 {
    KEY.hash_one(what)
}
