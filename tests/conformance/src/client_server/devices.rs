//! [Device management](https://spec.matrix.org/v1.19/client-server-api/#device-management)

use serde_json::json;

use crate::{server::Server, wire::Json as _};

tests![
    every_session_is_a_device,
    a_device_is_read,
    an_unknown_device_is_not_found,
    the_device_of_somebody_else_is_not_found,
    a_device_gets_a_name,
    the_device_of_somebody_else_gets_no_name,
    deleting_a_device_asks_for_the_password,
    a_deleted_device_is_logged_out,
    the_wrong_password_deletes_nothing,
    the_password_of_somebody_else_deletes_nothing,
    many_devices_are_deleted_at_once,
    devices_of_somebody_else_are_not_deleted,
    a_login_with_a_known_device_takes_its_place,
];

async fn every_session_is_a_device(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let answer = alice.get("/devices").await.ok();
    let mut ids: Vec<_> = answer.list("/devices").iter().map(|device| device.text("/device_id")).collect();
    ids.sort();
    let mut wanted = [alice.device, phone.device];
    wanted.sort();
    assert_eq!(ids, wanted);
}

async fn a_device_is_read(server: Server) {
    let alice = server.user("alice").await;
    let device = alice.get(path!("/devices/{}", alice.device)).await.ok();
    assert_eq!(device["device_id"], alice.device);
}

async fn an_unknown_device_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    alice.get("/devices/UNKNOWN").await.refused(404, "M_NOT_FOUND");
    let name = json!({ "display_name": "x" });
    alice.put("/devices/UNKNOWN", name).await.refused(404, "M_NOT_FOUND");
}

async fn the_device_of_somebody_else_is_not_found(server: Server) {
    let (alice, bob) = server.pair().await;
    bob.get(path!("/devices/{}", alice.device)).await.refused(404, "M_NOT_FOUND");
}

async fn a_device_gets_a_name(server: Server) {
    let alice = server.user("alice").await;
    let path = path!("/devices/{}", alice.device);
    assert_eq!(alice.put(path.clone(), json!({ "display_name": "Phone" })).await.ok(), json!({}));
    assert_eq!(alice.get(path.clone()).await.ok()["display_name"], "Phone");
    // What is not given stays as it is.
    alice.put(path.clone(), json!({})).await.ok();
    assert_eq!(alice.get(path).await.ok()["display_name"], "Phone");
}

async fn the_device_of_somebody_else_gets_no_name(server: Server) {
    let (alice, bob) = server.pair().await;
    let path = path!("/devices/{}", alice.device);
    bob.put(path.clone(), json!({ "display_name": "Bob's" })).await.refused(404, "M_NOT_FOUND");
    assert_ne!(alice.get(path).await.ok()["display_name"], "Bob's");
}

async fn deleting_a_device_asks_for_the_password(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let answer = alice.delete(path!("/devices/{}", phone.device)).json(json!({})).await;
    assert_eq!(answer.status, 401, "{answer}");
    assert!(!answer.body.text("/session").is_empty());
    assert!(!answer.body.list("/flows").is_empty());
    phone.asks_who_they_are().await.ok();
}

async fn a_deleted_device_is_logged_out(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let path = path!("/devices/{}", phone.device);
    let answer = alice.confirms(alice.delete(path.clone())).await;
    assert_eq!(answer.ok(), json!({}));
    phone.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
    alice.get(path).await.refused(404, "M_NOT_FOUND");
}

async fn the_wrong_password_deletes_nothing(server: Server) {
    let alice = server.user("alice").await;
    let phone = alice.logs_in().await;
    let mut other = alice.clone();
    "wrong".clone_into(&mut other.password);
    let path = path!("/devices/{}", phone.device);
    let answer = other.confirms(alice.delete(path.clone())).await;
    answer.refused(401, "M_FORBIDDEN");
    phone.asks_who_they_are().await.ok();
}

async fn the_password_of_somebody_else_deletes_nothing(server: Server) {
    let (alice, bob) = server.pair().await;
    let phone = alice.logs_in().await;
    let path = path!("/devices/{}", phone.device);
    let answer = bob.confirms(alice.delete(path.clone())).await;
    assert!([401, 403].contains(&answer.status), "{answer}");
    phone.asks_who_they_are().await.ok();
}

async fn many_devices_are_deleted_at_once(server: Server) {
    let alice = server.user("alice").await;
    let (phone, tablet) = (alice.logs_in().await, alice.logs_in().await);
    let devices = json!([phone.device, tablet.device]);
    let answer = alice.confirms(alice.post("/delete_devices", json!({ "devices": devices })));
    assert_eq!(answer.await.ok(), json!({}));
    phone.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
    tablet.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
    alice.asks_who_they_are().await.ok();
}

async fn devices_of_somebody_else_are_not_deleted(server: Server) {
    let (alice, bob) = server.pair().await;
    let devices = json!([alice.device]);
    let answer = bob.confirms(bob.post("/delete_devices", json!({ "devices": devices })));
    // Whether the request is refused is left open.
    let answer = answer.await;
    assert!(answer.status < 500, "{answer}");
    alice.asks_who_they_are().await.ok();
}

async fn a_login_with_a_known_device_takes_its_place(server: Server) {
    let alice = server.user("alice").await;
    let mut body = alice.login();
    body["device_id"] = json!(alice.device);
    let answer = server.anybody().post("/login", body).await.ok();
    assert_eq!(answer["device_id"], alice.device);
    // The token that the device had before is no longer good.
    alice.asks_who_they_are().await.refused(401, "M_UNKNOWN_TOKEN");
}
