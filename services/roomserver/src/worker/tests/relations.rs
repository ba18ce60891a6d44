//! Relations and facts of the state, as the worker writes them.

use plexus_proto::log::v1::{InputRoomEvent, Intent, input_room_event::Body};
use serde_json::{Value, json};

use super::fixture::{ALICE, BOB, Server, World, intent, public_room, room_record};

fn send(room_id: &str, content: Value) -> InputRoomEvent {
    room_record(room_id, Body::Intent(intent(ALICE, "m.room.message", None, content)))
}

fn redact(room_id: &str, event_id: &str) -> InputRoomEvent {
    let redaction =
        Intent { redacts: event_id.to_owned(), ..intent(ALICE, "m.room.redaction", None, json!({})) };
    room_record(room_id, Body::Intent(redaction))
}

async fn do_send(world: &World, server: &Server, record: InputRoomEvent) -> String {
    server.accepted(&world.write_room(&record).await).await.event_id
}

#[tokio::test(flavor = "multi_thread")]
async fn relations_go_with_the_event_that_made_them() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let root = do_send(&world, &server, send(&room_id, json!({ "body": "root" }))).await;
    let reply = json!({ "body": "x", "m.relates_to": { "rel_type": "m.thread", "event_id": root } });
    let mut replies = Vec::new();
    for _ in 0..3 {
        replies.push(do_send(&world, &server, send(&room_id, reply.clone())).await);
    }
    let relations = "SELECT count(*) FROM event_relations";
    let count = "SELECT replies FROM threads";
    let latest = |id: &str| {
        format!(
            "SELECT count(*) FROM threads t JOIN events e ON e.event_nid = t.latest_nid WHERE event_id = '{id}'"
        )
    };
    assert_eq!((world.number(relations).await, world.number(count).await), (3, 3));
    assert_eq!(world.number(&latest(&replies[2])).await, 1);
    do_send(&world, &server, redact(&room_id, &replies[2])).await;
    assert_eq!((world.number(relations).await, world.number(count).await), (2, 2));
    assert_eq!(world.number(&latest(&replies[1])).await, 1);
    do_send(&world, &server, redact(&room_id, &replies[0])).await;
    assert_eq!(world.number(&latest(&replies[1])).await, 1);
    // The root keeps its thread.
    do_send(&world, &server, redact(&room_id, &root)).await;
    assert_eq!(world.number(count).await, 1);
    do_send(&world, &server, redact(&room_id, &replies[1])).await;
    assert_eq!((world.number(relations).await, world.number(count).await), (0, 0));

    // What is sent and redacted in one batch leaves nothing.
    let again = world.write_room(&send(&room_id, reply)).await;
    let again = server.accepted(&again).await.event_id;
    do_send(&world, &server, redact(&room_id, &again)).await;
    assert_eq!((world.number(relations).await, world.number(count).await), (0, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_follow_the_state() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    // The create event and the join rules; power levels and members are not among them.
    assert_eq!(world.number("SELECT count(*) FROM current_facts").await, 2);
    let name = |name: &str| {
        room_record(&room_id, Body::Intent(intent(ALICE, "m.room.name", Some(""), json!({ "name": name }))))
    };
    do_send(&world, &server, name("one")).await;
    let second = do_send(&world, &server, name("two")).await;
    let held = format!(
        "SELECT count(*) FROM current_facts f JOIN events e USING (event_nid) \
         WHERE f.type = 'm.room.name' AND e.event_id = '{second}'"
    );
    assert_eq!(world.number(&held).await, 1);
    let child = intent(ALICE, "m.space.child", Some("!child:example.org"), json!({ "via": ["example.org"] }));
    do_send(&world, &server, room_record(&room_id, Body::Intent(child))).await;
    let odd = intent(ALICE, "m.room.name", Some("key"), json!({ "name": "odd" }));
    do_send(&world, &server, room_record(&room_id, Body::Intent(odd))).await;
    assert_eq!(world.number("SELECT count(*) FROM current_facts").await, 4);
    // A refused change of the state changes no fact.
    let refused = intent(BOB, "m.room.name", Some(""), json!({ "name": "three" }));
    server.rejected(&world.write_room(&room_record(&room_id, Body::Intent(refused))).await).await;
    assert_eq!(world.number(&held).await, 1);
    server.stop().await;
}
