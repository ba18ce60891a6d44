//! Tests the columns that queries look at in events, as the worker writes them, and as they are filled in later.

use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use plexus_proto::log::v1::{
    InputRoomEvent, Intent, PurgeRoom, Register, RoomControl, SetProfileField, SetVisibility,
    input_room_event::Body, input_user_event::Command, room_control::Action,
};
use serde_json::{Value, json};

use super::fixture::{ALICE, BOB, Server, World, intent, message, public_room, room_record, user_record};
use crate::store::{
    bounds::{self, Bounds},
    migrate,
};

fn sets(room_id: &str, sender: &str, event_type: &str, state_key: &str, content: Value) -> InputRoomEvent {
    room_record(room_id, Body::Intent(intent(sender, event_type, Some(state_key), content)))
}

async fn send(world: &World, server: &Server, record: InputRoomEvent) -> String {
    server.accepted(&world.write_room(&record).await).await.event_id
}

/// Text that a query returns, row by row.
async fn texts(conn: &mut AsyncPgConnection, sql: &str) -> Vec<String> {
    let sql = diesel::dsl::sql::<diesel::sql_types::Text>(sql);
    sql.load(conn).await.expect("SQL holds")
}

const ALL: &str = "SELECT concat_ws(' ', type, state_key, value) FROM events ORDER BY event_nid";
const FACTS: &str =
    "SELECT concat_ws(' ', type, value) FROM current_facts ORDER BY room_nid, type, state_key";
const USERS: &str =
    "SELECT concat_ws(' ', user_id, display_name, avatar_url, words) FROM user_directory ORDER BY user_id";
const WORDS: &str = "SELECT word || ' ' || user_id FROM user_directory_words ORDER BY word, user_id";

