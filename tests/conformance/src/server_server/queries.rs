//! [Querying for information](https://spec.matrix.org/v1.19/server-server-api/#querying-for-information),
//! [public rooms](https://spec.matrix.org/v1.19/server-server-api/#public-room-directory),
//! [spaces](https://spec.matrix.org/v1.19/server-server-api/#spaces) and
//! [OpenID](https://spec.matrix.org/v1.19/server-server-api/#openid): what users ask of other servers, and others of ours.

use serde_json::{Value, json};

use super::peer::{Peer, Told};
use crate::{
    server::Server,
    wire::{Json as _, encoded},
};

tests![
    profiles_of_other_servers_are_told,
    a_profile_that_another_server_does_not_have_is_not_found,
    aliases_of_other_servers_are_told,
    directories_of_other_servers_are_told,
    rooms_of_other_servers_are_part_of_a_space,
    rooms_of_ours_are_part_of_a_space_elsewhere,
    a_space_that_another_server_tells_by_now_is_told,
    what_another_server_hides_is_not_told,
    a_room_of_another_server_has_a_summary,
    an_openid_token_tells_who_has_it,
    a_token_that_is_no_openid_token_tells_nothing,
    nobody_gets_an_openid_token_of_others,
];

async fn profiles_of_other_servers_are_told(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    peer.answers(
        "GET /_matrix/federation/v1/query/profile",
        200,
        json!({ "displayname": "Bob", "avatar_url": "mxc://far/bob" }),
    );
    let bob = format!("@bob:{}", peer.name);
    let told = alice.get(path!("/profile/{}", bob)).await.ok();
    assert_eq!(
        (&told["displayname"], &told["avatar_url"]),
        (&json!("Bob"), &json!("mxc://far/bob")),
        "{told}"
    );
    let told = alice.get(path!("/profile/{}/displayname", bob)).await.ok();
    assert_eq!(told["displayname"], "Bob", "{told}");
    let asked = peer.asked("GET /_matrix/federation/v1/query/profile");
    assert!(
        asked.iter().all(|asked| asked.what.contains(&format!("user_id={}", encoded(&bob)))),
        "{asked:?}"
    );
}

async fn a_profile_that_another_server_does_not_have_is_not_found(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    alice.get(path!("/profile/{}", format!("@nobody:{}", peer.name))).await.refused(404, "M_NOT_FOUND");
}

async fn aliases_of_other_servers_are_told(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let room = format!("!far:{}", peer.name);
    peer.answers(
        "GET /_matrix/federation/v1/query/directory",
        200,
        json!({ "room_id": room, "servers": [peer.name, "third.example"] }),
    );
    let alias = format!("#far:{}", peer.name);
    let told = alice.get(path!("/directory/room/{}", alias)).await.ok();
    assert_eq!(told["room_id"], json!(room), "{told}");
    assert!(told["servers"].as_array().is_some_and(|them| them.contains(&json!(peer.name))), "{told}");
    peer.answers(
        "GET /_matrix/federation/v1/query/directory",
        404,
        json!({ "errcode": "M_NOT_FOUND", "error": "no" }),
    );
    alice
        .get(path!("/directory/room/{}", format!("#absent:{}", peer.name)))
        .await
        .refused(404, "M_NOT_FOUND");
}

async fn directories_of_other_servers_are_told(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let room = |name: &str| {
        json!({
            "room_id": format!("!{name}:{}", peer.name), "name": name, "num_joined_members": 3,
            "world_readable": false, "guest_can_join": false, "join_rule": "public",
        })
    };
    let page = json!({ "chunk": [room("one")], "next_batch": "more", "total_room_count_estimate": 2 });
    for method in ["GET", "POST"] {
        peer.answers(&format!("{method} /_matrix/federation/v1/publicRooms"), 200, page.clone());
    }
    let told = alice.get("/_matrix/client/v3/publicRooms").query("server", &peer.name).await.ok();
    assert_eq!(told["chunk"][0]["name"], "one", "{told}");
    assert_eq!(told["chunk"][0]["num_joined_members"], 3, "{told}");
    assert_eq!(told["next_batch"], "more", "{told}");

    let search = json!({ "filter": { "generic_search_term": "on" }, "limit": 5 });
    let request = alice.post("/_matrix/client/v3/publicRooms", search).query("server", &peer.name);
    let told = request.await.ok();
    assert_eq!(told["chunk"][0]["name"], "one", "{told}");
    let asked = peer.asked("POST /_matrix/federation/v1/publicRooms");
    assert_eq!(
        asked.last().map(|asked| asked.body["filter"]["generic_search_term"].clone()),
        Some(json!("on"))
    );
}

