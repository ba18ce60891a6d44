//! Devices, passwords, and what guards them.

use serde_json::{Value, json};

use crate::world::{World, password_auth};

/// Registers alice and logs her in once more, as the device `B`.
async fn two_devices(world: &World) -> (String, String) {
    let first = world.register("alice").await;
    let mut body = password_auth("alice", "pw");
    body["device_id"] = json!("B");
    let login = world.call("POST", "/login", "", body).await.ok();
    (first, login["access_token"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn logging_out_ends_one_session_or_all() {
    let world = World::start();
    let (first, second) = two_devices(&world).await;
    world.call("POST", "/logout", &second, Value::Null).await.ok();
    world.call("GET", "/account/whoami", &second, Value::Null).await.refused(401, "M_UNKNOWN_TOKEN");
    world.call("POST", "/logout/all", &first, json!({})).await.ok();
    world.call("GET", "/account/whoami", &first, Value::Null).await.refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn devices_are_listed_and_renamed() {
    let world = World::start();
    let (first, _) = two_devices(&world).await;
    let devices = world.call("GET", "/devices", &first, Value::Null).await.ok();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 2);
    world.call("PUT", "/devices/B", &first, json!({ "display_name": "phone" })).await.ok();
    let device = world.call("GET", "/devices/B", &first, Value::Null).await.ok();
    assert_eq!((&device["device_id"], &device["display_name"]), (&json!("B"), &json!("phone")));
    world.call("GET", "/devices/C", &first, Value::Null).await.refused(404, "M_NOT_FOUND");
    world.call("PUT", "/devices/C", &first, json!({ "display_name": "x" })).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn deleting_devices_takes_the_password() {
    let world = World::start();
    let (first, second) = two_devices(&world).await;
    let challenge = world.call("DELETE", "/devices/B", &first, Value::Null).await;
    assert_eq!(challenge.status, 401);
    assert_eq!(challenge.body["flows"], json!([{ "stages": ["m.login.password"] }]));
    let mut auth = password_auth("alice", "wrong");
    auth["session"] = challenge.body["session"].clone();
    let refused = world.call("DELETE", "/devices/B", &first, json!({ "auth": auth })).await;
    assert_eq!(refused.refused(401, "M_FORBIDDEN")["session"], challenge.body["session"]);
    auth["password"] = json!("pw");
    // The session is good for this device alone.
    let other = world.call("DELETE", "/devices/A", &first, json!({ "auth": auth })).await;
    other.refused(403, "M_FORBIDDEN");
    world.call("DELETE", "/devices/B", &first, json!({ "auth": auth })).await.ok();
    world.call("GET", "/account/whoami", &second, Value::Null).await.refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_session_is_bound_to_its_request() {
    let world = World::start();
    let (first, _) = two_devices(&world).await;
    let challenge = world.call("POST", "/delete_devices", &first, json!({ "devices": ["B"] })).await;
    let mut auth = password_auth("alice", "pw");
    auth["session"] = challenge.body["session"].clone();
    let changed = json!({ "devices": ["A", "B"], "auth": auth });
    world.call("POST", "/delete_devices", &first, changed).await.refused(403, "M_FORBIDDEN");
    let same = json!({ "devices": ["B"], "auth": auth });
    world.call("POST", "/delete_devices", &first, same.clone()).await.ok();
    // And good once.
    assert_eq!(world.call("POST", "/delete_devices", &first, same).await.status, 401);
    let devices = world.call("GET", "/devices", &first, Value::Null).await.ok();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_password_of_another_user_proves_nothing() {
    let world = World::start();
    let token = world.register("alice").await;
    world.register("bob").await;
    let body = json!({ "devices": ["B"], "auth": password_auth("bob", "pw") });
    world.call("POST", "/delete_devices", &token, body).await.refused(403, "M_FORBIDDEN");
    let body = json!({ "devices": ["B"], "auth": { "type": "m.login.dummy" } });
    world.call("POST", "/delete_devices", &token, body).await.refused(401, "M_UNRECOGNIZED");
    let body = json!({ "devices": ["B"], "auth": 7 });
    world.call("POST", "/delete_devices", &token, body).await.refused(400, "M_BAD_JSON");
}

#[tokio::test]
async fn a_new_password_logs_the_others_out_unless_told_not_to() {
    let world = World::start();
    let (first, second) = two_devices(&world).await;
    let change = |new: &str, old: &str, logout: bool| json!({ "new_password": new, "logout_devices": logout, "auth": password_auth("alice", old) });
    world.call("POST", "/account/password", &first, change("pw2", "pw", false)).await.ok();
    world.call("GET", "/account/whoami", &second, Value::Null).await.ok();
    world.call("POST", "/account/password", &first, change("pw3", "pw2", true)).await.ok();
    world.call("GET", "/account/whoami", &second, Value::Null).await.refused(401, "M_UNKNOWN_TOKEN");
    world.call("GET", "/account/whoami", &first, Value::Null).await.ok();
    world.call("POST", "/login", "", password_auth("alice", "pw")).await.refused(403, "M_FORBIDDEN");
    world.call("POST", "/login", "", password_auth("alice", "pw3")).await.ok();
}
