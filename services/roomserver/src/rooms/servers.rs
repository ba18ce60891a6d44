//! Tells which other servers an event brings into the room, and which it takes out.
//!
//! The counts of `room_servers` are loaded for servers whose users join or are joined no more; those of this server are not
//! counted, so that its own users cost nothing.

use plexus_proto::log::v1::ServerChanges;
use ruma::{OwnedServerName, UserId};

use super::{
    load_request::ServerKey,
    work::{Stop, Work},
};

impl Work<'_> {
    /// Notes that a user joins (1), or is joined no more (-1).
    pub(super) fn note_member(&mut self, user: &UserId, change: i64) {
        if change != 0 && user.server_name() != self.env.server_name {
            *self.servers.entry(user.server_name().to_owned()).or_default() += change;
        }
    }

    /// The servers that came and went by what was noted since the last call; `None` if there are none.
    pub(super) fn server_changes(&mut self) -> Result<Option<ServerChanges>, Stop> {
        let room = self.room.identity.nid;
        let mut missing = false;
        let mut changes = ServerChanges::default();
        let noted: Vec<(OwnedServerName, i64)> =
            std::mem::take(&mut self.servers).into_iter().filter(|(_, change)| *change != 0).collect();
        for (server, change) in noted {
            let key = ServerKey { room, server };
            let found = self.rows.servers.get(&key).or_else(|| self.loaded.servers.get(&key)).copied();
            let Some(before) = found else {
                self.request.servers.insert((key, self.room.snapshot));
                missing = true;
                continue;
            };
            let after = before + change;
            if before <= 0 && after > 0 {
                changes.joined.push(key.server.to_string());
            } else if before > 0 && after <= 0 {
                changes.left.push(key.server.to_string());
            }
            self.rows.servers.insert(key, after);
        }
        if missing {
            return Err(Stop::Missing);
        }
        Ok((changes != ServerChanges::default()).then_some(changes))
    }
}
