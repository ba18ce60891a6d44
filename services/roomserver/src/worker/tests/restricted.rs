//! Tests joins by another room, and who can vouch for them.

use plexus_proto::{
    input::v1::Accepted,
    log::v1::input_room_event::Body,
    room::v1::{
        CheckRestrictedJoinRequest, CheckRestrictedJoinResponse, GetMembershipsRequest, GetRoomsRequest,
        room_graph_service_client::RoomGraphServiceClient, room_query_service_client::RoomQueryServiceClient,
    },
};
use serde_json::{Value, json};

use super::{
    fixture::{ALICE, Server, World, intent, public_room, room_record},
    received::{record, remote_of},
};

const BOB: &str = "@bob:example.org";
const CAROL: &str = "@carol:example.org";
const ZOE: &str = "@zoe:example.org";
const STRANGER: &str = "@stranger:b.example";

/// A world with a public room and another one.
struct Rooms {
    world: World,
    server: Server,
    space: String,
    room: String,
}

impl Rooms {
    async fn new() -> Self {
        let world = World::new().await;
        let server = world.start().await;
        let (space, create_space) = public_room("space");
        let (room, create_room) = public_room("room");
        server.accepted(&world.write_room(&create_space).await).await;
        server.accepted(&world.write_room(&create_room).await).await;
        Self { world, server, space, room }
    }

    async fn set(&self, room: &str, sender: &str, (kind, key): (&str, &str), content: Value) -> Accepted {
        let record = room_record(room, Body::Intent(intent(sender, kind, Some(key), content)));
        self.server.accepted(&self.world.write_room(&record).await).await
    }

    async fn member(&self, room: &str, sender: &str, user: &str, membership: &str) {
        self.set(room, sender, ("m.room.member", user), json!({"membership": membership})).await;
    }

    async fn rule(&self, rule: Value) {
        self.set(&self.room, ALICE, ("m.room.join_rules", ""), rule).await;
    }

    async fn ask(&self, user: &str) -> CheckRestrictedJoinResponse {
        let request = CheckRestrictedJoinRequest { room_id: self.room.clone(), user_id: user.to_owned() };
        let mut client = RoomGraphServiceClient::new(self.server.channel.clone());
        client.check_restricted_join(request).await.expect("answers").into_inner()
    }
}

/// Whether a room is told as one in which the server is: when it is described, and with its memberships.
async fn is_resident(rooms: &Rooms, room_id: &str) -> bool {
    let mut client = RoomQueryServiceClient::new(rooms.server.channel.clone());
    let request = GetRoomsRequest { room_ids: vec![room_id.to_owned()] };
    let described = client.get_rooms(request).await.expect("answers").into_inner().rooms[0].resident;
    let request = GetMembershipsRequest { room_id: room_id.to_owned(), user_ids: vec![STRANGER.to_owned()] };
    let answer = client.get_memberships(request).await.expect("answers").into_inner();
    assert!(answer.room_exists);
    assert_eq!(answer.resident, described);
    described
}

/// What is known of a room in which nobody of this server is any more is old, and lets nobody in.
#[tokio::test]
async fn room_that_the_server_has_left_lets_nobody_in() {
    let rooms = Rooms::new().await;
    let space = rooms.space.clone();
    rooms.rule(allow(&[&space])).await;
    let topic = rooms.set(&space, ALICE, ("m.room.topic", ""), json!({"topic": "x"})).await;
    let mut remote = remote_of(&rooms.world, &space, topic.seq).await;
    let content = json!({"membership": "join"});
    let (_, join) = remote.build(STRANGER, "m.room.member", Some(STRANGER), content);
    rooms.server.accepted(&rooms.world.write_room(&record(&space, &join)).await).await;
    let known = rooms.ask(STRANGER).await;
    assert_eq!((known.via_room_ids, known.complete), (vec![space.clone()], true));
    assert!(is_resident(&rooms, &space).await);

    rooms.member(&space, ALICE, ALICE, "leave").await;
    let left = rooms.ask(STRANGER).await;
    assert!(left.via_room_ids.is_empty() && !left.complete, "another server may know better");
    assert!(!is_resident(&rooms, &space).await);
    assert!(is_resident(&rooms, &rooms.room.clone()).await);
    rooms.server.stop().await;
}

