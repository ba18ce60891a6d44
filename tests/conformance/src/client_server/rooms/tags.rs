//! [Room tagging](https://spec.matrix.org/v1.19/client-server-api/#room-tagging)

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::Request,
};

tests![
    tags_are_set_and_read,
    a_tag_is_replaced,
    a_tag_is_removed,
    a_room_without_tags_has_none,
    tags_come_as_account_data,
    tags_of_somebody_else_are_forbidden,
    a_tag_that_is_too_long_is_refused,
    removing_a_tag_that_is_not_there_does_nothing,
    an_order_is_a_number_from_0_to_1,
];

fn tags(user: &User, of: &User, room: &Room) -> Request {
    user.get(path!("/user/{}/rooms/{}/tags", of.id, room))
}

fn sets(user: &User, of: &User, room: &Room, tag: &str, content: Value) -> Request {
    user.put(path!("/user/{}/rooms/{}/tags/{}", of.id, room, tag), content)
}

async fn tags_are_set_and_read(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    assert_eq!(sets(&alice, &alice, &room, "u.tea", json!({ "order": 0.25 })).await.ok(), json!({}));
    sets(&alice, &alice, &room, "m.favourite", json!({})).await.ok();
    let expected = json!({ "tags": { "u.tea": { "order": 0.25 }, "m.favourite": {} } });
    assert_eq!(tags(&alice, &alice, &room).await.ok(), expected);
}

async fn a_tag_is_replaced(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    sets(&alice, &alice, &room, "u.tea", json!({ "order": 0.25 })).await.ok();
    sets(&alice, &alice, &room, "u.tea", json!({ "order": 0.5 })).await.ok();
    assert_eq!(tags(&alice, &alice, &room).await.ok(), json!({ "tags": { "u.tea": { "order": 0.5 } } }));
}

async fn a_tag_is_removed(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    sets(&alice, &alice, &room, "u.tea", json!({})).await.ok();
    sets(&alice, &alice, &room, "u.coffee", json!({})).await.ok();
    let path = path!("/user/{}/rooms/{}/tags/{}", alice.id, room, "u.tea");
    assert_eq!(alice.delete(path).await.ok(), json!({}));
    assert_eq!(tags(&alice, &alice, &room).await.ok(), json!({ "tags": { "u.coffee": {} } }));
}

async fn a_room_without_tags_has_none(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    assert_eq!(tags(&alice, &alice, &room).await.ok(), json!({ "tags": {} }));
}

async fn tags_come_as_account_data(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let since = alice.sync_token().await;
    sets(&alice, &alice, &room, "u.tea", json!({ "order": 0.25 })).await.ok();
    let expected = json!({ "tags": { "u.tea": { "order": 0.25 } } });
    let are_told = |answer: &Value| {
        let data =
            sync::section(answer, "join", &room).and_then(|room| room["account_data"]["events"].as_array());
        data.into_iter().flatten().any(|data| data["type"] == "m.tag" && data["content"] == expected)
    };
    alice.syncs_until(&since, "the tags", are_told).await;
    assert!(are_told(&alice.syncs().await.ok()));
}

async fn tags_of_somebody_else_are_forbidden(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    tags(&bob, &alice, &room).await.refused(403, "M_FORBIDDEN");
    sets(&bob, &alice, &room, "u.tea", json!({})).await.refused(403, "M_FORBIDDEN");
    let path = path!("/user/{}/rooms/{}/tags/{}", alice.id, room, "u.tea");
    bob.delete(path).await.refused(403, "M_FORBIDDEN");
}

async fn a_tag_that_is_too_long_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let long = format!("u.{}", "x".repeat(254));
    sets(&alice, &alice, &room, &long, json!({})).await.refused(400, "M_INVALID_PARAM");
}

async fn removing_a_tag_that_is_not_there_does_nothing(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    alice.delete(path!("/user/{}/rooms/{}/tags/{}", alice.id, room, "u.tea")).await.ok();
}

async fn an_order_is_a_number_from_0_to_1(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for order in
        [json!("string"), json!("0.5"), json!(-0.1), json!(1.1), json!(null), json!([0.5]), json!(true)]
    {
        let answer = sets(&alice, &alice, &room, "u.tea", json!({ "order": order })).await;
        answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
    }
    assert_eq!(tags(&alice, &alice, &room).await.ok(), json!({ "tags": {} }));
    for order in [json!(0), json!(1), json!(0.5)] {
        sets(&alice, &alice, &room, "u.tea", json!({ "order": order })).await.ok();
    }
}
