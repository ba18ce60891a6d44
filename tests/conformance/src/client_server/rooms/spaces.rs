//! [Spaces](https://spec.matrix.org/v1.19/client-server-api/#spaces) and
//! [summaries of rooms](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias).

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
    wait::eventually,
    wire::{Json as _, Request},
};

tests![
    a_space_tells_its_rooms_depth_first,
    rooms_that_one_may_not_know_of_are_left_out,
    members_of_the_space_see_its_restricted_rooms,
    depth_and_suggestion_choose,
    a_limit_of_none_is_refused,
    spaces_are_paged,
    a_page_keeps_to_its_options,
    loops_end,
    a_removed_child_is_none,
    a_space_one_may_not_know_of_is_refused,
    a_summary_tells_what_a_room_is,
    a_summary_tells_ones_membership,
    a_private_room_has_no_summary_for_strangers,
    an_unknown_room_has_no_summary,
    wrong_walks_are_refused,
    an_unknown_space_is_refused,
    an_unknown_alias_has_no_summary,
];

async fn space(user: &User) -> Room {
    user.creates_room().public().with("creation_content", json!({ "type": "m.space" })).await
}

async fn adopts(user: &User, space: &Room, child: &Room, more: Value) {
    let mut content = json!({ "via": ["example.org"] });
    content.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    user.sets_state(space, "m.space.child", &child.0, content).await.ok();
}

fn walks(user: &User, space: &Room) -> Request {
    user.get(path!("/_matrix/client/v1/rooms/{}/hierarchy", space))
}

fn rooms(answer: &Value) -> Vec<String> {
    answer.list("/rooms").iter().map(|room| room.text("/room_id")).collect()
}

fn summary(user: &User, room: &Room) -> Request {
    user.get(path!("/_matrix/client/v1/room_summary/{}", room))
}

async fn a_space_tells_its_rooms_depth_first(server: Server) {
    let (alice, bob) = server.pair().await;
    let (root, inner) = (space(&alice).await, space(&alice).await);
    let deep = alice.creates_room().public().with("name", json!("Deep")).await;
    let last = alice.creates_room().public().await;
    adopts(&alice, &root, &last, json!({ "order": "b" })).await;
    adopts(&alice, &root, &inner, json!({ "order": "a" })).await;
    adopts(&alice, &inner, &deep, json!({})).await;
    let answer = walks(&bob, &root).await.ok();
    assert_eq!(rooms(&answer), [root.0.clone(), inner.0.clone(), deep.0, last.0]);
    let told = &answer["rooms"][0];
    assert_eq!((&told["room_type"], &told["join_rule"]), (&json!("m.space"), &json!("public")));
    assert_eq!((&told["num_joined_members"], &told["world_readable"]), (&json!(1), &json!(false)));
    let child = told.list("/children_state").iter().find(|child| child["state_key"] == inner.0);
    let child = child.unwrap_or_else(|| panic!("{told}"));
    assert_eq!((&child["type"], &child["sender"]), (&json!("m.space.child"), &json!(alice.id)));
    assert!(child["origin_server_ts"].is_number() && child["content"]["via"].is_array(), "{child}");
    assert_eq!(answer["rooms"][2]["name"], "Deep");
    assert!(answer["rooms"][2].list("/children_state").is_empty(), "{answer}");
}

async fn rooms_that_one_may_not_know_of_are_left_out(server: Server) {
    let (alice, bob) = server.pair().await;
    let root = space(&alice).await;
    let private = alice.creates_room().await;
    let open = json!({ "history_visibility": "world_readable" });
    let readable = alice.creates_room().state("m.room.history_visibility", open).await;
    let knockable = alice.creates_room().state("m.room.join_rules", json!({ "join_rule": "knock" })).await;
    for (number, child) in [&private, &readable, &knockable].into_iter().enumerate() {
        adopts(&alice, &root, child, json!({ "order": number.to_string() })).await;
    }
    let seen = rooms(&walks(&bob, &root).await.ok());
    assert_eq!(seen, [root.0.clone(), readable.0.clone(), knockable.0.clone()]);
    alice.invites(&bob, &private).await.ok();
    assert_eq!(rooms(&walks(&bob, &root).await.ok()), [root.0, private.0, readable.0, knockable.0]);
}

