//! [Room aliases](https://spec.matrix.org/v1.19/client-server-api/#room-aliases)
//! and the [listing](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid) of rooms.

use serde_json::json;

use crate::{server::Server, wire::Json as _};

tests![
    an_alias_leads_to_the_room,
    anybody_asks_for_an_alias,
    a_taken_alias_conflicts,
    an_unknown_alias_is_not_found,
    a_malformed_alias_is_refused,
    an_alias_of_another_server_is_refused,
    an_alias_needs_a_room,
    a_deleted_alias_is_gone,
    a_deleted_alias_is_free,
    an_alias_is_deleted_by_who_made_it,
    an_alias_is_not_deleted_by_somebody_else,
    an_alias_is_deleted_by_who_has_the_power,
    an_unknown_alias_is_not_deleted,
    aliases_of_a_room_are_told_to_members,
    aliases_of_a_room_are_not_told_to_somebody_else,
    an_alias_needs_a_token,
    a_room_is_listed_and_unlisted,
    the_listing_of_an_unknown_room_is_not_found,
    somebody_else_does_not_list_a_room,
    an_unknown_visibility_is_refused,
    an_alias_may_have_letters_of_any_script,
    aliases_of_a_world_readable_room_are_told,
];

async fn an_alias_leads_to_the_room(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/directory/room/{}", server.alias());
    assert_eq!(alice.put(path.clone(), json!({ "room_id": room.0 })).await.ok(), json!({}));
    let answer = alice.get(path).await.ok();
    assert_eq!(answer["room_id"], room.0);
    assert!(answer.list("/servers").contains(&json!(server.name())), "{answer}");
}

async fn anybody_asks_for_an_alias(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/directory/room/{}", server.alias());
    alice.put(path.clone(), json!({ "room_id": room.0 })).await.ok();
    assert_eq!(server.anybody().get(path).await.ok()["room_id"], room.0);
}

async fn a_taken_alias_conflicts(server: Server) {
    let alice = server.user("alice").await;
    let (room, other) = (alice.creates_room().await, alice.creates_room().await);
    let path = path!("/directory/room/{}", server.alias());
    alice.put(path.clone(), json!({ "room_id": room.0 })).await.ok();
    alice.put(path.clone(), json!({ "room_id": other.0 })).await.refused(409, "M_UNKNOWN");
    assert_eq!(alice.get(path).await.ok()["room_id"], room.0);
}

async fn an_unknown_alias_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    alice.get(path!("/directory/room/{}", server.alias())).await.refused(404, "M_NOT_FOUND");
}

async fn a_malformed_alias_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    alice.get("/directory/room/nonsense").await.refused(400, "M_INVALID_PARAM");
    let answer = alice.put("/directory/room/nonsense", json!({ "room_id": room.0 })).await;
    answer.refused(400, "M_INVALID_PARAM");
}

async fn an_alias_of_another_server_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/directory/room/{}", "#pub:elsewhere.example");
    let answer = alice.put(path, json!({ "room_id": room.0 })).await;
    assert!([400, 403].contains(&answer.status), "{answer}");
}

async fn an_alias_needs_a_room(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/directory/room/{}", server.alias());
    let answer = alice.put(path.clone(), json!({})).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
    let answer = alice.put(path, json!({ "room_id": server.nowhere().0 })).await;
    assert!([400, 403, 404].contains(&answer.status), "{answer}");
}

async fn a_deleted_alias_is_gone(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/directory/room/{}", server.alias());
    alice.put(path.clone(), json!({ "room_id": room.0 })).await.ok();
    assert_eq!(alice.delete(path.clone()).await.ok(), json!({}));
    alice.get(path).await.refused(404, "M_NOT_FOUND");
}

async fn a_deleted_alias_is_free(server: Server) {
    let alice = server.user("alice").await;
    let (room, other) = (alice.creates_room().await, alice.creates_room().await);
    let path = path!("/directory/room/{}", server.alias());
    alice.put(path.clone(), json!({ "room_id": room.0 })).await.ok();
    alice.delete(path.clone()).await.ok();
    alice.put(path.clone(), json!({ "room_id": other.0 })).await.ok();
    assert_eq!(alice.get(path).await.ok()["room_id"], other.0);
}

