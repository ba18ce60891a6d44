//! Members in `/sync`: [lazy loading](https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members)
//! and summaries.

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wait::eventually,
    wire::Json as _,
};

tests![
    ones_own_member_event_comes_lazily_too,
    ones_own_member_event_comes_with_a_join,
    members_who_change_in_a_gap_are_told_lazily,
    members_who_change_in_a_gap_are_told_with_the_whole_state,
    redundant_members_come_with_the_whole_state_if_wanted,
    redundant_members_come_if_wanted,
    a_member_who_changed_is_not_redundant,
    members_that_stand_for_a_room_come_lazily,
    who_left_stands_for_a_room_without_others,
    nobody_stands_for_themselves,
    counts_change_with_the_members,
    who_goes_back_to_an_older_token_is_told_again,
];

fn lazily(redundant: bool, limit: u64) -> Value {
    let state = json!({ "lazy_load_members": true, "include_redundant_members": redundant });
    json!({ "room": { "state": state, "timeline": { "limit": limit } } })
}

/// Users whose member events the state of a room tells.
fn told(answer: &Value, room: &Room) -> Vec<String> {
    let state = sync::state(answer, room);
    let members = state.iter().filter(|event| event["type"] == "m.room.member");
    members.map(|event| event.text("/state_key")).collect()
}

async fn named(alice: &User, members: &[&User]) -> Room {
    members
        .iter()
        .fold(alice.creates_room().public().with("name", json!("Tea")), |room, member| room.member(member))
        .await
}

async fn ones_own_member_event_comes_lazily_too(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = named(&alice, &[&bob]).await;
    let since = bob.sync_token().await;
    let event = alice.says(&room, "hello").await;
    bob.hears(&since, &room, &event).await;
    let answer = bob.syncs().query("filter", lazily(false, 1)).await.ok();
    assert!(told(&answer, &room).contains(&bob.id), "{answer}");
    let answer =
        bob.syncs_since(&since).query("filter", lazily(false, 1)).query("full_state", true).await.ok();
    assert!(told(&answer, &room).contains(&bob.id), "{answer}");
}

async fn ones_own_member_event_comes_with_a_join(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = named(&alice, &[]).await;
    let since = bob.sync_token().await;
    bob.joins(&room).await.ok();
    let event = alice.says(&room, "hello").await;
    bob.hears(&since, &room, &event).await;
    let answer = bob.syncs_since(&since).query("filter", lazily(false, 1)).await.ok();
    assert!(told(&answer, &room).contains(&bob.id), "{answer}");
}

async fn members_who_change_in_a_gap_are_told_lazily(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = named(&alice, &[&carl]).await;
    let since = alice.sync_token().await;
    bob.joins(&room).await.ok();
    carl.leaves(&room).await.ok();
    for _ in 0..3 {
        alice.says(&room, "in the gap").await;
    }
    let event = alice.says(&room, "hello").await;
    alice.hears(&since, &room, &event).await;
    let answer = alice.syncs_since(&since).query("filter", lazily(false, 2)).await.ok();
    let told = told(&answer, &room);
    assert!(told.contains(&bob.id) && told.contains(&carl.id), "{answer}");
}

/// Full state and the last two messages of alice, after a gap in which bob has come and carl has gone.
async fn whole_state_after_a_gap(server: &Server, redundant: bool) -> (Value, Room, [User; 3]) {
    let (alice, bob, carl) = server.trio().await;
    let room = named(&alice, &[&carl]).await;
    let filter = lazily(redundant, 10);
    let since = alice.syncs().query("filter", &filter).await.ok().text("/next_batch");
    bob.joins(&room).await.ok();
    carl.leaves(&room).await.ok();
    for _ in 0..3 {
        alice.says(&room, "in the gap").await;
    }
    let event = alice.says(&room, "hello").await;
    alice.hears(&since, &room, &event).await;
    let request = alice.syncs_since(&since).query("filter", lazily(redundant, 2));
    (request.query("full_state", true).await.ok(), room, [alice, bob, carl])
}

async fn members_who_change_in_a_gap_are_told_with_the_whole_state(server: Server) {
    let (answer, room, [_, bob, carl]) = whole_state_after_a_gap(&server, false).await;
    let state = sync::state(&answer, &room);
    assert!(state.iter().any(|event| event["type"] == "m.room.name"), "not the whole state: {answer}");
    for (user, membership) in [(&bob, "join"), (&carl, "leave")] {
        let found: Vec<_> = state.iter().filter(|event| event["state_key"] == user.id).collect();
        assert_eq!(found.len(), 1, "{} in {answer}", user.id);
        assert_eq!(found[0]["content"]["membership"], membership, "{answer}");
    }
}

async fn redundant_members_come_with_the_whole_state_if_wanted(server: Server) {
    let (answer, room, users) = whole_state_after_a_gap(&server, true).await;
    let mut told = told(&answer, &room);
    told.sort();
    let mut wanted = users.map(|user| user.id);
    wanted.sort();
    assert_eq!(told, wanted, "{answer}");
}