async fn members_of_the_space_see_its_restricted_rooms(server: Server) {
    let (alice, bob) = server.pair().await;
    let root = space(&alice).await;
    let allow = json!([{ "type": "m.room_membership", "room_id": root.0 }]);
    let rule = json!({ "join_rule": "restricted", "allow": allow });
    let child = alice.creates_room().state("m.room.join_rules", rule).await;
    adopts(&alice, &root, &child, json!({})).await;
    assert_eq!(rooms(&walks(&bob, &root).await.ok()), std::slice::from_ref(&root.0));
    bob.joins(&root).await.ok();
    let answer = walks(&bob, &root).await.ok();
    assert_eq!(rooms(&answer), [root.0.clone(), child.0]);
    assert_eq!(answer["rooms"][1]["allowed_room_ids"], json!([root.0]));
}

async fn depth_and_suggestion_choose(server: Server) {
    let alice = server.user("alice").await;
    let (root, inner) = (space(&alice).await, space(&alice).await);
    let (first, second) = (alice.creates_room().await, alice.creates_room().await);
    adopts(&alice, &root, &inner, json!({ "order": "a", "suggested": true })).await;
    adopts(&alice, &root, &first, json!({ "order": "b" })).await;
    adopts(&alice, &inner, &second, json!({ "suggested": true })).await;
    let suggested = rooms(&walks(&alice, &root).query("suggested_only", true).await.ok());
    assert_eq!(suggested, [root.0.clone(), inner.0.clone(), second.0]);
    let shallow = rooms(&walks(&alice, &root).query("max_depth", 1).await.ok());
    assert_eq!(shallow, [root.0.clone(), inner.0, first.0]);
    assert_eq!(rooms(&walks(&alice, &root).query("max_depth", 0).await.ok()), std::slice::from_ref(&root.0));
    walks(&alice, &root).query("max_depth", -1).await.refused(400, "M_INVALID_PARAM");
}

async fn a_limit_of_none_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let root = space(&alice).await;
    walks(&alice, &root).query("limit", 0).await.refused(400, "M_INVALID_PARAM");
}

async fn spaces_are_paged(server: Server) {
    let alice = server.user("alice").await;
    let root = space(&alice).await;
    let mut expected = vec![root.0.clone()];
    for number in 0..4 {
        let child = alice.creates_room().await;
        adopts(&alice, &root, &child, json!({ "order": number.to_string() })).await;
        expected.push(child.0);
    }
    let first = walks(&alice, &root).query("limit", 3).await.ok();
    let second = walks(&alice, &root).query("limit", 3).query("from", first.text("/next_batch")).await.ok();
    assert!(!second.has("/next_batch"), "{second}");
    assert_eq!([rooms(&first), rooms(&second)].concat(), expected);
}

async fn a_page_keeps_to_its_options(server: Server) {
    let alice = server.user("alice").await;
    let root = space(&alice).await;
    for _ in 0..2 {
        let child = alice.creates_room().await;
        adopts(&alice, &root, &child, json!({})).await;
    }
    let next = walks(&alice, &root).query("limit", 1).await.ok().text("/next_batch");
    let changed = walks(&alice, &root).query("from", &next).query("suggested_only", true).await;
    changed.refused(400, "M_INVALID_PARAM");
    walks(&alice, &root).query("from", "nothing").await.refused(400, "M_INVALID_PARAM");
}

