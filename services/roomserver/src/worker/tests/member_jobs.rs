//! Tests jobs over all rooms of a user, whoever is cut off.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use plexus_proto::{
    log::v1::{
        Deactivate, InputUserEvent, Intent, Register, RoomControl, SetProfileField, UpdateProfile,
        input_room_event::Body, input_user_event::Command, room_control::Action,
    },
    user::v1::{AwaitMemberJobsRequest, user_query_service_client::UserQueryServiceClient},
};
use serde_json::json;

use super::fixture::{ALICE, BOB, Server, World, intent, new_log, public_room, room_record, user_record};
use crate::worker::engine::now_ms;

/// Rooms of Alice's with Bob in them.
async fn rooms(world: &World, server: &Server, count: usize) -> Vec<String> {
    let register = Command::Register(Register::default());
    server.accepted(&world.write_user(&user_record(BOB, register)).await).await;
    let mut rooms = Vec::new();
    for salt in 0..count {
        let (room, record) = public_room(&salt.to_string());
        server.accepted(&world.write_room(&record).await).await;
        join(world, server, &room, BOB).await;
        rooms.push(room);
    }
    rooms
}

async fn join(world: &World, server: &Server, room: &str, user: &str) {
    let join = intent(user, "m.room.member", Some(user), json!({ "membership": "join" }));
    let body = Body::Intent(Intent { with_profile: true, ..join });
    server.accepted(&world.write_room(&room_record(room, body)).await).await;
}

async fn set(world: &World, server: &Server, field: &str, value: &str) {
    set_at(world, server, (field, value), now_ms()).await;
}

async fn set_at(world: &World, server: &Server, (field, value): (&str, &str), produced_ts: i64) {
    let value = json!(value).to_string().into_bytes().into();
    let command = Command::SetProfileField(SetProfileField { field: field.to_owned(), value });
    let record = InputUserEvent { produced_ts, ..user_record(BOB, command) };
    server.accepted(&world.write_user(&record).await).await;
}

/// Counts the rooms where Bob's member event fulfils a condition, until they are so many.
async fn count(world: &World, condition: &str, wanted: i64) -> i64 {
    let sql = format!(
        "(SELECT count(*) FROM room_members m JOIN event_json j ON j.event_nid = m.event_nid \
         WHERE m.user_id = '{BOB}' AND {condition})"
    );
    for _ in 0..1_000 {
        if world.number(&sql).await == wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.number(&sql).await
}

/// A condition: the JSON of the member event holds a text.
fn says(text: &str) -> String {
    format!("position('{text}'::bytea IN j.json) > 0")
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_avatars_reach_all_rooms() {
    let world = World::new().await;
    let server = world.start().await;
    rooms(&world, &server, 3).await;
    tokio::join!(set(&world, &server, "displayname", "Bob"), set(&world, &server, "avatar_url", "mxc://x/y"));
    let both = format!("{} AND {}", says("\"displayname\":\"Bob\""), says("mxc://x/y"));
    assert_eq!(count(&world, &both, 3).await, 3);
    let request = AwaitMemberJobsRequest { user_id: BOB.to_owned(), patience_ms: 5_000 };
    let answer = UserQueryServiceClient::new(server.channel.clone()).await_member_jobs(request).await;
    assert!(answer.expect("answers").into_inner().done);
    // A room that did not hear of it is told once more, by the row that it left.
    world.sql("UPDATE room_members SET profile_version = 0").await;
    let marked = "m.profile_version > 0";
    assert_eq!(count(&world, marked, 3).await, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_commit_leaves_no_room_with_the_old_name() {
    let mut world = World::new().await;
    let server = world.start().await;
    rooms(&world, &server, 5).await;
    set(&world, &server, "displayname", "Old").await;
    assert_eq!(count(&world, &says("\"displayname\":\"Old\""), 5).await, 5);
    // What is written to rooms is held up; the name is committed without them.
    let mut held = world.connect().await;
    held.batch_execute("BEGIN; LOCK TABLE event_json").await.expect("nobody else has it");
    set(&world, &server, "displayname", "New").await;
    world.until_held_up().await;
    server.server.abort();
    drop(held);
    drop(server);
    assert_eq!(count(&world, &says("\"displayname\":\"New\""), 0).await, 0, "it was cut off before");
    // The log is gone with the process that had it.
    world.log = new_log();
    let server = world.start().await;
    assert_eq!(count(&world, &says("\"displayname\":\"New\""), 5).await, 5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_deactivated_leaves_all_rooms_over_a_crash() {
    let world = World::new().await;
    let server = world.start().await;
    rooms(&world, &server, 4).await;
    let mut held = world.connect().await;
    held.batch_execute("BEGIN; LOCK TABLE event_json").await.expect("nobody else has it");
    let command = Command::Deactivate(Deactivate { erase: false });
    server.accepted(&world.write_user(&user_record(BOB, command)).await).await;
    world.until_held_up().await;
    server.server.abort();
    drop(held);
    drop(server);
    let server = world.start().await;
    assert_eq!(count(&world, "m.membership = 'leave'", 4).await, 4);
    assert_eq!(count(&world, "m.membership = 'join'", 0).await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_when_it_is_done_and_old() {
    let world = World::new().await;
    let server = world.start().await;
    rooms(&world, &server, 1).await;
    let long_ago = now_ms() - 10 * 60 * 1_000;
    set_at(&world, &server, ("displayname", "Bob"), long_ago).await;
    assert_eq!(count(&world, &says("\"displayname\":\"Bob\""), 1).await, 1);
    let jobs = "(SELECT count(*) FROM member_jobs)";
    for _ in 0..1_000 {
        if world.number(jobs).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.number(jobs).await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_comes_late_has_the_latest_name() {
    let world = World::new().await;
    let server = world.start().await;
    let rooms = rooms(&world, &server, 1).await;
    join(&world, &server, &rooms[0], ALICE).await;
    for name in ["First", "Second"] {
        set(&world, &server, "displayname", name).await;
    }
    assert_eq!(count(&world, &says("\"displayname\":\"Second\""), 1).await, 1);
    // One that was written for the first name.
    let update = Action::UpdateProfile(UpdateProfile { user_id: BOB.to_owned() });
    let body = Body::Control(RoomControl { action: Some(update) });
    let late = server.accepted(&world.write_room(&room_record(&rooms[0], body)).await).await;
    assert_eq!(late.seq, 0, "it changes nothing");
    assert_eq!(count(&world, &says("\"displayname\":\"Second\""), 1).await, 1);
    server.stop().await;
}
