use http::Method;
use plexus_proto::{common::v1::ErrorReason, log::v1::room_control::Action};
use serde_json::{Value, json};

use crate::fakes::{ROOM, World, assert_error, assert_ok, content};

#[tokio::test]
async fn join_asks_for_the_profile_and_carries_the_reason() {
    let world = World::with_room(&[("alice", "join"), ("bob", "invite")]);
    let answer = world.post("bob", &format!("/rooms/{ROOM}/join"), json!({ "reason": "why not" })).await;
    assert_ok(&answer);
    assert_eq!(answer.1, json!({ "room_id": ROOM }));
    let intent = world.intent();
    assert_eq!(content(&intent), json!({ "membership": "join", "reason": "why not" }));
    assert!(intent.with_profile);
    assert_eq!(
        (intent.sender.as_str(), intent.state_key.as_deref()),
        ("@bob:example.org", Some("@bob:example.org"))
    );
}

#[tokio::test]
async fn joins_carry_what_else_the_client_says() {
    let world = World::with_room(&[("alice", "join")]);
    let body = json!({
        "foo": { "bar": 1 }, "membership": "ban", "displayname": "Alice", "avatar_url": "mxc://x/y",
        "join_authorised_via_users_server": "@alice:example.org", "reason": null,
    });
    for path in [format!("/rooms/{ROOM}/join"), format!("/join/{ROOM}")] {
        assert_ok(&world.post("bob", &path, body.clone()).await);
        let expected = json!({ "membership": "join", "foo": { "bar": 1 } });
        assert_eq!(content(&world.intent()), expected);
        for (broken, errcode) in [
            ("{", "M_NOT_JSON"),
            ("[]", "M_BAD_JSON"),
            (r#"{"reason":1}"#, "M_BAD_JSON"),
            (r#"{"foo":1.5}"#, "M_BAD_JSON"),
        ] {
            let answer = world.call_raw("bob", Method::POST, &path, broken.to_owned()).await;
            assert_error(&answer, 400, errcode);
        }
        assert!(world.inputs().is_empty());
    }
}

#[tokio::test]
async fn joining_twice_writes_nothing() {
    let world = World::with_room(&[("alice", "join")]);
    assert_ok(&world.post("alice", &format!("/join/{ROOM}"), Value::Null).await);
    assert!(world.inputs().is_empty());
}

#[tokio::test]
async fn rooms_are_joined_by_alias() {
    let world = World::with_room(&[]);
    world.known.lock().unwrap().aliases.insert("#pub:example.org".to_owned(), ROOM.to_owned());
    assert_ok(&world.post("bob", "/join/%23pub:example.org?via=elsewhere.org", json!({})).await);
    assert_eq!(content(&world.intent())["membership"], "join");
    for unknown in ["%23none:example.org", "%23pub:elsewhere.org", "!none:example.org", "!none:elsewhere.org"]
    {
        let answer = world.post("bob", &format!("/join/{unknown}"), json!({})).await;
        assert_error(&answer, 404, "M_NOT_FOUND");
    }
    assert_error(&world.post("bob", "/join/nothing", json!({})).await, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn refused_join_is_forbidden() {
    let world = World::with_room(&[]);
    for reason in [ErrorReason::Forbidden, ErrorReason::Banned] {
        world.refuse_next(reason);
        assert_error(&world.post("bob", &format!("/join/{ROOM}"), json!({})).await, 403, "M_FORBIDDEN");
    }
}

#[tokio::test]
async fn guests_join_only_where_guests_may() {
    let world = World::with_room(&[("guest", "invite")]);
    let join = format!("/join/{ROOM}");
    assert_error(&world.post("guest", &join, json!({})).await, 403, "M_GUEST_ACCESS_FORBIDDEN");
    world.add_state(ROOM, "m.room.guest_access", "", json!({ "guest_access": "can_join" }));
    assert_ok(&world.post("guest", &join, json!({})).await);
}

#[tokio::test]
async fn knocks_carry_the_profile() {
    let world = World::with_room(&[]);
    let answer = world.post("bob", &format!("/knock/{ROOM}"), json!({ "reason": "please" })).await;
    assert_eq!(answer.1, json!({ "room_id": ROOM }));
    assert_eq!(content(&world.intent()), json!({ "membership": "knock", "reason": "please" }));
    assert_error(&world.post("bob", "/knock/!none:example.org", json!({})).await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn invites_carry_the_profile_of_who_is_invited() {
    let world = World::with_room(&[("alice", "join")]);
    world.set_profile("bob", json!({ "displayname": "Bob" }));
    let invite = format!("/rooms/{ROOM}/invite");
    assert_ok(&world.post("alice", &invite, json!({ "user_id": "@bob:example.org" })).await);
    let intent = world.intent();
    assert_eq!(content(&intent), json!({ "membership": "invite", "displayname": "Bob" }));
    assert_eq!(intent.state_key.as_deref(), Some("@bob:example.org"));

    let remote = json!({ "user_id": "@bob:elsewhere.org" });
    assert_error(&world.post("alice", &invite, remote).await, 404, "M_NOT_FOUND");
    assert_error(&world.post("alice", &invite, json!({})).await, 400, "M_BAD_JSON");
    let email = json!({ "id_server": "x", "id_access_token": "x", "medium": "email", "address": "x" });
    assert_error(&world.post("alice", &invite, email).await, 403, "M_SERVER_NOT_TRUSTED");
    world.refuse_next(ErrorReason::RoomUnknown);
    let answer = world.post("alice", "/rooms/!none:x/invite", json!({ "user_id": "@bob:example.org" })).await;
    assert_error(&answer, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn leaving_twice_writes_nothing() {
    let world = World::with_room(&[("alice", "join"), ("bob", "leave")]);
    let leave = format!("/rooms/{ROOM}/leave");
    assert_ok(&world.post("bob", &leave, Value::Null).await);
    assert!(world.inputs().is_empty());
    assert_ok(&world.post("alice", &leave, json!({ "reason": "bye" })).await);
    assert_eq!(content(&world.intent()), json!({ "membership": "leave", "reason": "bye" }));
    assert_error(&world.post("alice", "/rooms/!none:example.org/leave", json!({})).await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn kick_ban_and_unban_say_from_which_membership() {
    let target = json!({ "user_id": "@bob:example.org", "reason": "spam" });
    let cases: [(&str, &[&str], &str); 3] =
        [("kick", &["join", "invite", "knock"], "leave"), ("ban", &[], "ban"), ("unban", &["ban"], "leave")];
    for (verb, from, after) in cases {
        let world = World::with_room(&[("alice", "join")]);
        let path = format!("/rooms/{ROOM}/{verb}");
        assert_ok(&world.post("alice", &path, target.clone()).await);
        let intent = world.intent();
        assert_eq!(content(&intent), json!({ "membership": after, "reason": "spam" }));
        assert_eq!(intent.from_memberships, from);
        if !from.is_empty() {
            world.refuse_next(ErrorReason::BadState);
            assert_error(&world.post("alice", &path, target.clone()).await, 403, "M_FORBIDDEN");
        }
    }
}

#[tokio::test]
async fn forgetting_needs_to_have_left() {
    let world = World::with_room(&[("alice", "join")]);
    let forget = format!("/rooms/{ROOM}/forget");
    world.refuse_next(ErrorReason::BadState);
    assert_error(&world.post("alice", &forget, json!({})).await, 400, "M_UNKNOWN");
    world.inputs();
    assert_ok(&world.post("alice", &forget, Value::Null).await);
    assert!(
        matches!(world.control().action, Some(Action::Forget(forget)) if forget.user_id == "@alice:example.org")
    );
}

#[tokio::test]
async fn joined_rooms_are_those_joined() {
    let world = World::with_room(&[("alice", "join"), ("bob", "invite")]);
    assert_eq!(world.get("alice", "/joined_rooms").await.1, json!({ "joined_rooms": [ROOM] }));
    assert_eq!(world.get("bob", "/joined_rooms").await.1, json!({ "joined_rooms": [] }));
    let answer = world.call("nobody", Method::GET, "/joined_rooms", &Value::Null).await;
    assert_error(&answer, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn members_are_shown_to_members() {
    let world = World::with_room(&[("alice", "join"), ("bob", "leave")]);
    world.add_state(
        ROOM,
        "m.room.member",
        "@alice:example.org",
        json!({ "membership": "join", "displayname": "A" }),
    );
    world.add_state(ROOM, "m.room.name", "", json!({ "name": "Pub" }));
    let answer = world.get("bob", &format!("/rooms/{ROOM}/members?not_membership=leave&at=t1_5")).await;
    assert_ok(&answer);
    assert_eq!(answer.1["chunk"].as_array().unwrap().len(), 1);
    assert_eq!(answer.1["chunk"][0]["state_key"], "@alice:example.org");
    assert_eq!(answer.1["chunk"][0]["room_id"], ROOM);
    assert_error(&world.get("bob", &format!("/rooms/{ROOM}/members?at=x")).await, 400, "M_INVALID_PARAM");
    assert_error(&world.get("carol", &format!("/rooms/{ROOM}/members")).await, 403, "M_FORBIDDEN");
    assert_error(&world.get("carol", "/rooms/!none:x/members").await, 403, "M_FORBIDDEN");

    let joined = world.get("alice", &format!("/rooms/{ROOM}/joined_members")).await;
    assert_eq!(
        joined.1,
        json!({ "joined": { "@alice:example.org": { "display_name": "A", "avatar_url": null } } })
    );
    assert_error(&world.get("bob", &format!("/rooms/{ROOM}/joined_members")).await, 403, "M_FORBIDDEN");
}