async fn an_alias_is_deleted_by_who_made_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let path = path!("/directory/room/{}", server.alias());
    bob.put(path.clone(), json!({ "room_id": room.0 })).await.ok();
    bob.delete(path.clone()).await.ok();
    alice.get(path).await.refused(404, "M_NOT_FOUND");
}

async fn an_alias_is_not_deleted_by_somebody_else(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let path = path!("/directory/room/{}", server.alias());
    alice.put(path.clone(), json!({ "room_id": room.0 })).await.ok();
    bob.delete(path.clone()).await.refused(403, "M_FORBIDDEN");
    alice.get(path).await.ok();
}

async fn an_alias_is_deleted_by_who_has_the_power(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let path = path!("/directory/room/{}", server.alias());
    bob.put(path.clone(), json!({ "room_id": room.0 })).await.ok();
    alice.delete(path.clone()).await.ok();
    alice.get(path).await.refused(404, "M_NOT_FOUND");
}

async fn an_unknown_alias_is_not_deleted(server: Server) {
    let alice = server.user("alice").await;
    alice.delete(path!("/directory/room/{}", server.alias())).await.refused(404, "M_NOT_FOUND");
}

async fn aliases_of_a_room_are_told_to_members(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/rooms/{}/aliases", room);
    assert_eq!(alice.get(path.clone()).await.ok(), json!({ "aliases": [] }));
    let alias = server.alias();
    alice.put(path!("/directory/room/{}", alias), json!({ "room_id": room.0 })).await.ok();
    assert_eq!(alice.get(path).await.ok(), json!({ "aliases": [alias] }));
}

async fn aliases_of_a_room_are_not_told_to_somebody_else(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.get(path!("/rooms/{}/aliases", room)).await.refused(403, "M_FORBIDDEN");
}

async fn an_alias_needs_a_token(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let path = path!("/directory/room/{}", server.alias());
    let answer = server.anybody().put(path.clone(), json!({ "room_id": room.0 })).await;
    answer.refused(401, "M_MISSING_TOKEN");
    let stranger = server.anybody().with_token(Some("never_given"));
    let answer = stranger.put(path.clone(), json!({ "room_id": room.0 })).await;
    answer.refused(401, "M_UNKNOWN_TOKEN");
    server.anybody().get(path).await.refused(404, "M_NOT_FOUND");
}

async fn a_room_is_listed_and_unlisted(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().public().await;
    let path = path!("/directory/list/room/{}", room);
    for visibility in ["public", "private"] {
        assert_eq!(alice.put(path.clone(), json!({ "visibility": visibility })).await.ok(), json!({}));
        assert_eq!(server.anybody().get(path.clone()).await.ok()["visibility"], visibility);
    }
}

async fn the_listing_of_an_unknown_room_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/directory/list/room/{}", server.nowhere());
    alice.get(path.clone()).await.refused(404, "M_NOT_FOUND");
    alice.put(path, json!({ "visibility": "public" })).await.refused(404, "M_NOT_FOUND");
}

async fn somebody_else_does_not_list_a_room(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.joins(&room).await.ok();
    let path = path!("/directory/list/room/{}", room);
    bob.put(path.clone(), json!({ "visibility": "public" })).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.get(path).await.ok()["visibility"], "private");
}

async fn an_unknown_visibility_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().public().await;
    let path = path!("/directory/list/room/{}", room);
    let answer = alice.put(path, json!({ "visibility": "translucent" })).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn an_alias_may_have_letters_of_any_script(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let alias = format!("#{}-чай-☕/x:{}", server.unique("tea"), server.name());
    let path = path!("/directory/room/{}", alias);
    alice.put(path.clone(), json!({ "room_id": room.0 })).await.ok();
    assert_eq!(alice.get(path).await.ok().text("/room_id"), room.0);
}

async fn aliases_of_a_world_readable_room_are_told(server: Server) {
    let (alice, bob) = server.pair().await;
    let visibility = json!({ "history_visibility": "world_readable" });
    let room = alice.creates_room().state("m.room.history_visibility", visibility).await;
    let alias = server.alias();
    alice.put(path!("/directory/room/{}", alias), json!({ "room_id": room.0 })).await.ok();
    assert_eq!(bob.get(path!("/rooms/{}/aliases", room)).await.ok(), json!({ "aliases": [alias] }));
}
