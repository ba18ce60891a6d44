//! [Reporting content](https://spec.matrix.org/v1.19/client-server-api/#reporting-content)

use serde_json::json;

use crate::server::Server;

tests![rooms_are_reported, events_are_reported_by_members, users_are_reported, a_report_is_an_object,];

async fn rooms_are_reported(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().public().await;
    let report = |room: &str| bob.post(path!("/rooms/{}/report", room), json!({ "reason": "makes me sad" }));
    assert_eq!(report(&room.0).await.ok(), json!({}));
    // Whether a room is there may be told, or not.
    let unknown = report(&server.nowhere().0).await;
    assert!(unknown.status == 200 || unknown.errcode() == "M_NOT_FOUND", "{unknown}");
}

async fn events_are_reported_by_members(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "bad").await;
    let path = path!("/rooms/{}/report/{}", room, event);
    assert_eq!(alice.post(&*path, json!({ "reason": "bad" })).await.ok(), json!({}));
    assert_eq!(alice.post(&*path, json!({})).await.ok(), json!({}));
    bob.post(&*path, json!({ "reason": "bad" }))
        .await
        .refused_as(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
    let unknown = path!("/rooms/{}/report/{}", room, format!("${}", "A".repeat(43)));
    let unknown = alice.post(unknown, json!({ "reason": "bad" })).await;
    assert!(unknown.status == 200 || unknown.errcode() == "M_NOT_FOUND", "{unknown}");
}

async fn users_are_reported(server: Server) {
    let (alice, bob) = server.pair().await;
    let report = |user: &str| alice.post(path!("/users/{}/report", user), json!({ "reason": "" }));
    assert_eq!(report(&bob.id).await.ok(), json!({}));
    let unknown = report(&server.nobody()).await;
    assert!(unknown.status == 200 || unknown.errcode() == "M_NOT_FOUND", "{unknown}");
}

async fn a_report_is_an_object(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    for path in [path!("/rooms/{}/report", room), path!("/users/{}/report", bob.id)] {
        for body in [json!({ "reason": 1 }), json!([])] {
            let answer = alice.post(&*path, body).await;
            assert_eq!(answer.status, 400, "{answer}");
        }
        alice.post(&*path, json!({})).raw("{").await.refused(400, "M_NOT_JSON");
    }
}
