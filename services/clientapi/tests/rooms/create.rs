use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{AtomicBatch, input_room_event::Body},
};
use serde_json::{Value, json};

use crate::fakes::{World, assert_error, assert_ok, content};

fn create_event(batch: &AtomicBatch) -> Value {
    serde_json::from_slice(&batch.create_pdu).unwrap()
}

fn types(batch: &AtomicBatch) -> Vec<&str> {
    batch.intents.iter().map(|intent| intent.r#type.as_str()).collect()
}

#[tokio::test]
async fn room_goes_to_the_log_as_one_record() {
    let world = World::start();
    world.set_profile("alice", json!({ "displayname": "Alice", "avatar_url": "mxc://x/y", "m.tz": "UTC" }));
    world.set_profile("bob", json!({ "displayname": "Bob" }));
    let options = json!({
        "visibility": "public", "room_alias_name": "pub", "name": "Pub",
        "invite": ["@bob:example.org"], "is_direct": true,
    });
    let answer = world.post("alice", "/createRoom", options).await;
    assert_ok(&answer);
    let batch = world.batch();
    assert_eq!(batch.room_version, "12");
    assert_eq!(batch.alias, "#pub:example.org");
    assert!(batch.published);
    let create = create_event(&batch);
    assert_eq!(create["content"]["room_version"], "12");
    assert_eq!(create["sender"], "@alice:example.org");
    assert!(create.get("room_id").is_none());
    let room_id = answer.1["room_id"].as_str().unwrap();
    assert!(room_id.starts_with('!') && !room_id.contains(':'), "{room_id}");
    assert_eq!(
        types(&batch),
        [
            "m.room.member",
            "m.room.power_levels",
            "m.room.canonical_alias",
            "m.room.join_rules",
            "m.room.history_visibility",
            "m.room.name",
            "m.room.member",
        ]
    );
    assert_eq!(content(&batch.intents[0]), json!({ "membership": "join" }));
    assert!(batch.intents[0].with_profile && !batch.intents[6].with_profile);
    let invited = json!({ "membership": "invite", "displayname": "Bob", "is_direct": true });
    assert_eq!(content(&batch.intents[6]), invited);
    assert_eq!(batch.intents[6].state_key.as_deref(), Some("@bob:example.org"));
    assert!(batch.intents.iter().all(|intent| intent.sender == "@alice:example.org"));
}

#[tokio::test]
async fn earlier_versions_have_random_room_ids() {
    let world = World::start();
    let answer = world.post("alice", "/createRoom", json!({ "room_version": "11" })).await;
    assert_ok(&answer);
    let room_id = answer.1["room_id"].as_str().unwrap();
    assert!(room_id.ends_with(":example.org"));
    let create = create_event(&world.batch());
    assert_eq!(create["room_id"], room_id);
    let answer = world.post("alice", "/createRoom", json!({ "room_version": "10" })).await;
    assert_ok(&answer);
    assert_eq!(create_event(&world.batch())["content"]["creator"], "@alice:example.org");
}

#[tokio::test]
async fn refusals_tell_what_is_wrong() {
    let world = World::start();
    let cases = [
        (json!({ "room_version": "9000" }), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (json!({ "preset": "huh" }), 400, "M_BAD_JSON"),
        (json!({ "name": 1 }), 400, "M_BAD_JSON"),
        (json!({ "invite": "x" }), 400, "M_BAD_JSON"),
        (json!({ "initial_state": [{ "type": "m.x", "content": { "x": 1.5 } }] }), 400, "M_BAD_JSON"),
        (json!({ "room_alias_name": "#pub:example.org" }), 400, "M_INVALID_PARAM"),
        (json!({ "room_alias_name": "a b" }), 400, "M_INVALID_PARAM"),
        (json!({ "room_alias_name": "x".repeat(300) }), 400, "M_INVALID_PARAM"),
        (json!({ "invite": ["@bob:elsewhere.org"] }), 404, "M_NOT_FOUND"),
        (
            json!({ "power_level_content_override": { "users": { "@alice:example.org": 1 } } }),
            400,
            "M_INVALID_ROOM_STATE",
        ),
        (
            json!({ "invite_3pid": [{ "id_server": "x", "id_access_token": "x", "medium": "email", "address": "x" }] }),
            403,
            "M_SERVER_NOT_TRUSTED",
        ),
        (json!({ "topic": "x".repeat(70_000) }), 413, "M_TOO_LARGE"),
    ];
    for (options, status, errcode) in cases {
        assert_error(&world.post("alice", "/createRoom", options).await, status, errcode);
    }
    assert!(world.inputs().is_empty());
    assert_error(&world.post("nobody", "/createRoom", json!({})).await, 401, "M_UNKNOWN_TOKEN");
    assert_error(&world.post("guest", "/createRoom", json!({})).await, 403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[tokio::test]
async fn too_much_for_one_record_is_refused() {
    let world = World::start();
    let many: Vec<_> = (0..1001).map(|n| format!("@user{n}:example.org")).collect();
    assert_error(&world.post("alice", "/createRoom", json!({ "invite": many })).await, 413, "M_TOO_LARGE");
    let long = "x".repeat(60_000);
    let state: Vec<_> = (0..30)
        .map(|n| json!({ "type": "m.x", "state_key": n.to_string(), "content": { "x": long } }))
        .collect();
    let options = json!({ "initial_state": state });
    assert_error(&world.post("alice", "/createRoom", options).await, 413, "M_TOO_LARGE");
    assert!(world.inputs().is_empty());
}

#[tokio::test]
async fn verdicts_become_errors() {
    let world = World::start();
    world.refuse_next(ErrorReason::InvalidRoomState);
    assert_error(&world.post("alice", "/createRoom", json!({})).await, 400, "M_INVALID_ROOM_STATE");
    world.refuse_next(ErrorReason::Forbidden);
    assert_error(&world.post("alice", "/createRoom", json!({})).await, 400, "M_INVALID_ROOM_STATE");

    let taken = ("#pub:example.org".to_owned(), "!other:example.org".to_owned());
    world.known.lock().unwrap().aliases.extend([taken]);
    world.refuse_next(ErrorReason::RoomInUse);
    let answer = world.post("alice", "/createRoom", json!({ "room_alias_name": "pub" })).await;
    assert_error(&answer, 400, "M_ROOM_IN_USE");
}

#[tokio::test]
async fn rooms_alike_are_different_rooms() {
    let world = World::start();
    for version in ["11", "12"] {
        let options = json!({ "name": "same", "room_version": version });
        let first = world.post("alice", "/createRoom", options.clone()).await;
        let again = world.post("alice", "/createRoom", options).await;
        assert_ne!(first.1["room_id"], again.1["room_id"]);
    }
    let inputs = world.inputs();
    let create = inputs.iter().filter_map(|input| match &input.body {
        Some(Body::Batch(batch)) => Some(create_event(batch)["content"].to_string()),
        _ => None,
    });
    let create: Vec<_> = create.collect();
    // Where the create event names the room, it is the content that differs, whatever the clock says.
    assert_eq!(create[0], create[1]);
    assert_ne!(create[2], create[3]);
}
