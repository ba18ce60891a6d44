//! [The directory of rooms](https://spec.matrix.org/v1.19/client-server-api/#published-room-directory), the
//! [directory of users](https://spec.matrix.org/v1.19/client-server-api/#user-directory), and
//! [mutual rooms](https://spec.matrix.org/v1.19/client-server-api/#mutual-rooms).

use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
    wait::eventually,
    wire::{Json as _, Request},
};

tests![
    published_rooms_are_told_as_they_are,
    rooms_that_are_not_published_are_not_told,
    the_directory_is_searched_whatever_the_case,
    the_directory_is_filtered_by_type,
    the_directory_is_paged_in_both_directions,
    wrong_pages_of_the_directory_are_refused,
    a_filter_of_the_directory_that_is_no_object_is_refused,
    a_foreign_token_of_the_directory_is_refused,
    users_who_share_a_room_are_found,
    users_in_public_rooms_are_found,
    users_who_cannot_be_met_are_not_found,
    one_is_found_by_oneself_as_by_everybody,
    a_search_needs_its_term,
    no_more_users_are_told_than_are_asked_for,
    mutual_rooms_are_those_both_are_in,
    mutual_rooms_with_nobody_are_none,
    one_shares_no_rooms_with_oneself,
];

fn searches(user: &User, term: &str) -> Request {
    user.post("/publicRooms", json!({ "filter": { "generic_search_term": term } }))
}

fn rooms(answer: &Value) -> Vec<String> {
    answer.list("/chunk").iter().map(|room| room.text("/room_id")).collect()
}

async fn published(user: &User, name: &str) -> Room {
    user.creates_room().public().with("visibility", json!("public")).with("name", json!(name)).await
}

async fn published_rooms_are_told_as_they_are(server: Server) {
    let alice = server.user("alice").await;
    let (name, alias) = (server.unique("Pub"), server.unique("directory"));
    let room = alice
        .creates_room()
        .public()
        .with("visibility", json!("public"))
        .with("name", json!(name))
        .with("topic", json!("Beer"))
        .with("room_alias_name", json!(alias))
        .await;
    let answer = eventually(
        "the room is found",
        || async { searches(&alice, &name).await.ok() },
        |answer| !answer.list("/chunk").is_empty(),
    )
    .await;
    assert_eq!(rooms(&answer), [room.0]);
    let told = &answer["chunk"][0];
    assert_eq!((told.text("/name"), told.text("/topic")), (name, "Beer".to_owned()));
    assert_eq!(told.text("/canonical_alias"), format!("#{alias}:{}", server.name()));
    assert_eq!((&told["num_joined_members"], &told["join_rule"]), (&json!(1), &json!("public")));
    assert!(told["world_readable"].is_boolean() && told["guest_can_join"].is_boolean(), "{told}");
}

async fn rooms_that_are_not_published_are_not_told(server: Server) {
    let alice = server.user("alice").await;
    let name = server.unique("Hidden");
    let room = published(&alice, &name).await;
    alice.creates_room().public().with("name", json!(name)).await;
    let found = || async { rooms(&searches(&alice, &name).await.ok()) };
    eventually("it is told", || async { json!(found().await) }, |seen| *seen == json!([room.0])).await;
    let list = path!("/directory/list/room/{}", room);
    alice.put(list, json!({ "visibility": "private" })).await.ok();
    eventually("it is gone", || async { json!(found().await) }, |seen| *seen == json!([])).await;
}

async fn the_directory_is_searched_whatever_the_case(server: Server) {
    let alice = server.user("alice").await;
    let name = server.unique("Wombles");
    let room = published(&alice, &name).await;
    let upper = name.to_uppercase();
    let found = || async { json!(rooms(&searches(&alice, &upper).await.ok())) };
    eventually("it is found", found, |seen| *seen == json!([room.0])).await;
}

