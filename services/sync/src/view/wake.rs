//! Whom a batch of records wakes: each room and each user once, however many records concern them.

use std::{collections::HashMap, sync::Arc};

use ruma::{OwnedRoomId, OwnedUserId};

use super::{Room, User};

/// Rooms and users that records concerned.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    rooms: HashMap<OwnedRoomId, Arc<Room>>,
    users: HashMap<OwnedUserId, Arc<User>>,
}

impl Woken {
    pub(crate) fn room(&mut self, room: Arc<Room>) {
        if !self.rooms.contains_key(&room.id) {
            self.rooms.insert(room.id.clone(), room);
        }
    }

    pub(crate) fn user(&mut self, user: Arc<User>) {
        if !self.users.contains_key(&user.id) {
            self.users.insert(user.id.clone(), user);
        }
    }

    pub(crate) fn user_if(&mut self, user: Option<Arc<User>>) {
        if let Some(user) = user {
            self.user(user);
        }
    }

    /// Wakes them.
    pub(crate) fn wake(&mut self) {
        for (_, room) in self.rooms.drain() {
            room.wake();
        }
        for (_, user) in self.users.drain() {
            user.wake();
        }
    }
}
