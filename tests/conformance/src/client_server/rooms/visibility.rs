//! [History visibility](https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility)
//! and [guests](https://spec.matrix.org/v1.19/client-server-api/#guest-access)

use serde_json::{Value, json};

use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::Json as _,
};

tests![
    shared_history_is_read_by_those_who_join_later,
    history_since_the_invite_is_read,
    history_before_the_invite_is_not_read,
    history_since_the_join_is_read,
    history_before_the_join_is_not_read,
    world_readable_history_is_read_by_somebody_else,
    what_was_said_in_the_open_stays_in_the_open,
    what_was_said_in_private_stays_private,
    the_timeline_of_sync_keeps_to_it,
    an_unknown_visibility_counts_as_shared,
    visibility_needs_power,
    what_was_said_while_one_was_away_is_shared,
    a_guest_joins_where_guests_may,
    a_guest_does_not_join_where_guests_may_not,
    guests_leave_when_they_may_no_longer_stay,
    a_guest_speaks,
    a_guest_does_not_read_what_is_not_world_readable,
];

async fn room(alice: &User, visibility: &str) -> Room {
    let content = json!({ "history_visibility": visibility });
    alice.creates_room().public().state("m.room.history_visibility", content).await
}

/// Whether somebody reads an event: as itself, and in the history.
async fn reads(user: &User, room: &Room, event: &str) -> bool {
    let answer = user.reads_event(room, event).await;
    let reads = answer.status == 200;
    if !reads {
        answer.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
    }
    let page = user.reads_messages(room).query("limit", 100).await;
    if page.status == 200 {
        let found = page.ok();
        let found = found.list("/chunk").iter().any(|found| found["event_id"] == event);
        assert_eq!(found, reads, "{} reads {event} in one way and not in the other", user.name);
    } else {
        assert!(!reads, "{} reads {event}, but no history", user.name);
    }
    reads
}

async fn shared_history_is_read_by_those_who_join_later(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "shared").await;
    let event = alice.says(&room, "before").await;
    assert!(!reads(&bob, &room, &event).await);
    bob.joins(&room).await.ok();
    assert!(reads(&bob, &room, &event).await);
}

async fn history_since_the_invite_is_read(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "invited").await;
    alice.invites(&bob, &room).await.ok();
    let event = alice.says(&room, "while bob is invited").await;
    bob.joins(&room).await.ok();
    assert!(reads(&bob, &room, &event).await);
}

async fn history_before_the_invite_is_not_read(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "invited").await;
    let event = alice.says(&room, "before the invite").await;
    alice.invites(&bob, &room).await.ok();
    bob.joins(&room).await.ok();
    assert!(!reads(&bob, &room, &event).await);
}

async fn history_since_the_join_is_read(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "joined").await;
    bob.joins(&room).await.ok();
    let since = bob.sync_token().await;
    let event = alice.says(&room, "hello bob").await;
    bob.hears(&since, &room, &event).await;
    assert!(reads(&bob, &room, &event).await);
}

async fn history_before_the_join_is_not_read(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "joined").await;
    alice.invites(&bob, &room).await.ok();
    let event = alice.says(&room, "before the join").await;
    bob.joins(&room).await.ok();
    assert!(!reads(&bob, &room, &event).await);
    let context = bob.reads_context(&room, &event).await;
    context.refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN"), (404, "M_UNKNOWN")]);
}

async fn world_readable_history_is_read_by_somebody_else(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "world_readable").await;
    let since = alice.sync_token().await;
    let event = alice.says(&room, "hello world").await;
    alice.hears(&since, &room, &event).await;
    assert!(reads(&bob, &room, &event).await);
    bob.reads_members(&room).await.ok();
}

async fn what_was_said_in_the_open_stays_in_the_open(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "shared").await;
    let open = alice.says(&room, "in the open").await;
    let content = json!({ "history_visibility": "joined" });
    alice.sets_state(&room, "m.room.history_visibility", "", content).await.ok();
    let private = alice.says(&room, "in private").await;
    bob.joins(&room).await.ok();
    assert!(reads(&bob, &room, &open).await);
    assert!(!reads(&bob, &room, &private).await);
}

