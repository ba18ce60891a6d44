//! `reason` in the requests that change memberships: what is not text is refused.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#room-membership)

use serde_json::json;

use crate::server::Server;

tests![a_reason_to_come_must_be_text, a_reason_to_go_must_be_text, a_reason_to_redact_must_be_text];

async fn a_reason_to_come_must_be_text(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let invite = alice.invites(&bob, &room).json(json!({ "user_id": bob.id, "reason": ["tea"] }));
    invite.await.refused(400, "M_BAD_JSON");
    bob.joins(&room).json(json!({ "reason": ["tea"] })).await.refused(400, "M_BAD_JSON");
    bob.post(path!("/join/{}", room), json!({ "reason": ["tea"] })).await.refused(400, "M_BAD_JSON");
    bob.knocks(&room).json(json!({ "reason": ["tea"] })).await.refused(400, "M_BAD_JSON");
    assert_eq!(alice.reads_state(&room, "m.room.member", &bob.id).await.status, 404);
}

async fn a_reason_to_go_must_be_text(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().member(&bob).await;
    for action in ["kick", "ban", "unban"] {
        let body = json!({ "user_id": bob.id, "reason": 1 });
        alice.post(path!("/rooms/{}/{}", room, action), body).await.refused(400, "M_BAD_JSON");
    }
    bob.leaves(&room).json(json!({ "reason": 1 })).await.refused(400, "M_BAD_JSON");
    assert_eq!(alice.reads_membership(&room, &bob).await, "join");
}

async fn a_reason_to_redact_must_be_text(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "oops").await;
    alice.redacts(&room, &event).json(json!({ "reason": 1 })).await.refused(400, "M_BAD_JSON");
}