async fn redundant_members_come_if_wanted(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = named(&alice, &[&bob]).await;
    let mut since = alice.syncs().query("filter", lazily(true, 1)).await.ok().text("/next_batch");
    for _ in 0..3 {
        let event = bob.says(&room, "hello").await;
        alice.hears(&since, &room, &event).await;
        let answer = alice.syncs_since(&since).query("filter", lazily(true, 10)).await.ok();
        assert!(told(&answer, &room).contains(&bob.id), "{answer}");
        since = answer.text("/next_batch");
    }
}

async fn a_member_who_changed_is_not_redundant(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = named(&alice, &[&bob]).await;
    bob.says(&room, "hello").await;
    let first = eventually(
        "the sender is told",
        || async { alice.syncs().query("filter", lazily(false, 1)).await.ok() },
        |first| told(first, &room).contains(&bob.id),
    )
    .await;
    let since = first.text("/next_batch");
    bob.put(path!("/profile/{}/displayname", bob.id), json!({ "displayname": "Robert" })).await.ok();
    let member = || async { alice.reads_state(&room, "m.room.member", &bob.id).await.ok() };
    eventually("the new name in the room", member, |member| member["displayname"] == "Robert").await;
    for _ in 0..2 {
        bob.says(&room, "in the gap").await;
    }
    let event = bob.says(&room, "it is me").await;
    alice.hears(&since, &room, &event).await;
    let answer = alice.syncs_since(&since).query("filter", lazily(false, 1)).await.ok();
    let state = sync::state(&answer, &room);
    let bobs = state.iter().find(|event| event["state_key"] == bob.id).expect("the member");
    assert_eq!(bobs["content"]["displayname"], "Robert");
}

async fn members_that_stand_for_a_room_come_lazily(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    let since = alice.sync_token().await;
    let event = alice.says(&room, "hello").await;
    alice.hears(&since, &room, &event).await;
    let answer = alice.syncs().query("filter", lazily(false, 1)).await.ok();
    assert_eq!(answer["rooms"]["join"][&room.0]["summary"]["m.heroes"], json!([bob.id]), "{answer}");
    assert!(told(&answer, &room).contains(&bob.id), "{answer}");
}

async fn who_left_stands_for_a_room_without_others(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    let answer = alice.syncs().query("filter", lazily(false, 10)).await.ok();
    let summary = &answer["rooms"]["join"][&room.0]["summary"];
    assert_eq!(summary["m.heroes"], json!([bob.id]), "{summary}");
    assert_eq!(summary["m.joined_member_count"], 1, "{summary}");
}

async fn nobody_stands_for_themselves(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).member(&carl).await;
    for user in [&alice, &bob, &carl] {
        let answer = user.syncs().query("filter", lazily(false, 10)).await.ok();
        let heroes = answer["rooms"]["join"][&room.0]["summary"].list("/m.heroes").clone();
        assert_eq!(heroes.len(), 2, "{answer}");
        assert!(!heroes.contains(&json!(user.id)), "{answer}");
    }
}

async fn counts_change_with_the_members(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().member(&bob).await;
    let first = alice.syncs().query("filter", lazily(false, 10)).await.ok();
    let since = first.text("/next_batch");
    alice.invites(&carl, &room).await.ok();
    bob.leaves(&room).await.ok();
    let event = alice.says(&room, "hello").await;
    alice.hears(&since, &room, &event).await;
    let answer = alice.syncs_since(&since).query("filter", lazily(false, 10)).await.ok();
    let summary = &answer["rooms"]["join"][&room.0]["summary"];
    assert_eq!(summary["m.joined_member_count"], 1, "{summary}");
    assert_eq!(summary["m.invited_member_count"], 1, "{summary}");
    assert_eq!(summary["m.heroes"], json!([carl.id]), "{summary}");
}

async fn who_goes_back_to_an_older_token_is_told_again(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = named(&alice, &[&bob]).await;
    let mut since = alice.sync_token().await;
    let first = since.clone();
    let one = bob.says(&room, "one").await;
    alice.hears(&since, &room, &one).await;
    let sync = |since: String| alice.syncs_since(&since).query("filter", lazily(false, 1));
    for _ in 0..2 {
        let answer = sync(since.clone()).await.ok();
        assert_eq!(told(&answer, &room).contains(&bob.id), since == first, "{answer}");
        since = answer.text("/next_batch");
    }
    let two = bob.says(&room, "two").await;
    alice.hears(&since, &room, &two).await;
    let answer = sync(since).await.ok();
    assert!(!told(&answer, &room).contains(&bob.id), "it is known: {answer}");
    // As after a backup of the client was restored.
    let answer = sync(first).await.ok();
    assert!(told(&answer, &room).contains(&bob.id), "{answer}");
}