#[tokio::test(flavor = "multi_thread")]
async fn values_are_written_with_events_and_go_with_redactions() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    let member = json!({ "membership": "join", "displayname": "\0", "reason": "a\0b" });
    send(&world, &server, sets(&room_id, BOB, "m.room.member", BOB, member)).await;
    let topic = sets(&room_id, ALICE, "m.room.topic", "", json!({ "topic": "a\0b" }));
    let topic = send(&world, &server, topic).await;
    send(&world, &server, message(&room_id, ALICE, "\0")).await;
    let mut conn = world.connect().await;
    let facts = texts(&mut conn, FACTS).await;
    assert_eq!(facts, ["m.room.create", "m.room.join_rules public", "m.room.topic a\u{fffd}b"]);
    let all = texts(&mut conn, ALL).await;
    assert!(all.contains(&format!("m.room.member {BOB} join")), "{all:?}");
    assert!(all.contains(&"m.room.message".to_owned()), "{all:?}");
    let redaction = Intent { redacts: topic, ..intent(ALICE, "m.room.redaction", None, json!({})) };
    send(&world, &server, room_record(&room_id, Body::Intent(redaction))).await;
    let facts = texts(&mut conn, FACTS).await;
    assert_eq!(facts, ["m.room.create", "m.room.join_rules public", "m.room.topic"]);
    assert_eq!(
        texts(&mut conn, "SELECT value FROM events WHERE type = 'm.room.topic' AND value IS NOT NULL")
            .await
            .len(),
        0
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_the_directory_are_counted() {
    let world = World::new().await;
    let server = world.start().await;
    let mut rooms = Vec::new();
    for salt in ["a", "b", "c"] {
        let (room_id, mut create) = public_room(salt);
        if let (Some(Body::Batch(batch)), "a") = (&mut create.body, salt) {
            batch.published = true;
        }
        server.accepted(&world.write_room(&create).await).await;
        rooms.push(room_id);
    }
    let counts = async || {
        let kept = world.number("SELECT sum(published_rooms)::bigint FROM partition_state").await;
        (kept, world.number("SELECT count(*) FROM rooms WHERE published").await)
    };
    assert_eq!(counts().await, (1, 1));
    let list = |room: usize, published: bool| {
        let change = SetVisibility { published, user_id: ALICE.to_owned() };
        let control = RoomControl { action: Some(Action::SetVisibility(change)) };
        room_record(&rooms[room], Body::Control(control))
    };
    for (room, published, count) in [(1, true, 2), (1, true, 2), (2, true, 3), (0, false, 2), (0, false, 2)] {
        server.accepted(&world.write_room(&list(room, published)).await).await;
        assert_eq!(counts().await, (count, count));
    }
    let leave = intent(ALICE, "m.room.member", Some(ALICE), json!({ "membership": "leave" }));
    send(&world, &server, room_record(&rooms[1], Body::Intent(leave))).await;
    let purge = RoomControl { action: Some(Action::Purge(PurgeRoom {})) };
    server.accepted(&world.write_room(&room_record(&rooms[1], Body::Control(purge))).await).await;
    assert_eq!(counts().await, (1, 1));
    server.stop().await;
}

async fn register(world: &World, server: &Server, user_id: &str, name: Option<&str>) {
    let command = Command::Register(Register::default());
    server.accepted(&world.write_user(&user_record(user_id, command)).await).await;
    if let Some(name) = name {
        let value = Value::from(name).to_string().into();
        let command = Command::SetProfileField(SetProfileField { field: "displayname".to_owned(), value });
        server.accepted(&world.write_user(&user_record(user_id, command)).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_filled_in_later_is_what_would_have_been_written() {
    let world = World::new().await;
    let server = world.start().await;
    register(&world, &server, ALICE, Some("Alice \0 Wonder")).await;
    register(&world, &server, BOB, None).await;
    for room in 0..3 {
        let (room_id, create) = public_room(&room.to_string());
        server.accepted(&world.write_room(&create).await).await;
        for number in 0..100 {
            let name = json!({ "name": format!("{room} {number} \0") });
            send(&world, &server, sets(&room_id, ALICE, "m.room.name", "", name)).await;
            send(&world, &server, message(&room_id, ALICE, "\0")).await;
        }
    }
    server.stop().await;
    let mut conn = world.connect().await;
    let mut written = Vec::new();
    for sql in [ALL, FACTS, USERS, WORDS] {
        written.push(texts(&mut conn, sql).await);
    }
    assert!(
        written[0].len() > 600 && written[3].iter().any(|word| word.contains("wonder")),
        "{:?}",
        written[3]
    );
    // As it was before, with the first events filled in already: as if the process had died.
    world
        .sql(
            "UPDATE events SET value = NULL WHERE event_nid <> (SELECT min(event_nid) FROM events); \
             DELETE FROM user_directory; DELETE FROM user_directory_words; \
             INSERT INTO backfills SELECT 'event_values', min(event_nid)::text FROM events; \
             INSERT INTO backfills VALUES ('user_directory', '')",
        )
        .await;
    migrate::run(&world.url).await.expect("what is lacking is filled in");
    for (sql, written) in [ALL, FACTS, USERS, WORDS].iter().zip(written) {
        assert_eq!(texts(&mut conn, sql).await, written, "{sql}");
    }
    assert_eq!(world.number("SELECT count(*) FROM backfills").await, 0);
    migrate::run(&world.url).await.expect("there is nothing to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_a_nul_are_looked_for_without_failing_others() {
    let world = World::new().await;
    let server = world.start().await;
    let (room_id, create) = public_room("a");
    server.accepted(&world.write_room(&create).await).await;
    // Of a record, of an event to redact, of a transaction.
    let odd = world.write_room(&message("!a\0:example.org", ALICE, "x")).await;
    server.rejected(&odd).await;
    let redaction =
        Intent { redacts: "$a\0".to_owned(), ..intent(ALICE, "m.room.redaction", None, json!({})) };
    server.rejected(&world.write_room(&room_record(&room_id, Body::Intent(redaction))).await).await;
    let txn = super::fixture::message_with_txn(&room_id, ALICE, "x", "a\0");
    server.rejected(&world.write_room(&txn).await).await;
    send(&world, &server, message(&room_id, ALICE, "x")).await;
    // Only the record that names no room at all is of no use to anybody.
    assert_eq!(world.number("SELECT count(*) FROM dead_letters").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_operators_is_bounded() {
    let world = World::new().await;
    let server = world.start().await;
    let fill = "INSERT INTO dead_letters (topic, partition, log_offset, error, payload, created_ts, key) \
        SELECT 't', 0, n, 'e', decode(repeat('00', 1000), 'hex'), n, key \
        FROM generate_series(1, 20) n, (VALUES ('noisy'), ('noisy'), ('quiet')) AS k(key) ORDER BY n";
    world.sql(fill).await;
    world
        .sql(
            "INSERT INTO state_resets (room_nid, event_nid, lost_nid, latest_nids, detected_ts) \
             SELECT r, n, n, '{}', n FROM generate_series(1, 20) n, generate_series(1, 3) r ORDER BY n",
        )
        .await;
    let mut conn = world.connect().await;
    let count = async |key: &str| {
        world.number(&format!("SELECT count(*) FROM dead_letters WHERE key = '{key}'")).await
    };
    let bounds = Bounds { rows: 100, of_one: 25, bytes: 1_000_000 };
    bounds::trim_dead_letters(&mut conn, bounds).await.expect("they are trimmed");
    assert_eq!((count("noisy").await, count("quiet").await), (25, 20));
    bounds::trim_dead_letters(&mut conn, Bounds { rows: 30, ..bounds }).await.expect("they are trimmed");
    assert_eq!(count("noisy").await + count("quiet").await, 30);
    let oldest = world.number("SELECT min(log_offset) FROM dead_letters").await;
    assert!(oldest > 5, "the newest stay: {oldest}");
    bounds::trim_dead_letters(&mut conn, Bounds { bytes: 10_500, ..bounds }).await.expect("they are trimmed");
    assert_eq!(count("noisy").await + count("quiet").await, 10);
    bounds::trim_state_resets(&mut conn, Bounds { rows: 25, of_one: 10, bytes: 0 })
        .await
        .expect("they are trimmed");
    assert_eq!(world.number("SELECT count(*) FROM state_resets").await, 25);
    assert!(
        world.number("SELECT max(c) FROM (SELECT count(*) c FROM state_resets GROUP BY room_nid) s").await
            <= 10
    );
    server.stop().await;
}