/// A space with a public child and one that nobody may know of, as a peer tells it.
fn tells_a_space(peer: &Peer) -> (String, String, String) {
    let [space, child, hidden] = ["space", "child", "hidden"].map(|name| format!("!{name}:{}", peer.name));
    let room = |room_id: &str, rule: &str, name: &str| {
        json!({
            "room_id": room_id, "name": name, "num_joined_members": 2, "world_readable": false,
            "guest_can_join": false, "join_rule": rule, "allowed_room_ids": [], "room_version": "11",
        })
    };
    let link = |room_id: &str| {
        json!({
            "type": "m.space.child", "state_key": room_id, "sender": format!("@creator:{}", peer.name),
            "origin_server_ts": 1_700_000_000_000_i64, "content": { "via": [peer.name] },
        })
    };
    let mut told = room(&space, "public", "Far space");
    told["room_type"] = json!("m.space");
    told["children_state"] = json!([link(&child), link(&hidden)]);
    let mut told_child = room(&child, "public", "Far child");
    told_child["children_state"] = json!([]);
    let mut told_hidden = room(&hidden, "invite", "Hidden");
    told_hidden["children_state"] = json!([]);
    let path = |room_id: &str| format!("GET /_matrix/federation/v1/hierarchy/{}", encoded(room_id));
    let answer = |room: Value, children: Value| json!({ "room": room, "children": children, "inaccessible_children": [] });
    peer.answers(&path(&space), 200, answer(told, json!([told_child, told_hidden])));
    peer.answers(&path(&child), 200, answer(told_child.clone(), json!([])));
    (space, child, hidden)
}

fn names(told: &Value) -> Vec<&str> {
    let rooms = told["rooms"].as_array().into_iter().flatten();
    rooms.filter_map(|room| room["name"].as_str()).collect()
}

async fn rooms_of_other_servers_are_part_of_a_space(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let (far, ..) = tells_a_space(&peer);
    let space = alice
        .creates_room()
        .public()
        .with("name", json!("Near"))
        .with("creation_content", json!({ "type": "m.space" }));
    let space = space.await;
    let last = alice.creates_room().public().with("name", json!("Last")).await;
    let content = |via: &str, order: &str| json!({ "via": [via], "order": order });
    alice.sets_state(&space, "m.space.child", &far, content(&peer.name, "a")).await.ok();
    alice.sets_state(&space, "m.space.child", &last.0, content(server.name(), "b")).await.ok();
    let path = format!("/_matrix/client/v1/rooms/{}/hierarchy", encoded(&space.0));
    let told = alice.get(path.as_str()).await.ok();
    assert_eq!(names(&told), ["Near", "Far space", "Far child", "Last"], "{told}");

    // The same in pages.
    let first = alice.get(path.as_str()).query("limit", 2).await.ok();
    assert_eq!(names(&first), ["Near", "Far space"], "{first}");
    let rest = alice.get(path.as_str()).query("limit", 2).query("from", first.text("/next_batch")).await.ok();
    assert_eq!(names(&rest), ["Far child", "Last"], "{rest}");
    assert!(rest.get("next_batch").is_none(), "{rest}");
}