fn allow(rooms: &[&str]) -> Value {
    let rules = rooms.iter().map(|room| json!({"type": "m.room_membership", "room_id": room}));
    json!({"join_rule": "restricted", "allow": rules.collect::<Vec<_>>()})
}

#[tokio::test]
async fn members_of_other_rooms_may_join() {
    let rooms = Rooms::new().await;
    let space = rooms.space.clone();
    let public = rooms.ask(BOB).await;
    assert!(!public.restricted && public.complete && public.via_room_ids.is_empty());

    rooms.rule(allow(&[&space])).await;
    let outside = rooms.ask(BOB).await;
    assert!(outside.restricted && outside.complete && outside.via_room_ids.is_empty());
    assert_eq!(outside.authorising_user_id, ALICE);
    rooms.member(&space, ALICE, BOB, "invite").await;
    assert!(rooms.ask(BOB).await.via_room_ids.is_empty(), "an invite is no membership");
    rooms.member(&space, BOB, BOB, "join").await;
    assert_eq!(rooms.ask(BOB).await.via_room_ids, std::slice::from_ref(&space));
    assert!(rooms.ask(STRANGER).await.via_room_ids.is_empty());
    rooms.member(&space, ALICE, BOB, "ban").await;
    assert!(rooms.ask(BOB).await.via_room_ids.is_empty());
    rooms.member(&space, ALICE, BOB, "leave").await;
    rooms.member(&space, BOB, BOB, "join").await;

    // Of rooms that this server does not know, another one may know better.
    rooms.rule(allow(&["!far:b.example", &space, "!nul\0:b.example"])).await;
    let partly = rooms.ask(BOB).await;
    assert!(partly.restricted && !partly.complete);
    assert_eq!(partly.via_room_ids, std::slice::from_ref(&space));

    // Rules that name nothing usable let nobody in.
    for rule in [
        json!({"join_rule": "restricted"}),
        json!({"join_rule": "restricted", "allow": [1, {"type": "org.example.other", "room_id": space}]}),
        json!({"join_rule": "knock_restricted", "allow": [{"type": "m.room_membership"}]}),
    ] {
        rooms.rule(rule).await;
        let answer = rooms.ask(BOB).await;
        assert!(answer.restricted && answer.complete && answer.via_room_ids.is_empty(), "{answer:?}");
    }
    for rule in [
        json!({"join_rule": "public", "allow": allow(&[&space])["allow"]}),
        json!({"join_rule": "restricted", "allow": "everybody"}),
        json!({"join_rule": 7}),
    ] {
        rooms.rule(rule).await;
        assert!(!rooms.ask(BOB).await.restricted);
    }
    rooms.server.stop().await;
}

#[tokio::test]
async fn only_those_who_may_invite_can_vouch() {
    let rooms = Rooms::new().await;
    let room = rooms.room.clone();
    for user in [BOB, CAROL, ZOE] {
        rooms.member(&room, user, user, "join").await;
    }
    let levels = json!({"invite": 50, "users": {CAROL: 50, ZOE: 49}});
    rooms.set(&room, ALICE, ("m.room.power_levels", ""), levels).await;
    rooms.rule(allow(&["!far:b.example"])).await;
    assert_eq!(rooms.ask(STRANGER).await.authorising_user_id, ALICE);
    rooms.member(&room, ALICE, ALICE, "leave").await;
    assert_eq!(rooms.ask(STRANGER).await.authorising_user_id, CAROL);
    rooms.member(&room, CAROL, CAROL, "leave").await;
    assert_eq!(rooms.ask(STRANGER).await.authorising_user_id, "");
    rooms.server.stop().await;
}
