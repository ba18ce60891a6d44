use plexus_proto::room::v1::RoomSummary;
use serde_json::json;

use crate::fakes::{ROOM, World, assert_error, assert_ok};

fn world() -> World {
    let world = World::with_room(&[("alice", "join")]);
    world.known.lock().unwrap().summaries = vec![RoomSummary {
        room_id: ROOM.to_owned(),
        room_version: "12".to_owned(),
        joined_members: 3,
        name: "Pub".to_owned(),
        join_rule: "public".to_owned(),
        allowed_room_ids: vec!["!club:x".to_owned()],
        membership: "join".to_owned(),
        ..RoomSummary::default()
    }];
    world
}

#[tokio::test]
async fn spaces_are_paged_with_the_options_they_began_with() {
    let world = world();
    let base = format!("/_matrix/client/v1/rooms/{ROOM}/hierarchy");
    let first = world.get("alice", &format!("{base}?limit=1&max_depth=3&suggested_only=true")).await;
    assert_ok(&first);
    let room = &first.1["rooms"][0];
    assert_eq!((&room["room_version"], &room["allowed_room_ids"]), (&json!("12"), &json!(["!club:x"])));
    assert_eq!(
        room["children_state"],
        json!([{ "type": "m.space.child", "state_key": "!child:x", "sender": "@alice:example.org",
            "content": { "via": ["x"] }, "origin_server_ts": 7 }])
    );
    let next = first.1["next_batch"].as_str().unwrap();
    let second = format!("{base}?limit=2&max_depth=3&suggested_only=true&from={next}");
    assert_ok(&world.get("alice", &second).await);
    let asked = std::mem::take(&mut world.known.lock().unwrap().space_requests);
    assert_eq!((asked[0].offset, asked[0].limit, asked[0].max_depth), (0, 1, 3));
    assert_eq!((asked[1].offset, asked[1].limit, asked[1].suggested_only), (1, 2, true));
    for query in
        [&*format!("?from={next}"), "?from=x", "?limit=0", "?limit=-1", "?max_depth=x", "?suggested_only=x"]
    {
        assert_error(&world.get("alice", &format!("{base}{query}")).await, 400, "M_INVALID_PARAM");
    }
    let unknown = world.get("alice", "/_matrix/client/v1/rooms/!none:x/hierarchy").await;
    assert_error(&unknown, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn summaries_tell_the_membership_of_who_asks() {
    let world = world();
    let path = format!("/_matrix/client/v1/room_summary/{ROOM}");
    let told = world.get("alice", &path).await.1;
    assert_eq!((&told["membership"], &told["num_joined_members"]), (&json!("join"), &json!(3)));
    assert_eq!((told.get("topic"), told.get("children_state")), (None, None));
    assert_error(&world.get("nobody", &path).await, 401, "M_UNKNOWN_TOKEN");
    // Without a token, only what is open to anybody is told.
    assert_error(&world.get("", &path).await, 404, "M_NOT_FOUND");
    world.known.lock().unwrap().summaries[0].world_readable = true;
    assert_eq!(world.get("", &path).await.1.get("membership"), None);
    assert_error(&world.get("alice", "/_matrix/client/v1/room_summary/!none:x").await, 404, "M_NOT_FOUND");
    assert_error(&world.get("alice", "/_matrix/client/v1/room_summary/%23none:x").await, 404, "M_NOT_FOUND");
    assert_error(&world.get("alice", "/_matrix/client/v1/room_summary/none").await, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn the_directory_is_paged_and_filtered() {
    let world = world();
    let first = world.get("alice", "/publicRooms?limit=2").await;
    assert_ok(&first);
    assert_eq!(first.1["chunk"][0]["name"], "Pub");
    assert_eq!((first.1.get("prev_batch"), &first.1["total_room_count_estimate"]), (None, &json!(9)));
    let next = first.1["next_batch"].as_str().unwrap();
    let body = json!({
        "since": next, "filter": { "generic_search_term": "pub", "room_types": [null, "m.space"] },
    });
    assert_ok(&world.post("alice", "/publicRooms?server=example.org", body).await);
    let asked = std::mem::take(&mut world.known.lock().unwrap().directory_requests);
    assert_eq!((asked[0].limit, asked[0].has_room_types), (2, false));
    let place = asked[1].position.as_ref().unwrap();
    assert_eq!((place.joined_members, place.room_id.as_str(), place.before), (3, ROOM, false));
    assert_eq!((asked[1].search_term.as_str(), asked[1].has_room_types), ("pub", true));
    assert_eq!(asked[1].room_types, ["", "m.space"]);

    let of_network = json!({ "third_party_instance_id": "irc" });
    assert_eq!(world.post("alice", "/publicRooms", of_network).await.1, json!({ "chunk": [] }));
    assert_error(&world.get("alice", "/publicRooms?since=x").await, 400, "M_INVALID_PARAM");
    assert_error(&world.get("alice", "/publicRooms?server=other.org").await, 502, "M_UNKNOWN");
    assert_error(&world.post("alice", "/publicRooms", json!({ "filter": 1 })).await, 400, "M_BAD_JSON");
}

#[tokio::test]
async fn users_are_found() {
    let world = world();
    let found =
        world.post("alice", "/user_directory/search", json!({ "search_term": "Bob", "limit": 1 })).await;
    assert_eq!(
        found.1,
        json!({ "results": [{ "user_id": "@bob:example.org", "display_name": "Bob" }], "limited": true })
    );
    let missing = world.post("alice", "/user_directory/search", json!({})).await;
    assert_error(&missing, 400, "M_BAD_JSON");
    let mutual = "/_matrix/client/v1/mutual_rooms?user_id=@bob:example.org";
    assert_eq!(world.get("alice", mutual).await.1, json!({ "joined": ["!after"], "count": 3 }));
    for query in ["?user_id=@alice:example.org", "?user_id=bob", "?user_id=@bob:example.org&from=x"] {
        let answer = world.get("alice", &format!("/_matrix/client/v1/mutual_rooms{query}")).await;
        assert_error(&answer, 400, "M_INVALID_PARAM");
    }
}

#[tokio::test]
async fn reports_must_name_what_is_there() {
    let world = world();
    let reason = json!({ "reason": "bad" });
    assert_error(&world.post("alice", "/rooms/!none:x/report", reason.clone()).await, 404, "M_NOT_FOUND");
    let event = format!("/rooms/{ROOM}/report/$none");
    assert_error(&world.post("alice", &event, reason.clone()).await, 404, "M_NOT_FOUND");
    assert_error(&world.post("bob", &event, reason.clone()).await, 404, "M_NOT_FOUND");
    assert_error(&world.post("alice", "/users/@none:example.org/report", reason).await, 404, "M_NOT_FOUND");
    let long = json!({ "reason": "x".repeat(5000) });
    assert_error(&world.post("alice", &format!("/rooms/{ROOM}/report"), long).await, 400, "M_INVALID_PARAM");
    let missing = world.post("alice", &format!("/rooms/{ROOM}/report"), json!({})).await;
    assert_error(&missing, 400, "M_BAD_JSON");
}

#[tokio::test]
async fn who_wants_no_invites_gets_none() {
    let world = world();
    world.known.lock().unwrap().no_invites.insert("@bob:example.org".to_owned());
    let bob = json!({ "user_id": "@bob:example.org" });
    assert_error(&world.post("alice", &format!("/rooms/{ROOM}/invite"), bob).await, 403, "M_INVITE_BLOCKED");
    let state = format!("/rooms/{ROOM}/state/m.room.member/@bob:example.org");
    let invite = world.put("alice", &state, json!({ "membership": "invite" })).await;
    assert_error(&invite, 403, "M_INVITE_BLOCKED");
    let create = world.post("alice", "/createRoom", json!({ "invite": ["@bob:example.org"] })).await;
    assert_error(&create, 403, "M_INVITE_BLOCKED");
    assert!(world.inputs().is_empty());
}
