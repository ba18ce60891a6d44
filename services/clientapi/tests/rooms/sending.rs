use http::Method;
use plexus_proto::{common::v1::ErrorReason, log::v1::room_control::Action};
use serde_json::{Value, json};

use crate::fakes::{ROOM, World, assert_error, assert_ok, content};

#[tokio::test]
async fn messages_carry_their_transaction() {
    let world = World::with_room(&[("alice", "join")]);
    let path = format!("/rooms/{ROOM}/send/m.room.message/txn%2F1");
    let answer = world.put("alice", &path, json!({ "body": "hi" })).await;
    assert_eq!(answer.1, json!({ "event_id": "$new" }));
    let intent = world.intent();
    assert_eq!((intent.r#type.as_str(), intent.state_key.as_deref()), ("m.room.message", None));
    assert_eq!(content(&intent), json!({ "body": "hi" }));
    let txn = intent.txn.unwrap();
    assert_eq!((txn.txn_id.as_str(), txn.device_id.as_str()), ("txn/1", "ALICE"));
    assert_eq!(txn.scope, format!("send/{ROOM}/m.room.message"));
}

#[tokio::test]
async fn content_is_sent_as_it_came() {
    let world = World::with_room(&[("alice", "join")]);
    let body = r#"{"b":"\u00fc", "a" : [1, 2]}"#.to_owned();
    let path = format!("/rooms/{ROOM}/send/m.x/1");
    assert_ok(&world.call_raw("alice", Method::PUT, &path, body.clone()).await);
    assert_eq!(world.intent().content, body);
}

#[tokio::test]
async fn bad_content_costs_no_write() {
    let world = World::with_room(&[("alice", "join")]);
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let cases = [
        ("", 400, "M_NOT_JSON"),
        ("{", 400, "M_NOT_JSON"),
        ("[]", 400, "M_BAD_JSON"),
        ("1", 400, "M_BAD_JSON"),
        (r#"{"x":1.5}"#, 400, "M_BAD_JSON"),
        (r#"{"x":9007199254740992}"#, 400, "M_BAD_JSON"),
        (deep.as_str(), 400, "M_BAD_JSON"),
    ];
    let paths = [format!("/rooms/{ROOM}/send/m.x/1"), format!("/rooms/{ROOM}/state/m.x/key")];
    for path in &paths {
        for (body, status, errcode) in cases {
            let answer = world.call_raw("alice", Method::PUT, path, body.to_owned()).await;
            assert_error(&answer, status, errcode);
        }
        let large = json!({ "x": "x".repeat(65_536) });
        assert_error(&world.put("alice", path, large).await, 413, "M_TOO_LARGE");
    }
    assert_error(&world.put("alice", "/rooms/nothing/send/m.x/1", json!({})).await, 400, "M_INVALID_PARAM");
    let long = "x".repeat(256);
    let answer = world.put("alice", &format!("/rooms/{ROOM}/send/{long}/1"), json!({})).await;
    assert_error(&answer, 413, "M_TOO_LARGE");
    let answer = world.put("alice", &format!("/rooms/{ROOM}/send/m.x/{long}"), json!({})).await;
    assert_error(&answer, 400, "M_INVALID_PARAM");
    assert!(world.inputs().is_empty());
}

#[tokio::test]
async fn verdicts_become_errors() {
    let world = World::with_room(&[("alice", "join")]);
    let cases = [
        (ErrorReason::Forbidden, 403, "M_FORBIDDEN"),
        (ErrorReason::NotJoined, 403, "M_FORBIDDEN"),
        (ErrorReason::RoomUnknown, 403, "M_FORBIDDEN"),
        (ErrorReason::TooLarge, 413, "M_TOO_LARGE"),
        (ErrorReason::BadJson, 400, "M_BAD_JSON"),
        (ErrorReason::DeadLettered, 500, "M_UNKNOWN"),
    ];
    for (reason, status, errcode) in cases {
        world.refuse_next(reason);
        let answer = world.put("alice", &format!("/rooms/{ROOM}/send/m.x/1"), json!({})).await;
        assert_error(&answer, status, errcode);
    }
}

#[tokio::test]
async fn redactions_name_their_event() {
    let world = World::with_room(&[("alice", "join")]);
    let path = format!("/rooms/{ROOM}/redact/$event/1");
    assert_ok(&world.put("alice", &path, json!({ "reason": "spam" })).await);
    let intent = world.intent();
    assert_eq!((intent.r#type.as_str(), intent.redacts.as_str()), ("m.room.redaction", "$event"));
    assert_eq!(content(&intent), json!({ "reason": "spam" }));
    assert_eq!(intent.txn.unwrap().scope, format!("redact/{ROOM}/$event"));

    let path = format!("/rooms/{ROOM}/send/m.room.redaction/2");
    assert_ok(&world.put("alice", &path, json!({ "redacts": "$event", "reason": "spam" })).await);
    let intent = world.intent();
    assert_eq!((intent.redacts.as_str(), content(&intent)), ("$event", json!({ "reason": "spam" })));
    assert_error(&world.put("alice", &path, json!({})).await, 400, "M_BAD_JSON");
}

#[tokio::test]
async fn state_is_sent_with_and_without_a_key() {
    let world = World::with_room(&[("alice", "join")]);
    for (path, key) in [("m.x", ""), ("m.x/", ""), ("m.x/a%2Fb", "a/b")] {
        let answer = world.put("alice", &format!("/rooms/{ROOM}/state/{path}"), json!({ "x": 1 })).await;
        assert_eq!(answer.1, json!({ "event_id": "$new" }), "{path}");
        let intent = world.intent();
        assert_eq!(intent.state_key.as_deref(), Some(key));
        assert!(intent.txn.is_none() && intent.skip_if_unchanged);
    }
}

#[tokio::test]
async fn member_events_must_make_sense() {
    let world = World::with_room(&[("alice", "join")]);
    let member = |user: &str| format!("/rooms/{ROOM}/state/m.room.member/{user}");
    let alice = member("@alice:example.org");
    assert_ok(&world.put("alice", &alice, json!({ "membership": "join", "displayname": "Al" })).await);
    assert_error(&world.put("alice", &alice, json!({})).await, 400, "M_BAD_JSON");
    assert_error(&world.put("alice", &alice, json!({ "membership": "guest" })).await, 400, "M_BAD_JSON");
    assert_error(
        &world.put("alice", &member("alice"), json!({ "membership": "join" })).await,
        400,
        "M_INVALID_PARAM",
    );
    let remote = member("@bob:elsewhere.org");
    assert_error(&world.put("alice", &remote, json!({ "membership": "invite" })).await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn canonical_aliases_must_point_at_the_room() {
    let world = World::with_room(&[("alice", "join")]);
    let path = format!("/rooms/{ROOM}/state/m.room.canonical_alias");
    let cases = [
        (json!({ "alias": "#here:elsewhere.org" }), "M_BAD_ALIAS"),
        (json!({ "alt_aliases": ["#here:example.org", "#here:elsewhere.org"] }), "M_BAD_ALIAS"),
        (json!({ "alias": "here" }), "M_INVALID_PARAM"),
        (json!({ "alt_aliases": ["@here:example.org"] }), "M_INVALID_PARAM"),
        (json!({ "alias": 1 }), "M_BAD_JSON"),
    ];
    for (body, errcode) in cases {
        assert_error(&world.put("alice", &path, body).await, 400, errcode);
    }
    assert!(world.inputs().is_empty());
    // What is there already is not looked at.
    world.add_state(ROOM, "m.room.canonical_alias", "", json!({ "alias": "#here:elsewhere.org" }));
    assert_ok(&world.put("alice", &path, json!({ "alt_aliases": ["#here:elsewhere.org"] })).await);
    assert_ok(&world.put("alice", &path, json!({ "alias": "" })).await);
    // The room server knows the aliases of this server.
    world.refuse_next(ErrorReason::BadAlias);
    let answer = world.put("alice", &path, json!({ "alias": "#there:example.org" })).await;
    assert_error(&answer, 400, "M_BAD_ALIAS");
}

#[tokio::test]
async fn aliases_are_set_and_removed() {
    let world = World::with_room(&[("alice", "join")]);
    let path = "/directory/room/%23pub:example.org";
    assert_ok(&world.put("alice", path, json!({ "room_id": ROOM })).await);
    assert!(matches!(world.control().action, Some(Action::SetAlias(set)) if set.alias == "#pub:example.org"));
    world.refuse_next(ErrorReason::AliasInUse);
    assert_error(&world.put("alice", path, json!({ "room_id": ROOM })).await, 409, "M_UNKNOWN");
    world.inputs();
    let remote = "/directory/room/%23pub:elsewhere.org";
    assert_error(&world.put("alice", remote, json!({ "room_id": ROOM })).await, 400, "M_INVALID_PARAM");
    assert_error(&world.get("alice", remote).await, 404, "M_NOT_FOUND");
    assert_error(&world.get("alice", path).await, 404, "M_NOT_FOUND");
    assert_error(&world.call("alice", Method::DELETE, path, &Value::Null).await, 404, "M_NOT_FOUND");

    world.known.lock().unwrap().aliases.insert("#pub:example.org".to_owned(), ROOM.to_owned());
    assert_eq!(world.get("nobody", path).await.1, json!({ "room_id": ROOM, "servers": ["example.org"] }));
    let aliases = world.get("alice", &format!("/rooms/{ROOM}/aliases")).await;
    assert_eq!(aliases.1, json!({ "aliases": ["#pub:example.org"] }));
    assert_error(&world.get("bob", &format!("/rooms/{ROOM}/aliases")).await, 403, "M_FORBIDDEN");

    let canonical = json!({ "alias": "#pub:example.org", "alt_aliases": ["#other:example.org"] });
    world.add_state(ROOM, "m.room.canonical_alias", "", canonical);
    world.accept_next();
    world.refuse_next(ErrorReason::Forbidden);
    assert_ok(&world.call("alice", Method::DELETE, path, &Value::Null).await);
    let inputs = world.inputs();
    assert_eq!(inputs.len(), 2, "the alias goes, then the event that names it");
}

#[tokio::test]
async fn visibility_is_read_and_set() {
    let world = World::with_room(&[("alice", "join")]);
    let path = format!("/directory/list/room/{ROOM}");
    assert_eq!(world.get("nobody", &path).await.1, json!({ "visibility": "private" }));
    assert_ok(&world.put("alice", &path, json!({ "visibility": "public" })).await);
    assert!(matches!(world.control().action, Some(Action::SetVisibility(set)) if set.published));
    assert_error(&world.put("alice", &path, json!({ "visibility": "secret" })).await, 400, "M_INVALID_PARAM");
    assert_error(&world.get("alice", "/directory/list/room/!none:x").await, 404, "M_NOT_FOUND");
    world.refuse_next(ErrorReason::RoomUnknown);
    let answer = world.put("alice", "/directory/list/room/!none:x", json!({ "visibility": "public" })).await;
    assert_error(&answer, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn too_many_messages_are_put_off() {
    let world = World::with_few_messages();
    world.add_room(ROOM, &[("alice", "join")]);
    let path = format!("/rooms/{ROOM}/send/m.x/1");
    let first = world.put("alice", &path, json!({})).await;
    assert_ok(&first);
    world.inputs();
    let redact = format!("/rooms/{ROOM}/redact/$event/1");
    for path in [format!("/rooms/{ROOM}/send/m.x/2"), format!("/rooms/{ROOM}/send/m.y/1"), redact] {
        let answer = world.put("alice", &path, json!({})).await;
        assert_error(&answer, 429, "M_LIMIT_EXCEEDED");
        assert!(answer.1["retry_after_ms"].as_u64().unwrap() > 0);
    }
    // Who sends the same again because the answer did not come gets it.
    assert_eq!(world.put("alice", &path, json!({})).await, first);
    assert!(world.inputs().is_empty());
}

#[tokio::test]
async fn redactions_that_come_too_often_are_answered_once_more() {
    let world = World::with_few_messages();
    world.add_room(ROOM, &[("alice", "join")]);
    let path = format!("/rooms/{ROOM}/redact/$event/1");
    let first = world.put("alice", &path, json!({})).await;
    assert_ok(&first);
    assert_eq!(world.put("alice", &path, json!({})).await, first);
}
