//! Guests leave rooms that no longer let them in.

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

/// Waits until so many users are joined to a room.
async fn until_joined(world: &World, room: &str, count: i64) {
    world.until(&members(room), count).await;
}

/// Counts the users who are joined to a room.
fn members(room: &str) -> String {
    format!(
        "SELECT count(*) FROM current_members m JOIN rooms r USING (room_nid) \
         WHERE r.room_id = '{room}' AND m.membership = 'join'"
    )
}

/// Member events of the guest, in whatever room.
const OF_GUEST: &str =
    "SELECT count(*) FROM events WHERE type = 'm.room.member' AND state_key = '@guest:example.org'";

#[tokio::test(flavor = "multi_thread")]
async fn guests_leave_when_the_room_closes() {
    let world = World::new().await;
    let server = world.start().await;
    let [closed, open] = rooms(&world, &server).await;
    send(&world, &server, &closed, ALICE, "m.room.guest_access", "", json!({ "guest_access": "forbidden" }))
        .await;
    until_joined(&world, &closed, 2).await;
    // The other room is looked at, too, and after it a third one: when that has lost its guest, the second has kept it.
    send(
        &world,
        &server,
        &open,
        ALICE,
        "m.room.guest_access",
        "",
        json!({ "guest_access": "can_join", "n": 1 }),
    )
    .await;
    close_another(&world, &server).await;
    assert_eq!(world.number(&members(&open)).await, 3, "the other room keeps its guest");
    assert_eq!(world.number(&members(&closed)).await, 2, "only the guest leaves");
    assert_eq!(world.number(OF_GUEST).await, 5, "three joins, two leaves");
}

/// Makes one more room with the guest, closes it, and waits until the guest has left.
async fn close_another(world: &World, server: &Server) {
    let (room, record) = public_room("c");
    server.accepted(&world.write_room(&record).await).await;
    let set = |content| send(world, server, &room, ALICE, "m.room.guest_access", "", content);
    set(json!({ "guest_access": "can_join" })).await;
    send(world, server, &room, GUEST, "m.room.member", GUEST, json!({ "membership": "join" })).await;
    set(json!({ "guest_access": "forbidden" })).await;
    until_joined(world, &room, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_who_were_left_over_leave_after_a_restart() {
    let world = World::new().await;
    let server = world.start().await;
    let [closed, open] = rooms(&world, &server).await;
    // A guest who joins just then is in a room that does not let them in any more.
    send(&world, &server, &closed, ALICE, "m.room.guest_access", "", json!({ "guest_access": 1 })).await;
    until_joined(&world, &closed, 2).await;
    send(&world, &server, &closed, GUEST, "m.room.member", GUEST, json!({ "membership": "join" })).await;
    server.stop().await;
    let server = world.start().await;
    until_joined(&world, &closed, 2).await;
    close_another(&world, &server).await;
    assert_eq!(world.number(&members(&open)).await, 3, "the other room keeps its guest");
    assert_eq!(world.number(&members(&closed)).await, 2, "only the guest leaves");
    assert_eq!(world.number(OF_GUEST).await, 7, "four joins, three leaves");
}
