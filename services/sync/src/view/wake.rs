//! Whom a batch of records wakes: each room and each user once, however many records concern them.
//!
//! The trace of the first such record goes with it, so that the log tells what a waiting request was woken by.

use std::{collections::HashMap, sync::Arc};

use plexus_service::{TraceContext, trace::TraceId};
use ruma::{OwnedRoomId, OwnedUserId};

use super::{Room, User};

/// Rooms and users that records concerned.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    rooms: HashMap<OwnedRoomId, (Arc<Room>, Option<TraceId>)>,
    users: HashMap<OwnedUserId, (Arc<User>, Option<TraceId>)>,
}

impl Woken {
    pub(crate) fn room(&mut self, room: Arc<Room>) {
        if !self.rooms.contains_key(&room.id) {
            self.rooms.insert(room.id.clone(), (room, trace_id()));
        }
    }

    pub(crate) fn user(&mut self, user: Arc<User>) {
        if !self.users.contains_key(&user.id) {
            self.users.insert(user.id.clone(), (user, trace_id()));
        }
    }

    pub(crate) fn user_if(&mut self, user: Option<Arc<User>>) {
        if let Some(user) = user {
            self.user(user);
        }
    }

    /// Wakes them.
    pub(crate) fn wake(&mut self) {
        for (_, (room, cause)) in self.rooms.drain() {
            room.wake(cause);
        }
        for (_, (user, cause)) in self.users.drain() {
            user.wake(cause);
        }
    }
}

/// Trace of the record that is being applied.
fn trace_id() -> Option<TraceId> {
    TraceContext::current().map(|trace| trace.trace_id())
}
