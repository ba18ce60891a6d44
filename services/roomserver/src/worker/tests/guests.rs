//! Guests leave rooms that no longer let them in.

use std::time::Duration;

use plexus_proto::log::v1::{Register, input_room_event::Body, input_user_event::Command};
use serde_json::json;

use super::fixture::{ALICE, BOB, Server, World, intent, public_room, room_record, user_record};

const GUEST: &str = "@guest:example.org";

/// Two rooms of Alice with Bob and a guest in them.
async fn rooms(world: &World, server: &Server) -> [String; 2] {
    let register = Command::Register(Register { guest: true, ..Register::default() });
    server.accepted(&world.write_user(&user_record(GUEST, register)).await).await;
    let rooms = ["a", "b"].map(public_room);
    for (room, record) in &rooms {
        server.accepted(&world.write_room(record).await).await;
        send(world, server, room, ALICE, "m.room.guest_access", "", json!({ "guest_access": "can_join" }))
            .await;
        for user in [BOB, GUEST] {
            send(world, server, room, user, "m.room.member", user, json!({ "membership": "join" })).await;
        }
    }
    rooms.map(|(room, _)| room)
}

async fn send(
    world: &World,
    server: &Server,
    room: &str,
    sender: &str,
    event_type: &str,
    state_key: &str,
    content: serde_json::Value,
) {
    let body = Body::Intent(intent(sender, event_type, Some(state_key), content));
    server.accepted(&world.write_room(&room_record(room, body)).await).await;
}

/// Users who are joined to a room, once there are so many.
async fn members(world: &World, room: &str, count: i64) -> i64 {
    let sql = format!(
        "(SELECT count(*) FROM current_members m JOIN rooms r USING (room_nid) \
         WHERE r.room_id = '{room}' AND m.membership = 'join')"
    );
    for _ in 0..500 {
        if world.number(&sql).await == count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.number(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_leave_when_the_room_closes() {
    let world = World::new().await;
    let server = world.start().await;
    let [closed, open] = rooms(&world, &server).await;
    send(&world, &server, &closed, ALICE, "m.room.guest_access", "", json!({ "guest_access": "forbidden" }))
        .await;
    assert_eq!(members(&world, &closed, 2).await, 2, "only the guest leaves");
    assert_eq!(members(&world, &open, 3).await, 3, "the other room keeps its guest");
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_who_were_left_over_leave_after_a_restart() {
    let world = World::new().await;
    let server = world.start().await;
    let [closed, open] = rooms(&world, &server).await;
    // A guest who joins just then is in a room that does not let them in any more.
    send(&world, &server, &closed, ALICE, "m.room.guest_access", "", json!({ "guest_access": 1 })).await;
    assert_eq!(members(&world, &closed, 2).await, 2);
    send(&world, &server, &closed, GUEST, "m.room.member", GUEST, json!({ "membership": "join" })).await;
    server.stop().await;
    let _server = world.start().await;
    assert_eq!(members(&world, &closed, 2).await, 2, "only the guest leaves");
    assert_eq!(members(&world, &open, 3).await, 3, "the other room keeps its guest");
}
