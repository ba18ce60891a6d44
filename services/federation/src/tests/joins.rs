//! Joins through a server that a test plays, with a room server that keeps what it is told.

mod resident;
mod rooms;

use std::time::Duration;

use bytes::Bytes;
use plexus_proto::{common::v1::ErrorReason, room::v1::membership_saga::Kind};
use plexus_service::refusal::reason_of;
use ruma::{OwnedRoomId, OwnedUserId};

use self::{
    resident::{Resident, Says},
    rooms::RoomServer,
};
use super::*;
use crate::joins::{Outcome, join, leave, resume};

const ALICE: &str = "@alice:us.test";

struct World {
    federation: Federation,
    rooms: RoomServer,
    resident: Resident,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::over(RoomServer::default(), Resident::start().await)
    }

    /// A process of its own, over what another one has left.
    fn over(rooms: RoomServer, resident: Resident) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The key is the same whichever process signs.
        std::fs::write(folder.path().join("signing.key"), key("a", 9).to_file_text()).unwrap();
        let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/servers/authority.pem");
        let config: Config = serde_json::from_value(json!({
            "server": { "name": "us.test", "signing_key": folder.path().join("signing.key") },
            "outbound": {
                "ca_files": [authority], "dns_servers": ["127.0.0.1:9"], "allowed_ranges": ["127.0.0.0/8"],
            },
        }))
        .unwrap();
        let channel = RpcChannel::in_process(rooms.routes());
        let edge = Edge::new(&config, Authenticator::new(channel.clone()));
        let log = memory::open(MemoryConfig::default());
        let connect = Connect::InProcess;
        let media = channel.clone();
        let deps = Deps { config: Arc::new(config), log, rooms: channel, connect, edge, media };
        Self { federation: Federation::new(deps).unwrap(), rooms, resident, _folder: folder }
    }

    async fn join(&self) -> Outcome {
        let request = join::Request {
            room_id: self.room(),
            user_id: OwnedUserId::try_from(ALICE).unwrap(),
            via: vec![self.resident.name.clone()],
            content: Bytes::from_static(b"{\"reason\":\"to see\"}"),
        };
        tokio::time::timeout(Duration::from_secs(30), join::join(&self.federation, request)).await.unwrap()
    }

    fn room(&self) -> OwnedRoomId {
        self.resident.room_id.clone().try_into().unwrap()
    }

    fn reason(outcome: Outcome) -> Option<ErrorReason> {
        reason_of(&outcome.unwrap_err())
    }
}

