//! [What the server is](https://spec.matrix.org/v1.19/client-server-api/#server-discovery)
//! and [can](https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation)

use serde_json::json;

use crate::{actor::Room, server::Server, wire::Json as _};

tests![
    versions_are_told_to_anybody,
    versions_are_told_to_users,
    capabilities_tell_room_versions,
    rooms_have_the_default_version,
    every_stable_version_that_is_told_can_be_had,
    there_are_no_networks_beside_matrix,
    relays_for_calls_are_an_object,
    a_new_user_has_no_pushers,
    a_new_user_has_no_other_identifiers,
    presence_is_of_a_known_kind_and_ones_own,
    well_known_names_somebody_to_turn_to_or_is_absent,
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
    for version in ["3", "4", "5", "6", "9", "10", "11", "12"] {
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

async fn every_stable_version_that_is_told_can_be_had(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.get("/capabilities").await.ok();
    let available =
        answer.at("/capabilities/m.room_versions/available").as_object().cloned().unwrap_or_default();
    for (version, _) in available.into_iter().filter(|(_, stability)| *stability == "stable") {
        let body = json!({ "room_version": version });
        let room = Room(alice.post("/createRoom", body).await.ok().text("/room_id"));
        let create = alice.reads_state(&room, "m.room.create", "").await.ok();
        assert_eq!(create["room_version"].as_str().unwrap_or("1"), version);
    }
}

async fn there_are_no_networks_beside_matrix(server: Server) {
    let alice = server.user("alice").await;
    assert_eq!(alice.get("/thirdparty/protocols").await.ok(), json!({}));
    let answer = alice.get("/thirdparty/protocol/irc").await;
    assert_eq!(answer.status, 404, "{answer}");
    server.anybody().get("/thirdparty/protocols").await.refused(401, "M_MISSING_TOKEN");
}

async fn relays_for_calls_are_an_object(server: Server) {
    let alice = server.user("alice").await;
    assert!(alice.get("/voip/turnServer").await.ok().is_object());
}

async fn a_new_user_has_no_pushers(server: Server) {
    let alice = server.user("alice").await;
    assert_eq!(alice.get("/pushers").await.ok(), json!({ "pushers": [] }));
}

async fn a_new_user_has_no_other_identifiers(server: Server) {
    let alice = server.user("alice").await;
    assert_eq!(alice.get("/account/3pid").await.ok(), json!({ "threepids": [] }));
}

async fn presence_is_of_a_known_kind_and_ones_own(server: Server) {
    const MALFORMED: &[(u16, &str)] = &[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM"), (400, "M_UNKNOWN")];
    let (alice, bob) = server.pair().await;
    let path = path!("/presence/{}/status", alice.id);
    let presence = alice.get(&path).await.ok().text("/presence");
    assert!(["online", "offline", "unavailable"].contains(&presence.as_str()), "{presence}");
    alice.put(&path, json!({ "presence": "online", "status_msg": "here" })).await.ok();
    alice.put(&path, json!({ "presence": "everywhere" })).await.refused_as(MALFORMED);
    alice.put(&path, json!({ "presence": 1 })).await.refused_as(MALFORMED);
    bob.put(&path, json!({ "presence": "offline" })).await.refused(403, "M_FORBIDDEN");
}

async fn well_known_names_somebody_to_turn_to_or_is_absent(server: Server) {
    let answer = server.anybody().get("/.well-known/matrix/support").await;
    if answer.status == 404 {
        return;
    }
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
    let answer = answer.ok();
    assert!(answer.has("/contacts") || answer.has("/support_page"), "{answer}");
}
