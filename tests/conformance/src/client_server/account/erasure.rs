//! [Erasure](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate)

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wait::eventually,
    wire::Json as _,
};

tests![
    who_was_there_still_reads_the_text_of_an_erased_user,
    who_came_before_the_erasure_still_reads_the_text,
    messages_of_an_erased_user_are_redacted_for_who_comes_later,
    an_event_of_an_erased_user_is_redacted_for_who_comes_later,
    the_context_of_an_event_is_redacted_for_who_comes_later,
    the_first_sync_is_redacted_for_who_comes_later,
    the_sync_after_the_join_is_redacted_for_who_comes_later,
    the_initial_sync_of_a_room_is_redacted_for_who_comes_later,
    an_edit_by_an_erased_user_is_not_told_to_who_comes_later,
    relations_by_an_erased_user_are_not_told_to_who_comes_later,
    a_thread_is_told_without_an_erased_user_to_who_comes_later,
    state_set_by_an_erased_user_is_redacted_for_who_comes_later,
    what_state_replaced_is_not_told_of_an_erased_user,
    the_state_of_a_room_is_redacted_for_who_comes_later,
    members_are_redacted_for_who_comes_later,
    a_passerby_reads_no_text_of_an_erased_user,
    nothing_is_redacted_without_the_wish,
    an_erased_user_has_no_profile,
];

/// What bob said, and nobody else.
const SECRET: &str = "what bob said";

/// Alice's room, where bob has spoken.
struct Story {
    alice: User,
    room: Room,
    /// What alice said first.
    root: String,
    /// What bob said.
    message: String,
}

impl Story {
    /// Bob has spoken, and his account is gone.
    async fn told(server: &Server, erase: bool) -> Self {
        let (alice, bob) = server.pair().await;
        bob.sets_profile("displayname", json!(SECRET)).await.ok();
        let room = alice.creates_room().public().member(&bob).await;
        alice.sets_power(&room, "", "state_default", 0).await;
        let root = alice.says(&room, "hello").await;
        bob.sets_state(&room, "m.room.topic", "", json!({ "topic": SECRET })).await.ok();
        let message = bob.says(&room, SECRET).await;
        let edit = json!({
            "msgtype": "m.text", "body": SECRET, "m.new_content": { "msgtype": "m.text", "body": SECRET },
            "m.relates_to": { "rel_type": "m.replace", "event_id": message },
        });
        bob.sends(&room, "m.room.message", edit).await.ok();
        for user in [&alice, &bob] {
            let reply = json!({
                "msgtype": "m.text", "body": if user.id == bob.id { SECRET } else { "hello" },
                "m.relates_to": { "rel_type": "m.thread", "event_id": root },
            });
            user.sends(&room, "m.room.message", reply).await.ok();
        }
        let request = bob.post("/account/deactivate", json!({ "erase": erase }));
        bob.confirms(request).await.ok();
        Self { alice, room, root, message }
    }

    /// Bob is erased, and somebody joins.
    async fn with_latecomer(server: &Server) -> (Self, User) {
        let (story, carol) = futures::join!(Self::told(server, true), server.user("carol"));
        carol.joins(&story.room).await.ok();
        (story, carol)
    }
}

#[track_caller]
fn tells_nothing(answer: &Value) {
    assert!(!answer.to_string().contains(SECRET), "{answer}");
}

#[track_caller]
fn tells(answer: &Value) {
    assert!(answer.to_string().contains(SECRET), "{answer}");
}

/// An event is there, and nothing is left of its content.
#[track_caller]
fn is_empty(events: &[Value], event_id: &str) {
    let event = events.iter().find(|event| event["event_id"] == event_id);
    assert_eq!(event.map(|event| event["content"].clone()), Some(json!({})), "{events:?}");
}

