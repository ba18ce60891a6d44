//! [Request authentication](https://spec.matrix.org/v1.19/server-server-api/#request-authentication)

use serde_json::json;

use super::peer::{Peer, Told};
use crate::{
    server::Server,
    wire::{Answer, encoded},
};

tests![
    signed_requests_are_answered,
    headers_may_be_written_in_other_ways,
    requests_without_a_right_signature_are_refused,
    signatures_are_of_the_whole_request,
    keys_must_be_current_and_proven,
    a_request_is_for_one_server,
];

/// A profile that exists, as a path with a query.
async fn profile(server: &Server) -> String {
    let alice = server.user("alice").await;
    format!("/_matrix/federation/v1/query/profile?user_id={}", encoded(&alice.id))
}

async fn ask(server: &Server, uri: &str, header: &str) -> Answer {
    server.federation().get(uri).header("authorization", header).await
}

async fn signed_requests_are_answered(server: Server) {
    let (peer, uri) = (Peer::start(Told::Current).await, profile(&server).await);
    ask(&server, &uri, &peer.signs("GET", &uri, server.name(), None)).await.ok();
}

async fn headers_may_be_written_in_other_ways(server: Server) {
    let (peer, uri) = (Peer::start(Told::Current).await, profile(&server).await);
    let header = peer.signs("GET", &uri, server.name(), None);
    for header in [
        header.replace("X-Matrix", "x-matrix"),
        header.replace("origin=", "ORIGIN="),
        header.replace(',', ",unknown=\"x\","),
        // The destination is signed, whether or not the header names it.
        header.replace(&format!("destination=\"{}\",", server.name()), ""),
    ] {
        ask(&server, &uri, &header).await.ok();
    }
}

async fn requests_without_a_right_signature_are_refused(server: Server) {
    let (peer, uri) = (Peer::start(Told::Current).await, profile(&server).await);
    let header = peer.signs("GET", &uri, server.name(), None);
    server.federation().get(uri.as_str()).await.refused(401, "M_UNAUTHORIZED");
    for (what, header) in [
        ("another scheme", "Bearer abc".to_owned()),
        ("no origin", header.replace("origin=", "x=")),
        ("no signature", header.replace("sig=", "x=")),
        ("no key", header.replace("key=", "x=")),
        ("an unknown key", header.replace("ed25519:a", "ed25519:b")),
        ("a server that is not there", header.replace(&peer.name, "127.0.0.1:1")),
        ("no server name", header.replace(&peer.name, "not a name")),
        ("another signature", peer.signs("GET", "/", server.name(), None)),
        ("no base64", peer.signs("GET", &uri, server.name(), None).replace("sig=\"", "sig=\"!")),
    ] {
        let answer = ask(&server, &uri, &header).await;
        assert_eq!((answer.status, answer.errcode()), (401, "M_UNAUTHORIZED"), "{what}: {answer}");
    }
}

async fn signatures_are_of_the_whole_request(server: Server) {
    let peer = Peer::start(Told::Current).await;
    let uri = format!("/_matrix/federation/v1/get_missing_events/{}", encoded(&server.nowhere().0));
    let body = json!({ "earliest_events": [], "latest_events": [], "limit": 5 });
    let header = peer.signs("POST", &uri, server.name(), Some(&body));
    let post = async |body: &serde_json::Value| {
        server.federation().post(uri.as_str(), body.clone()).header("authorization", &header).await
    };
    // It is let in, and then told that it is in no such room.
    let answer = post(&body).await;
    assert!(matches!(answer.status, 403 | 404), "{answer}");
    let mut other = body.clone();
    other["limit"] = json!(6);
    post(&other).await.refused(401, "M_UNAUTHORIZED");
    let uri = profile(&server).await;
    for header in [
        peer.signs("PUT", &uri, server.name(), None),
        peer.signs("GET", &uri.replace("%3A", ":"), server.name(), None),
        peer.signs("GET", &uri, server.name(), Some(&json!({}))),
    ] {
        ask(&server, &uri, &header).await.refused(401, "M_UNAUTHORIZED");
    }
}

async fn keys_must_be_current_and_proven(server: Server) {
    let uri = profile(&server).await;
    for told in [Told::Stale, Told::Old, Told::Unsigned, Told::OtherServer] {
        let peer = Peer::start(told).await;
        let answer = ask(&server, &uri, &peer.signs("GET", &uri, server.name(), None)).await;
        assert_eq!((answer.status, answer.errcode()), (401, "M_UNAUTHORIZED"), "{told:?}: {answer}");
    }
}

async fn a_request_is_for_one_server(server: Server) {
    let (peer, uri) = (Peer::start(Told::Current).await, profile(&server).await);
    let header = peer.signs("GET", &uri, "other.example", None);
    ask(&server, &uri, &header).await.refused(401, "M_UNAUTHORIZED");
    let renamed = header.replace("other.example", server.name());
    ask(&server, &uri, &renamed).await.refused(401, "M_UNAUTHORIZED");
}
