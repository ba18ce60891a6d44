//! [Retrieving server keys](https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys)

use serde_json::{Value, json};

use super::peer::{Peer, Told, has_signed, now, public};
use crate::{server::Server, wire::Json as _};

tests![
    keys_are_signed_by_every_current_key,
    keys_are_the_same_for_whoever_asks_for_one,
    no_key_is_both_current_and_old,
    a_notary_passes_on_what_a_server_signed,
    a_notary_answers_for_several_servers,
    a_notary_leaves_out_whom_it_cannot_ask,
    a_notary_passes_on_nothing_that_is_not_signed,
];

async fn own(server: &Server) -> Value {
    server.federation().get("/_matrix/key/v2/server").await.ok()
}

async fn keys_are_signed_by_every_current_key(server: Server) {
    let keys = own(&server).await;
    assert_eq!(keys["server_name"], server.name());
    assert!(keys["valid_until_ts"].as_i64().is_some_and(|until| until > now()), "{keys}");
    let current = keys["verify_keys"].as_object().cloned().unwrap_or_default();
    assert!(!current.is_empty(), "{keys}");
    for (id, key) in &current {
        assert!(id.starts_with("ed25519:"), "{keys}");
        let key = public(key["key"].as_str().unwrap_or_default());
        assert!(has_signed(&keys, server.name(), id, &key), "{id} has not signed {keys}");
    }
}

async fn keys_are_the_same_for_whoever_asks_for_one(server: Server) {
    let keys = own(&server).await;
    for path in ["/_matrix/key/v2/server/", "/_matrix/key/v2/server/ed25519:any"] {
        let answer = server.federation().get(path).await;
        // The ID of a key in the path is deprecated.
        if answer.status != 404 {
            assert_eq!(answer.ok()["verify_keys"], keys["verify_keys"]);
        }
    }
}

async fn no_key_is_both_current_and_old(server: Server) {
    let keys = own(&server).await;
    for (id, key) in keys["old_verify_keys"].as_object().cloned().unwrap_or_default() {
        assert!(!keys["verify_keys"].has(&format!("/{id}")), "{keys}");
        assert!(key["expired_ts"].as_i64().is_some_and(|expired| expired < now()), "{keys}");
    }
}

/// Both signatures are on what a notary says of a peer.
async fn check_notarized(server: &Server, peer: &Peer, answer: &Value) {
    let all = answer["server_keys"].as_array().cloned().unwrap_or_default();
    let keys = all.iter().find(|keys| keys["server_name"] == peer.name.as_str());
    let keys = keys.unwrap_or_else(|| panic!("no keys of {} in {answer}", peer.name));
    assert!(has_signed(keys, &peer.name, "ed25519:a", &peer.public()), "{keys}");
    let own = own(server).await;
    let signed = own["verify_keys"].as_object().cloned().unwrap_or_default().into_iter().any(|(id, key)| {
        has_signed(keys, server.name(), &id, &public(key["key"].as_str().unwrap_or_default()))
    });
    assert!(signed, "the notary has not signed {keys}");
}

async fn a_notary_passes_on_what_a_server_signed(server: Server) {
    let peer = Peer::start(Told::Current).await;
    let answer = server.federation().get(path!("/_matrix/key/v2/query/{}", peer.name)).await.ok();
    check_notarized(&server, &peer, &answer).await;
}

async fn a_notary_answers_for_several_servers(server: Server) {
    let (first, second) = futures::join!(Peer::start(Told::Current), Peer::start(Told::Current));
    let body = json!({ "server_keys": { &first.name: {}, &second.name: { "ed25519:a": {} } } });
    let answer = server.federation().post("/_matrix/key/v2/query", body).await.ok();
    check_notarized(&server, &first, &answer).await;
    check_notarized(&server, &second, &answer).await;
    let nobody = server.federation().post("/_matrix/key/v2/query", json!({ "server_keys": {} })).await.ok();
    assert_eq!(nobody, json!({ "server_keys": [] }));
}

async fn a_notary_leaves_out_whom_it_cannot_ask(server: Server) {
    let peer = Peer::start(Told::Current).await;
    let body = json!({ "server_keys": { &peer.name: {}, "127.0.0.1:1": {} } });
    let answer = server.federation().post("/_matrix/key/v2/query", body).await.ok();
    check_notarized(&server, &peer, &answer).await;
    assert_eq!(answer.list("/server_keys").len(), 1, "{answer}");
}

async fn a_notary_passes_on_nothing_that_is_not_signed(server: Server) {
    for told in [Told::Unsigned, Told::OtherServer] {
        let peer = Peer::start(told).await;
        let answer = server.federation().get(path!("/_matrix/key/v2/query/{}", peer.name)).await.ok();
        assert_eq!(answer.list("/server_keys").len(), 0, "{told:?}: {answer}");
    }
}
