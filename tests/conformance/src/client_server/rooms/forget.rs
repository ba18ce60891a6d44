//! [`POST /rooms/{roomId}/forget`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget)

use serde_json::json;

use crate::{actor::sync, server::Server, wait::eventually};

tests![
    one_who_left_forgets,
    a_member_cannot_forget,
    a_forgotten_room_is_not_read,
    a_forgotten_room_is_not_in_sync,
    one_who_forgot_joins_again,
    a_banned_user_forgets,
];

async fn one_who_left_forgets(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    assert_eq!(bob.forgets(&room).await.ok(), json!({}));
}

async fn a_member_cannot_forget(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    alice.forgets(&room).await.refused(400, "M_UNKNOWN");
}

async fn a_forgotten_room_is_not_read(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    bob.reads_messages(&room).await.ok();
    bob.forgets(&room).await.ok();
    bob.reads_messages(&room).await.refused(403, "M_FORBIDDEN");
}

async fn a_forgotten_room_is_not_in_sync(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    bob.leaves(&room).await.ok();
    let filter = json!({ "room": { "include_leave": true } });
    let before = bob.syncs().query("filter", &filter).await.ok();
    assert!(sync::section(&before, "leave", &room).is_some(), "{before}");
    bob.forgets(&room).await.ok();
    // `/sync` may tell of it later than the answer.
    let syncs = || async { bob.syncs().query("filter", &filter).await.ok() };
    eventually("the room is gone", syncs, |after| sync::section(after, "leave", &room).is_none()).await;
}

async fn one_who_forgot_joins_again(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    bob.joins(&room).await.ok();
    bob.leaves(&room).await.ok();
    bob.forgets(&room).await.ok();
    bob.joins(&room).await.ok();
    bob.reads_messages(&room).await.ok();
}

async fn a_banned_user_forgets(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().member(&bob).await;
    alice.bans(&bob, &room).await.ok();
    bob.forgets(&room).await.ok();
    let filter = json!({ "room": { "include_leave": true } });
    let answer = bob.syncs().query("filter", filter).await.ok();
    assert!(sync::section(&answer, "leave", &room).is_none(), "{answer}");
    // Forgetting a ban does not end it.
    assert_eq!(alice.reads_membership(&room, &bob).await, "ban");
}