async fn the_directory_is_filtered_by_type(server: Server) {
    let alice = server.user("alice").await;
    let name = server.unique("Typed");
    let room = published(&alice, &name).await;
    let space = alice
        .creates_room()
        .public()
        .with("visibility", json!("public"))
        .with("name", json!(name))
        .with("creation_content", json!({ "type": "m.space" }))
        .await;
    let found = |types: Value| {
        let filter = json!({ "filter": { "generic_search_term": name, "room_types": types } });
        let request = alice.post("/publicRooms", filter);
        async move {
            let mut found = rooms(&request.await.ok());
            found.sort();
            json!(found)
        }
    };
    let mut both = vec![room.0.clone(), space.0.clone()];
    both.sort();
    eventually("both", || found(json!([null, "m.space"])), |seen| *seen == json!(both)).await;
    assert_eq!(found(json!([null])).await, json!([room.0]));
    assert_eq!(found(json!(["m.space"])).await, json!([space.0]));
}

async fn the_directory_is_paged_in_both_directions(server: Server) {
    let alice = server.user("alice").await;
    let name = server.unique("Paged");
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(published(&alice, &name).await.0);
    }
    all.sort();
    let found = || async {
        let mut found = rooms(&searches(&alice, &name).await.ok());
        found.sort();
        json!(found)
    };
    eventually("all are told", found, |seen| *seen == json!(all)).await;
    let page = |since: Option<String>| {
        let mut body = json!({ "limit": 2, "filter": { "generic_search_term": name } });
        if let Some(since) = since {
            body["since"] = json!(since);
        }
        let request = alice.post("/publicRooms", body);
        async move { request.await.ok() }
    };
    let first = page(None).await;
    assert!(rooms(&first).len() == 2 && !first.has("/prev_batch"), "{first}");
    let second = page(Some(first.text("/next_batch"))).await;
    assert!(rooms(&second).len() == 1 && !second.has("/next_batch"), "{second}");
    let mut seen = [rooms(&first), rooms(&second)].concat();
    seen.sort();
    assert_eq!(seen, all);
    let back = page(Some(second.text("/prev_batch"))).await;
    assert_eq!(rooms(&back), rooms(&first));
}

async fn wrong_pages_of_the_directory_are_refused(server: Server) {
    let alice = server.user("alice").await;
    alice.get("/publicRooms").query("limit", "x").await.refused(400, "M_INVALID_PARAM");
}

async fn a_filter_of_the_directory_that_is_no_object_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let body = alice.post("/publicRooms", json!({ "filter": 1 })).await;
    body.refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM"), (400, "M_UNKNOWN")]);
}

async fn a_foreign_token_of_the_directory_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let since = alice.get("/publicRooms").query("since", "nothing").await;
    since.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_UNKNOWN")]);
}

fn users(answer: &Value) -> Vec<String> {
    answer.list("/results").iter().map(|user| user.text("/user_id")).collect()
}

async fn found_users(user: &User, term: &str) -> Value {
    user.post("/user_directory/search", json!({ "search_term": term })).await.ok()
}

async fn users_who_share_a_room_are_found(server: Server) {
    let (alice, bob) = server.pair().await;
    let name = server.unique("Builder");
    bob.put(path!("/profile/{}/displayname", bob.id), json!({ "displayname": name })).await.ok();
    alice.creates_room().member(&bob).await;
    let upper = name.to_uppercase();
    let answer = eventually(
        "bob is found",
        || found_users(&alice, &upper),
        |answer| users(answer) == [bob.id.clone()],
    )
    .await;
    assert_eq!((answer.text("/results/0/display_name"), &answer["limited"]), (name, &json!(false)));
    let found = found_users(&alice, &bob.localpart).await;
    assert!(users(&found).contains(&bob.id), "{found}");
}

async fn users_in_public_rooms_are_found(server: Server) {
    let (alice, bob) = server.pair().await;
    bob.creates_room().public().await;
    let found = || found_users(&alice, &bob.localpart);
    eventually("bob is found", found, |answer| users(answer).contains(&bob.id)).await;
}