async fn who_was_there_still_reads_the_text_of_an_erased_user(server: Server) {
    let story = Story::told(&server, true).await;
    let Story { alice, room, root, message } = &story;
    tells(&alice.reads_messages(room).await.ok());
    tells(&alice.reads_event(room, message).await.ok());
    tells(&alice.reads_context(room, root).await.ok());
    tells(&alice.syncs().await.ok());
    tells(&alice.reads_state(room, "m.room.topic", "").await.ok());
    tells(&alice.get(path!("/_matrix/client/v1/rooms/{}/relations/{}", room, root)).await.ok());
}

async fn who_came_before_the_erasure_still_reads_the_text(server: Server) {
    let (alice, bob) = server.pair().await;
    let carol = server.user("carol").await;
    let room = alice.creates_room().public().member(&bob).await;
    let message = bob.says(&room, SECRET).await;
    carol.joins(&room).await.ok();
    bob.confirms(bob.post("/account/deactivate", json!({ "erase": true }))).await.ok();
    tells(&carol.reads_event(&room, &message).await.ok());
    tells(&carol.reads_messages(&room).await.ok());
    tells(&carol.syncs().await.ok());
}

async fn messages_of_an_erased_user_are_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    for direction in ["b", "f"] {
        let request = carol.get(path!("/rooms/{}/messages", story.room)).query("dir", direction);
        let page = request.query("limit", 100).await.ok();
        is_empty(page.list("/chunk"), &story.message);
        // What alice said of bob, his name when she invited him, is hers.
        let mut others = page.list("/chunk").to_vec();
        others.retain(|event| event["sender"] != story.alice.id);
        for unsigned in others.iter_mut().filter_map(|event| event.get_mut("unsigned")?.as_object_mut()) {
            if unsigned.get("prev_sender").is_some_and(|sender| *sender == story.alice.id) {
                unsigned.remove("prev_content");
            }
        }
        tells_nothing(&Value::Array(others));
    }
}

async fn an_event_of_an_erased_user_is_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    let event = carol.reads_event(&story.room, &story.message).await.ok();
    tells_nothing(&event);
    is_empty(&[event], &story.message);
}

async fn the_context_of_an_event_is_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    let context = carol.reads_context(&story.room, &story.root).query("limit", 50).await.ok();
    tells_nothing(context.at("/event"));
    is_empty(context.list("/events_after"), &story.message);
    let context = carol.reads_context(&story.room, &story.message).await.ok();
    is_empty(&[context.at("/event").clone()], &story.message);
}

async fn the_first_sync_is_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    // So that what bob said is in the server's memory.
    let filter = json!({ "room": { "timeline": { "limit": 50 } } }).to_string();
    tells(&story.alice.syncs().query("filter", &filter).await.ok());
    let answer = carol.syncs().query("filter", &filter).await.ok();
    let timeline: Vec<Value> = sync::timeline(&answer, &story.room).into_iter().cloned().collect();
    is_empty(&timeline, &story.message);
    let messages = timeline.into_iter().filter(|event| event.get("state_key").is_none());
    tells_nothing(&messages.collect());
}

async fn the_sync_after_the_join_is_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = futures::join!(Story::told(&server, true), server.user("carol"));
    let since = carol.sync_token().await;
    tells(&story.alice.syncs().await.ok());
    carol.joins(&story.room).await.ok();
    let answer = carol
        .syncs_until(&since, "the room", |answer| sync::section(answer, "join", &story.room).is_some())
        .await;
    let messages =
        sync::timeline(&answer, &story.room).into_iter().filter(|event| event.get("state_key").is_none());
    tells_nothing(&messages.cloned().collect());
}

async fn the_initial_sync_of_a_room_is_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    let answer = carol.get(path!("/rooms/{}/initialSync", story.room)).query("limit", 50).await.ok();
    is_empty(answer.list("/messages/chunk"), &story.message);
}

