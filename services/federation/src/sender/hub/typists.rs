//! Tells other servers who of our users types: the beginning, the end, and now and then that it goes on.

use std::collections::HashMap;

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::sender::room_servers::Servers;

/// Typing that goes on is told again after this, in milliseconds: other servers forget it after a minute or less.
const REPEAT: i64 = 25_000;
/// Typing ends by itself if nothing was heard for so long. Clients say it every few seconds.
const END: i64 = 30_000;
/// Users who are remembered; further ones are told of, and end by themselves elsewhere.
const MAX_TYPISTS: usize = 10_000;

#[derive(Debug)]
struct Typist {
    told: i64,
    heard: i64,
    servers: Servers,
}

/// Who types.
#[derive(Debug, Default)]
pub(super) struct Typists {
    users: HashMap<(OwnedRoomId, OwnedUserId), Typist>,
}

impl Typists {
    /// Notes that somebody types, or no longer. True if others are to be told.
    pub(super) fn hear(
        &mut self,
        room_id: &RoomId,
        user_id: &UserId,
        is_typing: bool,
        servers: &Servers,
        now: i64,
    ) -> bool {
        let key = (room_id.to_owned(), user_id.to_owned());
        if !is_typing {
            return self.users.remove(&key).is_some() || self.users.len() >= MAX_TYPISTS;
        }
        if let Some(known) = self.users.get_mut(&key) {
            known.heard = now;
            let is_due = now - known.told >= REPEAT;
            if is_due {
                known.told = now;
                known.servers.clone_from(servers);
            }
            return is_due;
        }
        if self.users.len() < MAX_TYPISTS {
            self.users.insert(key, Typist { told: now, heard: now, servers: servers.clone() });
        }
        true
    }

    /// Takes those who were not heard of for a while.
    pub(super) fn take_ended(&mut self, now: i64) -> Vec<(OwnedRoomId, OwnedUserId, Servers)> {
        let ended = self.users.extract_if(|_, typist| now - typist.heard >= END);
        ended.map(|((room_id, user_id), typist)| (room_id, user_id, typist.servers)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_end_and_now_and_then_between() {
        let mut typists = Typists::default();
        let (room, user): (&RoomId, &UserId) = ("!r:a".try_into().unwrap(), "@u:a".try_into().unwrap());
        let servers = Servers::default();
        let mut hear = |is_typing, now| typists.hear(room, user, is_typing, &servers, now);
        assert!(!hear(false, 0));
        assert!(hear(true, 1_000));
        assert!(!hear(true, 5_000) && !hear(true, 25_000));
        assert!(hear(true, 26_000) && !hear(true, 27_000));
        assert!(hear(false, 28_000) && !hear(false, 28_001));
        assert!(hear(true, 30_000));
        assert_eq!(typists.take_ended(59_999).len(), 0);
        assert_eq!(typists.take_ended(60_000).len(), 1);
        assert_eq!(typists.take_ended(99_999).len(), 0);
    }
}
