//! [`GET /account/whoami`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami)

use crate::{server::Server, wire::Json as _};

tests![
    tells_user_and_device,
    a_token_that_was_never_given_is_unknown,
    no_token_is_a_missing_token,
    the_token_may_come_in_the_query,
];

async fn tells_user_and_device(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.asks_who_they_are().await.ok();
    assert_eq!(answer.text("/user_id"), alice.id);
    assert_eq!(answer.text("/device_id"), alice.device);
    // Required only to be true of guests; others may be told.
    assert!(!answer.has("/is_guest") || answer["is_guest"] == false, "{answer}");
}

async fn a_token_that_was_never_given_is_unknown(server: Server) {
    let stranger = server.anybody().with_token(Some("never_given"));
    let answer = stranger.get("/account/whoami").await.refused(401, "M_UNKNOWN_TOKEN");
    // Only a token that may be refreshed is softly logged out.
    assert_ne!(answer["soft_logout"], true);
}

async fn no_token_is_a_missing_token(server: Server) {
    server.anybody().get("/account/whoami").await.refused(401, "M_MISSING_TOKEN");
}

async fn the_token_may_come_in_the_query(server: Server) {
    let alice = server.user("alice").await;
    let request = server.anybody().get("/account/whoami").query("access_token", alice.token());
    assert_eq!(request.await.ok().text("/user_id"), alice.id);
}
