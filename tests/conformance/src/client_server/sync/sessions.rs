//! Requests that wait while their user loses the right to the answer.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    actor::{User, sync},
    server::Server,
    wire::{Answer, Json as _, Request},
};

tests![
    a_device_that_is_deleted_is_answered_no_more,
    a_session_that_is_logged_out_is_answered_no_more,
    who_logs_out_everywhere_is_answered_no_more,
    a_session_that_ends_with_the_password_is_answered_no_more,
    an_account_that_is_deactivated_is_answered_no_more,
    listening_for_events_ends_with_the_session,
    who_is_kicked_hears_no_more,
];

/// What is said after the right to hear it was lost.
const LATE: &str = "too late";

/// Waits with a request of `path`, again and again as long as it is answered, while something happens a moment later;
/// returns the last answer. None may tell what is said after that.
async fn waits_while(phone: &User, path: &str, token: &str, happens: impl Future<Output = ()>) -> Answer {
    let began = Instant::now();
    let mut from = phone.sync_token().await;
    let waits = async {
        loop {
            let request: Request = phone.get(path).query(token, from.clone()).query("timeout", 35_000);
            let answer = request.await;
            assert!(!answer.body.to_string().contains(LATE), "{answer}");
            if answer.status != 200 {
                return answer;
            }
            from = answer.body.text(if token == "from" { "/end" } else { "/next_batch" });
        }
    };
    let later = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        happens.await;
    };
    let (answer, ()) = futures::join!(waits, later);
    assert!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
    answer
}

/// Alice waits with a second session, her phone, and loses that.
async fn loses<L: Future<Output = ()>>(
    server: Server,
    path: &str,
    token: &str,
    lose: impl FnOnce(User, User) -> L,
) {
    let (alice, bob) = server.pair().await;
    let room = bob.creates_room().member(&alice).await;
    let phone = alice.logs_in().await;
    let lost = lose(alice, phone.clone());
    let happens = async {
        lost.await;
        bob.says(&room, LATE).await;
    };
    waits_while(&phone, path, token, happens).await.refused(401, "M_UNKNOWN_TOKEN");
}

async fn a_device_that_is_deleted_is_answered_no_more(server: Server) {
    let lose = |alice: User, phone: User| async move {
        alice.confirms(alice.delete(path!("/devices/{}", phone.device))).await.ok();
    };
    loses(server, "/sync", "since", lose).await;
}

async fn logs_out(user: User, path: &str) {
    user.post(path, json!({})).await.ok();
}

async fn a_session_that_is_logged_out_is_answered_no_more(server: Server) {
    loses(server, "/sync", "since", |_, phone| logs_out(phone, "/logout")).await;
}

async fn who_logs_out_everywhere_is_answered_no_more(server: Server) {
    loses(server, "/sync", "since", |alice, _| logs_out(alice, "/logout/all")).await;
}

async fn a_session_that_ends_with_the_password_is_answered_no_more(server: Server) {
    let lose = |alice: User, _| async move {
        let body = json!({ "new_password": "another-Secret-5", "logout_devices": true });
        alice.confirms(alice.post("/account/password", body)).await.ok();
    };
    loses(server, "/sync", "since", lose).await;
}

async fn an_account_that_is_deactivated_is_answered_no_more(server: Server) {
    let lose = |alice: User, _| async move {
        alice.confirms(alice.post("/account/deactivate", json!({}))).await.ok();
    };
    loses(server, "/sync", "since", lose).await;
}

async fn listening_for_events_ends_with_the_session(server: Server) {
    loses(server, "/events", "from", |_, phone| logs_out(phone, "/logout")).await;
}

async fn who_is_kicked_hears_no_more(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = bob.creates_room().member(&alice).await;
    let since = alice.sync_token().await;
    let waits =
        alice.syncs_until(&since, "the kick", |answer| sync::section(answer, "leave", &room).is_some());
    let kicks = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        bob.kicks(&alice, &room).await.ok();
        bob.says(&room, LATE).await;
    };
    let (answer, ()) = futures::join!(waits, kicks);
    assert!(!answer.to_string().contains(LATE), "{answer}");
    let answer = alice.syncs_since(&answer.text("/next_batch")).query("timeout", 500).await.ok();
    assert!(!answer.to_string().contains(LATE), "{answer}");
}