async fn rooms_of_ours_are_part_of_a_space_elsewhere(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let ours = alice.creates_room().public().with("name", json!("Ours")).await;
    let space = format!("!space:{}", peer.name);
    let told = json!({
        "room_id": space, "name": "Far space", "room_type": "m.space", "join_rule": "public", "room_version": "11",
        "num_joined_members": 1, "world_readable": false, "guest_can_join": false, "allowed_room_ids": [],
        "children_state": [{
            "type": "m.space.child", "state_key": ours.0, "sender": format!("@creator:{}", peer.name),
            "origin_server_ts": 1_700_000_000_000_i64, "content": { "via": [server.name()] },
        }],
    });
    let path = format!("GET /_matrix/federation/v1/hierarchy/{}", encoded(&space));
    peer.answers(&path, 200, json!({ "room": told, "children": [], "inaccessible_children": [] }));
    let near = alice.creates_room().public().with("name", json!("Near"));
    let near = near.with("creation_content", json!({ "type": "m.space" })).await;
    alice.sets_state(&near, "m.space.child", &space, json!({ "via": [peer.name] })).await.ok();
    let told = alice.get(format!("/_matrix/client/v1/rooms/{}/hierarchy", encoded(&near.0))).await.ok();
    assert_eq!(names(&told), ["Near", "Far space", "Ours"], "{told}");
}

async fn a_space_that_another_server_tells_by_now_is_told(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let far = format!("!space:{}", peer.name);
    let space = alice.creates_room().public().with("name", json!("Near"));
    let space = space.with("creation_content", json!({ "type": "m.space" })).await;
    alice.sets_state(&space, "m.space.child", &far, json!({ "via": [peer.name] })).await.ok();
    let path = format!("/_matrix/client/v1/rooms/{}/hierarchy", encoded(&space.0));
    let told = alice.get(path.as_str()).await.ok();
    assert_eq!(names(&told), ["Near"], "{told}");
    // A user who joins there changes what this server may know.
    tells_a_space(&peer);
    let told = alice.get(path.as_str()).await.ok();
    assert_eq!(names(&told), ["Near", "Far space", "Far child"], "{told}");
}

async fn what_another_server_hides_is_not_told(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let unknown = format!("!unknown:{}", peer.name);
    let answer = alice.get(format!("/_matrix/client/v1/rooms/{}/hierarchy", encoded(&unknown))).await;
    answer.refused(403, "M_FORBIDDEN");
    // What it tells of a room of invites is told to nobody who has none.
    let (_, _, hidden) = tells_a_space(&peer);
    let summary = format!("/_matrix/client/v1/room_summary/{}", encoded(&hidden));
    alice.get(summary).query("via", &peer.name).await.refused(404, "M_NOT_FOUND");
}

async fn a_room_of_another_server_has_a_summary(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let (_, child, _) = tells_a_space(&peer);
    let summary = format!("/_matrix/client/v1/room_summary/{}", encoded(&child));
    let told = alice.get(summary).query("via", &peer.name).await.ok();
    assert_eq!((&told["name"], &told["num_joined_members"]), (&json!("Far child"), &json!(2)), "{told}");
    assert_eq!((&told["room_id"], &told["membership"]), (&json!(child), &json!("leave")), "{told}");
}

async fn an_openid_token_tells_who_has_it(server: Server) {
    let alice = server.user("alice").await;
    let token = alice.post(path!("/user/{}/openid/request_token", alice.id), json!({})).await.ok();
    assert_eq!(
        (&token["token_type"], &token["matrix_server_name"]),
        (&json!("Bearer"), &json!(server.name()))
    );
    assert!(token["expires_in"].as_u64().is_some_and(|seconds| seconds > 0), "{token}");
    let info = server.federation().get("/_matrix/federation/v1/openid/userinfo");
    let told = info.query("access_token", token.text("/access_token")).await.ok();
    assert_eq!(told["sub"], json!(alice.id), "{told}");
    // It is no access token.
    let whoami = server.federation().get("/_matrix/federation/v1/openid/userinfo");
    whoami
        .query("access_token", format!("{}x", token.text("/access_token")))
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
}

async fn a_token_that_is_no_openid_token_tells_nothing(server: Server) {
    let alice = server.user("alice").await;
    for token in ["nonsense", alice.token()] {
        let info = server.federation().get("/_matrix/federation/v1/openid/userinfo");
        info.query("access_token", token).await.refused(401, "M_UNKNOWN_TOKEN");
    }
}

async fn nobody_gets_an_openid_token_of_others(server: Server) {
    let (alice, bob) = futures::join!(server.user("alice"), server.user("bob"));
    let path = path!("/user/{}/openid/request_token", bob.id);
    alice.post(path, json!({})).await.refused(403, "M_FORBIDDEN");
}
