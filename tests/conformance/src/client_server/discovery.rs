//! [What the server is](https://spec.matrix.org/v1.19/client-server-api/#server-discovery)
//! and [can](https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation)

use serde_json::json;

use crate::{server::Server, wire::Json as _};

tests![
    versions_are_told_to_anybody,
    versions_are_told_to_users,
    capabilities_tell_room_versions,
    rooms_have_the_default_version,
    capabilities_need_a_token,
    well_known_tells_the_base_url_if_there_is_one,
];

async fn versions_are_told_to_anybody(server: Server) {
    let answer = server.anybody().get("/_matrix/client/versions").await.ok();
    let versions = answer.list("/versions");
    assert!(versions.iter().all(serde_json::Value::is_string), "{answer}");
    assert!(versions.iter().any(|version| version == "v1.11"), "{answer}");
    if let Some(features) = answer["unstable_features"].as_object() {
        assert!(features.values().all(serde_json::Value::is_boolean), "{answer}");
    }
}

async fn versions_are_told_to_users(server: Server) {
    let alice = server.user("alice").await;
    alice.get("/_matrix/client/versions").await.ok();
}

async fn capabilities_tell_room_versions(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.get("/capabilities").await.ok();
    let versions = answer.at("/capabilities/m.room_versions");
    let default = versions.text("/default");
    assert_eq!(versions["available"][&default], "stable", "{answer}");
    for version in ["6", "9", "10", "11", "12"] {
        assert!(versions["available"].has(&format!("/{version}")), "no {version} in {answer}");
    }
    if answer["capabilities"].has("/m.change_password") {
        assert!(answer["capabilities"]["m.change_password"]["enabled"].is_boolean(), "{answer}");
    }
}

async fn rooms_have_the_default_version(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.get("/capabilities").await.ok();
    let default = answer.text("/capabilities/m.room_versions/default");
    let room = alice.creates_room().await;
    let create = alice.reads_state(&room, "m.room.create", "").await.ok();
    assert_eq!(create["room_version"], default);
}

async fn capabilities_need_a_token(server: Server) {
    server.anybody().get("/capabilities").await.refused(401, "M_MISSING_TOKEN");
}

async fn well_known_tells_the_base_url_if_there_is_one(server: Server) {
    let answer = server.anybody().get("/.well-known/matrix/client").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
    if answer.status == 404 {
        return;
    }
    let answer = answer.ok();
    assert!(answer.text("/m.homeserver/base_url").starts_with("http"), "{answer}");
    assert_ne!(answer, json!({}));
}
