//! A room that replaces another is made, whoever is cut off after the tombstone.

use std::time::Duration;

use plexus_proto::log::v1::{
    AtomicBatch, InputRoomEvent, RoomControl, SetAlias, UpgradeRoom, input_room_event::Body,
    room_control::Action,
};

use super::fixture::{ALICE, World, public_room, room_record};

fn batch(record: InputRoomEvent) -> AtomicBatch {
    match record.body {
        Some(Body::Batch(batch)) => batch,
        other => panic!("not a batch: {other:?}"),
    }
}

fn control(room: &str, action: Action) -> InputRoomEvent {
    room_record(room, Body::Control(RoomControl { action: Some(action) }))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_room_is_made_after_a_restart() {
    let world = World::new().await;
    let server = world.start().await;
    let (old, create) = public_room("old");
    server.accepted(&world.write_room(&create).await).await;
    let alias = SetAlias { alias: "#tea:example.org".to_owned(), user_id: ALICE.to_owned() };
    server.accepted(&world.write_room(&control(&old, Action::SetAlias(alias))).await).await;
    let (new, create) = public_room("new");
    let upgrade = UpgradeRoom {
        user_id: ALICE.to_owned(),
        new_room_id: new.clone(),
        batch: Some(batch(create)),
        aliases: vec!["#tea:example.org".to_owned()],
        ..UpgradeRoom::default()
    };
    server.accepted(&world.write_room(&control(&old, Action::Upgrade(upgrade))).await).await;
    // Whoever asked goes away now. The alias points where the tombstone does.
    let moved = format!("(SELECT count(*) FROM aliases WHERE room_id = '{new}')");
    assert_eq!(world.number(&moved).await, 1);
    server.stop().await;
    let server = world.start().await;
    let made = format!("(SELECT count(*) FROM rooms WHERE room_id = '{new}' AND joined_members = 1)");
    let open = "(SELECT count(*) FROM room_upgrades)";
    for _ in 0..3_000 {
        if world.number(&made).await == 1 && world.number(open).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((world.number(&made).await, world.number(open).await), (1, 0));
    server.stop().await;
}
