//! Who may join by another room, and who can vouch for them.

use plexus_proto::{
    input::v1::Accepted,
    log::v1::input_room_event::Body,
    room::v1::{
        CheckRestrictedJoinRequest, CheckRestrictedJoinResponse,
        room_graph_service_client::RoomGraphServiceClient,
    },
};
use serde_json::{Value, json};

use super::fixture::{ALICE, Server, World, intent, public_room, room_record};

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
