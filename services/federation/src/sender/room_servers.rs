//! Tracks the servers in rooms, as of the record that is read: loaded when a room first matters, then kept in step by what
//! the records say.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use plexus_proto::log::v1::{OutputRoomEvent, output_room_event::Body};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use tonic::Status;

use super::upstream::Upstream;

/// Rooms that are kept. When there are more, all are loaded anew.
const MAX_ROOMS: usize = 50_000;

/// Servers of one room.
pub(super) type Servers = Arc<BTreeSet<OwnedServerName>>;

/// Servers of rooms, other than ours.
pub(super) struct RoomServers {
    own: OwnedServerName,
    rooms: HashMap<OwnedRoomId, Servers>,
}

impl RoomServers {
    pub(super) fn new(own: OwnedServerName) -> Self {
        Self { own, rooms: HashMap::new() }
    }

    /// Servers that are in a room just before a record, all records before which were applied.
    pub(super) async fn before(
        &mut self,
        upstream: &Upstream,
        room_id: &RoomId,
        seq: u64,
    ) -> Result<Servers, Status> {
        if let Some(servers) = self.rooms.get(room_id) {
            return Ok(Arc::clone(servers));
        }
        let servers = upstream.servers_before(room_id, seq).await?;
        let servers: Servers = Arc::new(servers.into_iter().filter(|server| *server != self.own).collect());
        if self.rooms.len() >= MAX_ROOMS {
            self.rooms.clear();
        }
        self.rooms.insert(room_id.to_owned(), Arc::clone(&servers));
        Ok(servers)
    }

    /// Applies what a record says.
    pub(super) fn apply(&mut self, record: &OutputRoomEvent) {
        let Ok(room_id) = <&RoomId>::try_from(record.room_id.as_str()) else { return };
        match &record.body {
            Some(Body::NewEvent(event)) => {
                if event.delta.as_ref().is_some_and(|delta| delta.truncated) {
                    self.rooms.remove(room_id);
                }
                let (Some(changes), Some(servers)) = (&event.server_changes, self.rooms.get_mut(room_id))
                else {
                    return;
                };
                let servers = Arc::make_mut(servers);
                let joined = changes.joined.iter().filter_map(|name| ServerName::parse(name).ok());
                servers.extend(joined.filter(|server| *server != self.own));
                servers.retain(|server| !changes.left.iter().any(|left| left == server.as_str()));
            }
            Some(Body::StateRewritten(_) | Body::Purged(_)) => drop(self.rooms.remove(room_id)),
            Some(
                Body::Redacted(_)
                | Body::Directory(_)
                | Body::Forgotten(_)
                | Body::OldEvent(_)
                | Body::Fetch(_)
                | Body::Receipt(_),
            )
            | None => {}
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.rooms.clear();
    }
}

#[cfg(test)]
mod tests {
    use plexus_proto::log::v1::{NewEvent, ServerChanges, StateDelta, StateRewritten};
    use plexus_service::RpcChannel;

    use super::*;

    const ROOM: &str = "!r:us.test";

    fn rooms(servers: &[&str]) -> RoomServers {
        let mut rooms = RoomServers::new("us.test".try_into().unwrap());
        let servers = servers.iter().map(|name| (*name).try_into().unwrap()).collect();
        rooms.rooms.insert(ROOM.try_into().unwrap(), Arc::new(servers));
        rooms
    }

    fn record(body: Body) -> OutputRoomEvent {
        OutputRoomEvent { room_id: ROOM.to_owned(), body: Some(body), ..OutputRoomEvent::default() }
    }

    fn names(rooms: &RoomServers) -> Option<Vec<&str>> {
        let servers = rooms.rooms.get(<&RoomId>::try_from(ROOM).unwrap())?;
        Some(servers.iter().map(|server| server.as_str()).collect())
    }

    #[tokio::test]
    async fn servers_come_and_go_by_what_records_say() {
        let mut rooms = rooms(&["a.test", "b.test"]);
        let changes = ServerChanges {
            joined: vec!["c.test".to_owned(), "us.test".to_owned()],
            left: vec!["a.test".to_owned()],
        };
        // Whoever is asked before the record is applied sees what was before it; nobody is asked.
        let nowhere = RpcChannel::in_process(tonic::service::Routes::default());
        let before = rooms.before(&Upstream::new(nowhere), ROOM.try_into().unwrap(), 5).await.unwrap();
        rooms.apply(&record(Body::NewEvent(NewEvent {
            server_changes: Some(changes),
            ..NewEvent::default()
        })));
        assert_eq!(before.len(), 2);
        assert_eq!(names(&rooms).unwrap(), ["b.test", "c.test"]);
        rooms.apply(&record(Body::NewEvent(NewEvent::default())));
        assert_eq!(names(&rooms).unwrap(), ["b.test", "c.test"]);
    }

    #[test]
    fn what_is_not_told_is_asked_for() {
        let delta = Some(StateDelta { truncated: true, ..StateDelta::default() });
        for body in [
            Body::NewEvent(NewEvent { delta, ..NewEvent::default() }),
            Body::StateRewritten(StateRewritten::default()),
        ] {
            let mut rooms = rooms(&["a.test"]);
            rooms.apply(&record(body));
            assert_eq!(names(&rooms), None);
        }
    }
}