async fn an_edit_by_an_erased_user_is_not_told_to_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    let event = carol.reads_event(&story.room, &story.message).await.ok();
    assert!(!event.has("/unsigned/m.relations/m.replace/content/m.new_content"), "{event}");
    tells_nothing(&event);
}

async fn relations_by_an_erased_user_are_not_told_to_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    for event in [&story.root, &story.message] {
        let path = path!("/_matrix/client/v1/rooms/{}/relations/{}", story.room, event);
        tells_nothing(&carol.get(path).await.ok());
    }
}

async fn a_thread_is_told_without_an_erased_user_to_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    let answer = carol.get(path!("/_matrix/client/v1/rooms/{}/threads", story.room)).await.ok();
    assert_eq!(answer.text("/chunk/0/event_id"), story.root);
    tells_nothing(&answer);
    tells_nothing(&carol.reads_event(&story.room, &story.root).await.ok());
}

async fn state_set_by_an_erased_user_is_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    assert_eq!(carol.reads_state(&story.room, "m.room.topic", "").await.ok(), json!({}));
}

async fn what_state_replaced_is_not_told_of_an_erased_user(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    let topic = json!({ "topic": "another" });
    let event = story.alice.sets_state(&story.room, "m.room.topic", "", topic).await.ok().text("/event_id");
    tells_nothing(&carol.reads_event(&story.room, &event).await.ok());
    let since = carol.sync_token().await;
    let topic = json!({ "topic": "a third" });
    let event = story.alice.sets_state(&story.room, "m.room.topic", "", topic).await.ok().text("/event_id");
    tells_nothing(&carol.hears(&since, &story.room, &event).await);
}

async fn the_state_of_a_room_is_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    tells_nothing(&carol.reads_all_state(&story.room).await.ok());
    let filter = json!({ "room": { "timeline": { "limit": 1 } } }).to_string();
    tells_nothing(&carol.syncs().query("filter", &filter).query("full_state", "true").await.ok());
}

async fn members_are_redacted_for_who_comes_later(server: Server) {
    let (story, carol) = Story::with_latecomer(&server).await;
    // Accounts leave their rooms a little later.
    let members = eventually(
        "the member that left",
        || async { carol.reads_members(&story.room).query("membership", "leave").await.ok() },
        |members| members.list("/chunk").len() == 1,
    )
    .await;
    tells_nothing(&members);
}

async fn a_passerby_reads_no_text_of_an_erased_user(server: Server) {
    let story = Story::told(&server, true).await;
    let content = json!({ "history_visibility": "world_readable" });
    // From here on; before, it was shared.
    story.alice.sets_state(&story.room, "m.room.history_visibility", "", content.clone()).await.ok();
    let (bob, carol) = futures::join!(server.user("bob"), server.user("carol"));
    bob.joins(&story.room).await.ok();
    let message = bob.says(&story.room, SECRET).await;
    let page = async || {
        carol.get(path!("/rooms/{}/messages", story.room)).query("dir", "b").query("limit", 5).await.ok()
    };
    tells(&page().await);
    bob.confirms(bob.post("/account/deactivate", json!({ "erase": true }))).await.ok();
    is_empty(page().await.list("/chunk"), &message);
}

async fn nothing_is_redacted_without_the_wish(server: Server) {
    let (story, carol) = futures::join!(Story::told(&server, false), server.user("carol"));
    carol.joins(&story.room).await.ok();
    tells(&carol.reads_messages(&story.room).await.ok());
    tells(&carol.reads_state(&story.room, "m.room.topic", "").await.ok());
    tells(&carol.syncs().await.ok());
}

async fn an_erased_user_has_no_profile(server: Server) {
    let (alice, bob) = server.pair().await;
    bob.sets_profile("displayname", json!(SECRET)).await.ok();
    bob.confirms(bob.post("/account/deactivate", json!({ "erase": true }))).await.ok();
    let answer = alice.reads_profile(&bob).await;
    assert!(answer.status == 404 || answer.body == json!({}), "{answer}");
}