async fn what_was_said_in_private_stays_private(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "joined").await;
    let private = alice.says(&room, "in private").await;
    let content = json!({ "history_visibility": "shared" });
    alice.sets_state(&room, "m.room.history_visibility", "", content).await.ok();
    let open = alice.says(&room, "in the open").await;
    bob.joins(&room).await.ok();
    assert!(!reads(&bob, &room, &private).await);
    assert!(reads(&bob, &room, &open).await);
}

async fn the_timeline_of_sync_keeps_to_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "joined").await;
    let before = alice.says(&room, "before").await;
    bob.joins(&room).await.ok();
    let since = bob.sync_token().await;
    let after = alice.says(&room, "after").await;
    bob.hears(&since, &room, &after).await;
    let answer = bob.syncs().await.ok();
    let found: Vec<_> = sync::timeline(&answer, &room).iter().map(|event| event.text("/event_id")).collect();
    assert!(found.contains(&after), "{found:?}");
    assert!(!found.contains(&before), "{found:?}");
}

async fn an_unknown_visibility_counts_as_shared(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "org.example.dim").await;
    let event = alice.says(&room, "before").await;
    bob.joins(&room).await.ok();
    assert!(reads(&bob, &room, &event).await);
}

async fn visibility_needs_power(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "shared").await;
    bob.joins(&room).await.ok();
    alice.sets_power(&room, "users", &bob.id, 50).await;
    let content = json!({ "history_visibility": "world_readable" });
    bob.sets_state(&room, "m.room.history_visibility", "", content).await.refused(403, "M_FORBIDDEN");
}

async fn what_was_said_while_one_was_away_is_shared(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = room(&alice, "shared").await;
    bob.joins(&room).await.ok();
    bob.leaves(&room).await.ok();
    let event = alice.says(&room, "while bob was away").await;
    assert!(!reads(&bob, &room, &event).await);
    bob.joins(&room).await.ok();
    assert!(reads(&bob, &room, &event).await);
}

async fn guest_room(alice: &User, access: &str) -> Room {
    alice.creates_room().public().state("m.room.guest_access", json!({ "guest_access": access })).await
}

async fn a_guest_joins_where_guests_may(server: Server) {
    let (alice, guest) = (server.user("alice").await, server.guest().await);
    let room = guest_room(&alice, "can_join").await;
    guest.joins(&room).await.ok();
    assert_eq!(alice.reads_membership(&room, &guest).await, "join");
}

async fn a_guest_does_not_join_where_guests_may_not(server: Server) {
    let (alice, guest) = (server.user("alice").await, server.guest().await);
    let room = guest_room(&alice, "forbidden").await;
    guest.joins(&room).await.refused_as(&[(403, "M_GUEST_ACCESS_FORBIDDEN"), (403, "M_FORBIDDEN")]);
}

async fn guests_leave_when_they_may_no_longer_stay(server: Server) {
    let (alice, guest) = (server.user("alice").await, server.guest().await);
    let room = guest_room(&alice, "can_join").await;
    guest.joins(&room).await.ok();
    let since = alice.sync_token().await;
    let forbidden = json!({ "guest_access": "forbidden" });
    alice.sets_state(&room, "m.room.guest_access", "", forbidden).await.ok();
    let has_left = |answer: &Value| {
        let events = sync::timeline(answer, &room);
        events.iter().any(|event| event["state_key"] == guest.id && event["content"]["membership"] == "leave")
    };
    alice.syncs_until(&since, "the guest's leave", has_left).await;
}

async fn a_guest_speaks(server: Server) {
    let (alice, guest) = (server.user("alice").await, server.guest().await);
    let room = guest_room(&alice, "can_join").await;
    guest.joins(&room).await.ok();
    let since = alice.sync_token().await;
    let event = guest.says(&room, "hello").await;
    assert_eq!(alice.hears(&since, &room, &event).await["sender"], guest.id);
}

async fn a_guest_does_not_read_what_is_not_world_readable(server: Server) {
    let (alice, guest) = (server.user("alice").await, server.guest().await);
    let room = guest_room(&alice, "can_join").await;
    guest.reads_messages(&room).await.refused_as(&[(403, "M_GUEST_ACCESS_FORBIDDEN"), (403, "M_FORBIDDEN")]);
}
