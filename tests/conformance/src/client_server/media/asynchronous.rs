//! [Asynchronous uploads](https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create)

use reqwest::Method;

use super::of_uri;
use crate::{
    actor::User,
    server::Server,
    wire::{Json as _, Request},
};

tests![
    what_was_reserved_is_uploaded_once,
    what_is_not_there_yet_is_awaited,
    what_does_not_come_is_told,
    nobody_else_uploads_to_a_reserved_id,
    what_was_not_reserved_cannot_be_uploaded_to,
    reservations_have_an_end,
];

impl User {
    async fn reserves(&self) -> String {
        let answer = self.request(Method::POST, "/_matrix/media/v1/create").await.ok();
        of_uri(&answer.text("/content_uri"))
    }

    fn fills(&self, media: &str, bytes: &str) -> Request {
        self.request(Method::PUT, format!("/_matrix/media/v3/upload/{media}"))
            .header("content-type", "text/plain")
            .bytes(bytes)
    }
}

async fn what_was_reserved_is_uploaded_once(server: Server) {
    let alice = server.user("alice").await;
    let created = alice.request(Method::POST, "/_matrix/media/v1/create").await.ok();
    assert!(created["unused_expires_at"].as_i64().is_some_and(|at| at > 1_600_000_000_000), "{created}");
    let media = of_uri(&created.text("/content_uri"));
    alice.fills(&media, "later").await.ok();
    alice.fills(&media, "again").await.refused(409, "M_CANNOT_OVERWRITE_MEDIA");
    assert_eq!(alice.downloads(&media).await.bytes, b"later");
    let uploaded = alice.stores("text/plain", "at once").await;
    alice.fills(&uploaded, "again").await.refused(409, "M_CANNOT_OVERWRITE_MEDIA");
}

async fn what_is_not_there_yet_is_awaited(server: Server) {
    let (alice, bob) = server.pair().await;
    let media = alice.reserves().await;
    let waiting = bob.downloads(&media).query("timeout_ms", 20_000);
    let filling = async {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        alice.fills(&media, "at last").await.ok()
    };
    let (answer, _) = futures::join!(async { waiting.await }, filling);
    assert_eq!((answer.status, &answer.bytes[..]), (200, &b"at last"[..]), "{answer}");
}

async fn what_does_not_come_is_told(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.reserves().await;
    let answer = alice.downloads(&media).query("timeout_ms", 0).attempt().await;
    answer.refused(504, "M_NOT_YET_UPLOADED");
    let thumbnail = alice.get(format!("/_matrix/client/v1/media/thumbnail/{media}"));
    let thumbnail = thumbnail.query("width", 32).query("height", 32).query("timeout_ms", 0);
    thumbnail.attempt().await.refused(504, "M_NOT_YET_UPLOADED");
}

async fn nobody_else_uploads_to_a_reserved_id(server: Server) {
    let (alice, bob) = server.pair().await;
    let media = alice.reserves().await;
    bob.fills(&media, "mine").await.refused(403, "M_FORBIDDEN");
    alice.fills(&media, "mine").await.ok();
}

async fn what_was_not_reserved_cannot_be_uploaded_to(server: Server) {
    let alice = server.user("alice").await;
    let media = format!("{}/{}", server.name(), "x".repeat(24));
    alice.fills(&media, "a").await.refused(404, "M_NOT_FOUND");
    alice.fills(&format!("127.0.0.1:9/{}", "x".repeat(24)), "a").await.refused(404, "M_NOT_FOUND");
    let nobody =
        server.anybody().request(Method::PUT, format!("/_matrix/media/v3/upload/{media}")).bytes("a");
    nobody.await.refused(401, "M_MISSING_TOKEN");
}

async fn reservations_have_an_end(server: Server) {
    let alice = server.user("alice").await;
    let mut last = alice.request(Method::POST, "/_matrix/media/v1/create").attempt().await;
    for _ in 0..200 {
        if last.status != 200 {
            break;
        }
        last = alice.request(Method::POST, "/_matrix/media/v1/create").attempt().await;
    }
    last.refused(429, "M_LIMIT_EXCEEDED");
}