#[tokio::test]
async fn a_join_ends_here_and_is_asked_for_once() {
    let world = World::new().await;
    let (first, second) = futures::join!(world.join(), world.join());
    let event_id = first.unwrap();
    assert_eq!(second.unwrap(), event_id);
    assert_eq!(world.resident.joins(), std::slice::from_ref(&event_id));
    assert!(world.rooms.sagas().is_empty());
    let joined = world.resident.joined();
    assert_eq!(joined["content"]["reason"], "to see");
    assert_eq!(joined["content"]["displayname"], "Alice");
    // The state went ahead, and what had been told out of band is forgotten.
    assert_eq!((world.rooms.chunks(), world.rooms.told()), (1, vec![String::new()]));
    // Who is in asks nobody.
    assert_eq!(world.join().await.unwrap(), event_id);
    assert_eq!(world.resident.joins().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_with_the_same_event() {
    let world = World::new().await;
    world.resident.says([Says::Error(500), Says::Error(502)]);
    let event_id = world.join().await.unwrap();
    assert_eq!(world.resident.joins(), [event_id.clone(), event_id.clone(), event_id]);
    assert!(world.rooms.sagas().is_empty());
}

#[tokio::test]
async fn another_process_goes_on_with_the_same_event() {
    let world = World::new().await;
    world.resident.says([Says::Error(502), Says::Error(502), Says::Error(502)]);
    assert_eq!(World::reason(world.join().await), Some(ErrorReason::RemoteFailed));
    let sagas = world.rooms.sagas();
    assert_eq!((sagas.len(), sagas[0].kind()), (1, Kind::Join));
    let World { rooms, resident, .. } = world;
    let next = World::over(rooms, resident);
    resume::once(&next.federation, [7; 16]).await;
    let joins = next.resident.joins();
    assert!(joins.len() == 4 && joins.iter().all(|join| *join == joins[0]), "{joins:?}");
    assert!(next.rooms.is_joined() && next.rooms.sagas().is_empty());
    // So would the client that comes again.
    assert_eq!(next.join().await.unwrap(), joins[0]);
}

#[tokio::test]
async fn who_comes_again_goes_on_with_the_same_event() {
    let world = World::new().await;
    world.resident.says([Says::Error(502), Says::Error(502), Says::Error(502)]);
    world.join().await.unwrap_err();
    let event_id = world.join().await.unwrap();
    assert_eq!(world.resident.joins(), vec![event_id; 4]);
}

#[tokio::test]
async fn a_join_that_is_refused_leaves_nothing() {
    let world = World::new().await;
    world.resident.says([Says::Error(403)]);
    assert_eq!(World::reason(world.join().await), Some(ErrorReason::Forbidden));
    assert!(world.rooms.sagas().is_empty() && !world.rooms.is_joined());
    assert_eq!(world.rooms.chunks(), 0);
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_becomes_a_leave() {
    for lie in [
        Says::NoCreateEvent,
        Says::ForgedPowerLevels,
        Says::TwoOfAKind,
        Says::Omits,
        Says::AnotherJoin,
        Says::Junk,
    ] {
        let world = World::new().await;
        world.resident.says([lie]);
        assert_eq!(World::reason(world.join().await), Some(ErrorReason::RemoteFailed), "{lie:?}");
        assert!(!world.rooms.is_joined() && world.rooms.chunks() == 0, "{lie:?}");
        assert_eq!(world.rooms.sagas()[0].kind(), Kind::Leave, "{lie:?}");
        resume::once(&world.federation, [7; 16]).await;
        assert_eq!(world.resident.leaves(), 1, "{lie:?}");
        assert!(world.rooms.sagas().is_empty(), "{lie:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_verified_is_left_out() {
    let world = World::new().await;
    world.resident.says([Says::ForgedName]);
    world.join().await.unwrap();
    assert!(world.rooms.is_joined());
}

#[tokio::test]
async fn an_invite_is_rejected_though_nobody_answers_and_told_later() {
    let world = World::new().await;
    world.rooms.invite("$invite", &format!("@creator:{}", world.resident.name), &world.resident.name);
    world.resident.is_away(true);
    let user = OwnedUserId::try_from(ALICE).unwrap();
    let local_only = leave::leave(&world.federation, &world.room(), &user, "").await.unwrap();
    assert!(local_only);
    assert_eq!(world.rooms.told(), ["leave"]);
    assert_eq!(world.rooms.sagas()[0].kind(), Kind::Leave);
    resume::once(&world.federation, [7; 16]).await;
    assert_eq!((world.resident.leaves(), world.rooms.sagas().len()), (0, 1));
    world.resident.is_away(false);
    resume::once(&world.federation, [7; 16]).await;
    assert_eq!((world.resident.leaves(), world.rooms.sagas().len()), (1, 0));
    // What is over is over.
    assert!(!leave::leave(&world.federation, &world.room(), &user, "").await.unwrap());
    assert_eq!(world.resident.leaves(), 1);
}

#[tokio::test]
async fn a_new_invite_is_not_rejected_by_an_old_rejection() {
    let world = World::new().await;
    let inviter = format!("@creator:{}", world.resident.name);
    world.rooms.invite("$invite", &inviter, &world.resident.name);
    world.resident.is_away(true);
    let user = OwnedUserId::try_from(ALICE).unwrap();
    leave::leave(&world.federation, &world.room(), &user, "").await.unwrap();
    world.rooms.invite("$another", &inviter, &world.resident.name);
    world.resident.is_away(false);
    resume::once(&world.federation, [7; 16]).await;
    assert_eq!((world.resident.leaves(), world.rooms.sagas().len()), (0, 0));
}
