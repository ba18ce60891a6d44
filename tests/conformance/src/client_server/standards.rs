//! [API standards](https://spec.matrix.org/v1.19/client-server-api/#api-standards): errors, and browsers.

use reqwest::Method;
use serde_json::json;

use crate::server::Server;

tests![
    an_unknown_endpoint_is_unrecognized,
    an_unknown_method_is_unrecognized,
    a_browser_may_ask_from_anywhere,
    a_browser_asks_first_without_a_token,
    answers_are_json,
    an_error_may_be_read_by_a_browser,
];

async fn an_unknown_endpoint_is_unrecognized(server: Server) {
    let alice = server.user("alice").await;
    alice.get("/no/such/endpoint").await.refused(404, "M_UNRECOGNIZED");
    alice.get("/_matrix/client/v99/sync").await.refused(404, "M_UNRECOGNIZED");
}

async fn an_unknown_method_is_unrecognized(server: Server) {
    let alice = server.user("alice").await;
    alice.delete("/account/whoami").await.refused(405, "M_UNRECOGNIZED");
    alice.put("/createRoom", json!({})).await.refused(405, "M_UNRECOGNIZED");
}

async fn a_browser_may_ask_from_anywhere(server: Server) {
    let request = server.anybody().get("/login").header("origin", "https://app.example.org");
    let answer = request.await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
}

async fn a_browser_asks_first_without_a_token(server: Server) {
    let request = server.anybody().request(Method::OPTIONS, "/account/whoami");
    let request = request.header("origin", "https://app.example.org");
    let request = request.header("access-control-request-method", "GET");
    let answer = request.header("access-control-request-headers", "authorization").await;
    assert!((200..300).contains(&answer.status), "{answer}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
    let allowed = |name: &str| answer.header(name).unwrap_or_default().to_ascii_lowercase();
    let methods = allowed("access-control-allow-methods");
    for method in ["get", "post", "put", "delete", "options"] {
        assert!(methods.contains(method), "{method} is not among {methods}");
    }
    let headers = allowed("access-control-allow-headers");
    for name in ["x-requested-with", "content-type", "authorization"] {
        assert!(headers.contains(name), "{name} is not among {headers}");
    }
}

async fn answers_are_json(server: Server) {
    let answer = server.anybody().get("/login").await;
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/json"), "{kind}");
    answer.ok();
}

async fn an_error_may_be_read_by_a_browser(server: Server) {
    let request = server.anybody().get("/account/whoami").header("origin", "https://app.example.org");
    let answer = request.await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
    answer.refused(401, "M_MISSING_TOKEN");
}