async fn users_who_cannot_be_met_are_not_found(server: Server) {
    let (alice, bob, carol) = server.trio().await;
    let secret = server.unique("Secret");
    let room = alice.creates_room().member(&bob).await;
    let named = json!({ "membership": "join", "displayname": secret });
    bob.sets_state(&room, "m.room.member", &bob.id, named).await.ok();
    // Bob can be found by alice by now, and so by carol if he could be.
    let found = || found_users(&alice, &bob.localpart);
    eventually("alice finds him", found, |answer| users(answer).contains(&bob.id)).await;
    assert!(users(&found_users(&carol, &bob.localpart).await).is_empty());
    // A name that is only for one room is not for the directory.
    assert!(users(&found_users(&carol, &secret).await).is_empty());
}

async fn one_is_found_by_oneself_as_by_everybody(server: Server) {
    let (alice, bob) = server.pair().await;
    alice.creates_room().member(&bob).await;
    let by = async |viewer: &User| found_users(viewer, &bob.localpart).await;
    eventually("alice finds him", || by(&alice), |answer| users(answer).contains(&bob.id)).await;
    assert!(!users(&by(&bob).await).contains(&bob.id), "he does not share his rooms with himself");
    bob.creates_room().public().await;
    eventually("all find him", || by(&bob), |answer| users(answer).contains(&bob.id)).await;
}

async fn a_search_needs_its_term(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/user_directory/search", json!({})).await;
    answer.refused_as(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
}

async fn no_more_users_are_told_than_are_asked_for(server: Server) {
    let (alice, bob, carol) = server.trio().await;
    let name = server.unique("Crowd");
    for user in [&bob, &carol] {
        user.sets_profile("displayname", json!(name)).await.ok();
    }
    alice.creates_room().member(&bob).member(&carol).await;
    let found = || found_users(&alice, &name);
    eventually("both are found", found, |answer| users(answer).len() == 2).await;
    let body = json!({ "search_term": name, "limit": 1 });
    let answer = alice.post("/user_directory/search", body).await.ok();
    assert_eq!((users(&answer).len(), &answer["limited"]), (1, &json!(true)), "{answer}");
}

fn mutual(user: &User, other: &str) -> Request {
    user.get("/_matrix/client/v1/mutual_rooms").query("user_id", other)
}

async fn mutual_rooms_are_those_both_are_in(server: Server) {
    let (alice, bob) = server.pair().await;
    let shared = alice.creates_room().member(&bob).await;
    let left = alice.creates_room().member(&bob).await;
    bob.leaves(&left).await.ok();
    let invited = alice.creates_room().await;
    alice.invites(&bob, &invited).await.ok();
    let answer = mutual(&alice, &bob.id).await.ok();
    assert_eq!((&answer["joined"], &answer["count"]), (&json!([shared.0]), &json!(1)));
    assert!(!answer.has("/next_batch"), "{answer}");
}

async fn mutual_rooms_with_nobody_are_none(server: Server) {
    let alice = server.user("alice").await;
    let answer = mutual(&alice, &server.nobody()).await.ok();
    assert_eq!((&answer["joined"], &answer["count"]), (&json!([]), &json!(0)));
}

async fn one_shares_no_rooms_with_oneself(server: Server) {
    let (alice, bob) = server.pair().await;
    mutual(&alice, &alice.id).await.refused(400, "M_INVALID_PARAM");
    mutual(&alice, "nobody").await.refused(400, "M_INVALID_PARAM");
    mutual(&alice, &bob.id).query("from", "nothing").await.refused(400, "M_INVALID_PARAM");
    let missing = alice.get("/_matrix/client/v1/mutual_rooms").await;
    missing.refused_as(&[(400, "M_INVALID_PARAM"), (400, "M_MISSING_PARAM")]);
}
