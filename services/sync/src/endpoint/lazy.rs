//! Which member events a device knows, so that lazy loading need not send them again.
//!
//! What an answer told counts only once the client shows that it got the answer, by coming back with its token. So a
//! lost answer costs nothing, and what is remembered here can be lost too: it only costs sending members again.

use std::{collections::HashMap, sync::Arc};

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
    confirmed: HashMap<(OwnedRoomId, OwnedUserId), OwnedEventId>,
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
            known.confirmed.extend(sent.map(|(room, user, event)| ((room, user), event)));
        }
    }

    pub(crate) fn knows(&self, room: &OwnedRoomId, user: &OwnedUserId, event: &OwnedEventId) -> bool {
        self.0.lock().confirmed.get(&(room.clone(), user.clone())) == Some(event)
    }

    /// Notes what an answer tells.
    pub(crate) fn sent(&self, token: SyncToken, sent: Vec<Sent>) {
        self.0.lock().pending = Some((token, sent));
    }
}
