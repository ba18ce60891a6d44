//! Profiles.

use serde_json::{Value, json};

use crate::world::World;

const ALICE: &str = "/profile/@alice:test";

#[tokio::test]
async fn fields_are_set_read_and_removed() {
    let world = World::start();
    let token = world.register("alice").await;
    let put = async |key: &str, body: Value| world.call("PUT", &format!("{ALICE}/{key}"), &token, body).await;
    let get = async |key: &str| world.call("GET", &format!("{ALICE}{key}"), "", Value::Null).await;
    assert_eq!(get("").await.ok(), json!({}));
    put("displayname", json!({ "displayname": "Alice" })).await.ok();
    put("org.example.x", json!({ "org.example.x": { "a": [1, null] } })).await.ok();
    assert_eq!(get("").await.ok(), json!({ "displayname": "Alice", "org.example.x": { "a": [1, null] } }));
    assert_eq!(get("/displayname").await.ok(), json!({ "displayname": "Alice" }));
    world.call("DELETE", &format!("{ALICE}/org.example.x"), &token, Value::Null).await.ok();
    get("/org.example.x").await.refused(404, "M_NOT_FOUND");
    put("displayname", json!({ "displayname": "" })).await.ok();
    assert_eq!(get("").await.ok(), json!({}));
}

#[tokio::test]
async fn bad_fields_are_refused() {
    let world = World::start();
    let token = world.register("alice").await;
    let put = async |key: &str, body: Value| world.call("PUT", &format!("{ALICE}/{key}"), &token, body).await;
    put("displayname", json!({ "displayname": 7 })).await.refused(400, "M_BAD_JSON");
    put("displayname", json!({ "name": "x" })).await.refused(400, "M_MISSING_PARAM");
    put("Upper", json!({ "Upper": 1 })).await.refused(400, "M_INVALID_PARAM");
    let long = "a".repeat(256);
    put(&long, json!({ &long: 1 })).await.refused(400, "M_KEY_TOO_LARGE");
    let large = "x".repeat(65_536);
    put("org.x", json!({ "org.x": large })).await.refused(400, "M_PROFILE_TOO_LARGE");
}

#[tokio::test]
async fn profiles_belong_to_their_users() {
    let world = World::start();
    let token = world.register("bob").await;
    world.register("alice").await;
    let body = json!({ "displayname": "Mallory" });
    let answer = world.call("PUT", &format!("{ALICE}/displayname"), &token, body).await;
    answer.refused(403, "M_FORBIDDEN");
    world.call("GET", "/profile/@nobody:test", "", Value::Null).await.refused(404, "M_NOT_FOUND");
    world.call("GET", "/profile/@alice:elsewhere", "", Value::Null).await.refused(404, "M_NOT_FOUND");
    world.call("GET", "/profile/nonsense", "", Value::Null).await.refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn a_new_name_is_left_to_the_room_server() {
    let world = World::start();
    let token = world.register("alice").await;
    let member = json!({ "content": { "membership": "join" } });
    world.users.lock().unwrap().members.insert("!r:test".to_owned(), member.to_string());
    let body = json!({ "displayname": "Alice" });
    world.call("PUT", &format!("{ALICE}/displayname"), &token, body).await.ok();
    assert!(world.users.lock().unwrap().intents.is_empty());
}