async fn loops_end(server: Server) {
    let alice = server.user("alice").await;
    let (root, inner) = (space(&alice).await, space(&alice).await);
    adopts(&alice, &root, &inner, json!({})).await;
    adopts(&alice, &inner, &root, json!({})).await;
    assert_eq!(rooms(&walks(&alice, &root).await.ok()), [root.0, inner.0]);
}

async fn a_removed_child_is_none(server: Server) {
    let alice = server.user("alice").await;
    let (root, child) = (space(&alice).await, alice.creates_room().await);
    adopts(&alice, &root, &child, json!({})).await;
    alice.sets_state(&root, "m.space.child", &child.0, json!({})).await.ok();
    let answer = walks(&alice, &root).await.ok();
    assert_eq!(rooms(&answer), [root.0]);
    assert!(answer["rooms"][0].list("/children_state").is_empty(), "{answer}");
}

async fn a_space_one_may_not_know_of_is_refused(server: Server) {
    let (alice, bob) = server.pair().await;
    let private = alice.creates_room().with("creation_content", json!({ "type": "m.space" })).await;
    walks(&bob, &private).await.refused(403, "M_FORBIDDEN");
}

async fn a_summary_tells_what_a_room_is(server: Server) {
    let (alice, bob) = server.pair().await;
    let alias = server.unique("summary");
    let room = alice
        .creates_room()
        .public()
        .with("name", json!("Pub"))
        .with("topic", json!("Beer"))
        .with("room_alias_name", json!(alias))
        .state("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" }))
        .await;
    let alias = format!("#{alias}:{}", server.name());
    let told = eventually(
        "all is told",
        || async { summary(&bob, &room).await.ok() },
        |told| {
            told.has("/name") && told.has("/topic") && told.has("/canonical_alias") && told.has("/encryption")
        },
    )
    .await;
    let by_alias = bob.get(path!("/_matrix/client/v1/room_summary/{}", alias)).await.ok();
    assert_eq!(told, by_alias);
    assert_eq!(told.text("/room_id"), room.0);
    assert_eq!((told.text("/name"), told.text("/topic")), ("Pub".to_owned(), "Beer".to_owned()));
    assert_eq!((told.text("/canonical_alias"), told.text("/join_rule")), (alias, "public".to_owned()));
    assert_eq!(told.text("/encryption"), "m.megolm.v1.aes-sha2");
    assert_eq!(told["num_joined_members"], 1);
    assert!(told["room_version"].is_string() && told["guest_can_join"].is_boolean(), "{told}");
}

async fn a_summary_tells_ones_membership(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    assert_eq!(summary(&alice, &room).await.ok()["membership"], "join");
    bob.joins(&room).await.ok();
    bob.leaves(&room).await.ok();
    assert_eq!(summary(&bob, &room).await.ok()["membership"], "leave");
}

async fn a_private_room_has_no_summary_for_strangers(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    summary(&bob, &room).await.refused(404, "M_NOT_FOUND");
}

async fn an_unknown_room_has_no_summary(server: Server) {
    let alice = server.user("alice").await;
    summary(&alice, &server.nowhere()).await.refused(404, "M_NOT_FOUND");
}

async fn wrong_walks_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let root = space(&alice).await;
    for (name, value) in [("limit", "x"), ("max_depth", "x"), ("max_depth", "-1"), ("suggested_only", "x")] {
        walks(&alice, &root).query(name, value).await.refused(400, "M_INVALID_PARAM");
    }
}

async fn an_unknown_space_is_refused(server: Server) {
    let alice = server.user("alice").await;
    walks(&alice, &server.nowhere()).await.refused(403, "M_FORBIDDEN");
}

async fn an_unknown_alias_has_no_summary(server: Server) {
    let alice = server.user("alice").await;
    let summary = |of: &str| alice.get(path!("/_matrix/client/v1/room_summary/{}", of));
    summary(&server.alias()).await.refused(404, "M_NOT_FOUND");
    let answer = summary("nonsense").await;
    answer.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_UNKNOWN"), (404, "M_NOT_FOUND")]);
}
