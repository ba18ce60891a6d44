//! [Device management](https://spec.matrix.org/v1.19/server-server-api/#device-management),
//! [end-to-end encryption](https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption) and
//! [send-to-device messaging](https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging)

use serde_json::{Value, json};

use super::{
    peer::{Peer, Told},
    remote_room::{RemoteRoom, transacts},
};
use crate::{
    actor::User,
    client_server::keys::{crypto::Key, one_time_keys},
    server::Server,
    wait::eventually,
    wire::{Answer, Json as _, encoded},
};

tests![
    others_are_told_the_devices_of_a_user,
    others_are_told_keys,
    others_claim_each_key_once,
    users_of_other_servers_are_not_asked_for,
    keys_of_users_of_other_servers_are_asked_for,
    keys_of_others_are_claimed,
    a_server_that_is_away_is_a_failure,
    what_a_server_says_of_others_is_not_believed,
    messages_to_devices_come_from_other_servers_once,
    nobody_sends_messages_for_others,
    messages_go_to_devices_of_other_servers,
    changed_keys_of_others_are_told_to_room_mates,
    who_shares_no_room_is_not_followed,
    others_are_told_that_devices_change,
    others_are_told_that_cross_signing_keys_change,
];

async fn start(server: &Server) -> (User, Peer) {
    futures::join!(server.user("alice"), Peer::start(Told::Current))
}

async fn asks(server: &Server, peer: &Peer, uri: &str) -> Answer {
    let header = peer.signs("GET", uri, server.name(), None);
    server.federation().get(uri).header("authorization", &header).await
}

async fn posts(server: &Server, peer: &Peer, uri: &str, body: Value) -> Answer {
    let header = peer.signs("POST", uri, server.name(), Some(&body));
    server.federation().post(uri, body).header("authorization", &header).await
}

async fn tells(server: &Server, peer: &Peer, edu_type: &str, content: Value) -> Answer {
    let body = json!({ "pdus": [], "edus": [{ "edu_type": edu_type, "content": content }] });
    transacts(server, peer, &server.unique("txn"), body).await
}

/// The EDUs of a type that a peer was sent.
fn told(peer: &Peer, edu_type: &str) -> Vec<Value> {
    let transactions = peer.asked("PUT /_matrix/federation/v1/send/");
    let edus =
        transactions.iter().flat_map(|asked| asked.body["edus"].as_array().cloned().unwrap_or_default());
    edus.filter(|edu| edu["edu_type"] == edu_type).map(|edu| edu["content"].clone()).collect()
}

async fn others_are_told_the_devices_of_a_user(server: Server) {
    let (alice, peer) = start(&server).await;
    let keys = alice.publishes_keys(&Key::new()).await;
    let uri = format!("/_matrix/federation/v1/user/devices/{}", encoded(&alice.id));
    let answer = asks(&server, &peer, &uri).await.ok();
    assert_eq!(answer["user_id"], alice.id.as_str());
    assert!(answer["stream_id"].is_u64(), "{answer}");
    let devices = answer["devices"].as_array().expect("a list");
    assert_eq!(devices.len(), 1, "{answer}");
    assert_eq!(devices[0]["device_id"], alice.device.as_str());
    assert_eq!(devices[0]["keys"]["keys"], keys["keys"]);
    assert_eq!(devices[0]["keys"]["signatures"], keys["signatures"]);
    let before = answer["stream_id"].as_u64();
    alice.publishes_keys(&Key::new()).await;
    let answer = asks(&server, &peer, &uri).await.ok();
    assert!(answer["stream_id"].as_u64() > before, "{answer}");
}

async fn others_are_told_keys(server: Server) {
    let (alice, peer) = start(&server).await;
    let keys = alice.publishes_keys(&Key::new()).await;
    let body = json!({ "device_keys": { &alice.id: [] } });
    let answer = posts(&server, &peer, "/_matrix/federation/v1/user/keys/query", body).await.ok();
    assert_eq!(answer["device_keys"][&alice.id][&alice.device]["keys"], keys["keys"], "{answer}");
    let body = json!({ "device_keys": { &alice.id: ["NONE"] } });
    let answer = posts(&server, &peer, "/_matrix/federation/v1/user/keys/query", body).await.ok();
    let devices = answer["device_keys"].get(&alice.id).and_then(Value::as_object);
    assert!(devices.is_none_or(serde_json::Map::is_empty), "{answer}");
    let body = json!({ "device_keys": [] });
    let answer = posts(&server, &peer, "/_matrix/federation/v1/user/keys/query", body).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn others_claim_each_key_once(server: Server) {
    let (alice, peer) = start(&server).await;
    let key = Key::new();
    alice.publishes_keys(&key).await;
    let keys = one_time_keys(&alice, &key, &["AAAAAA".to_owned()]);
    alice.uploads("one_time_keys", keys.clone()).await.ok();
    let body = json!({ "one_time_keys": { &alice.id: { &alice.device: "signed_curve25519" } } });
    let claim = || posts(&server, &peer, "/_matrix/federation/v1/user/keys/claim", body.clone());
    let answer = claim().await.ok();
    let given = &answer["one_time_keys"][&alice.id][&alice.device]["signed_curve25519:AAAAAA"];
    assert_eq!(given["key"], keys["signed_curve25519:AAAAAA"]["key"], "{answer}");
    let answer = claim().await.ok();
    let given = answer["one_time_keys"].get(&alice.id).and_then(|user| user.get(&alice.device));
    assert!(given.and_then(Value::as_object).is_none_or(serde_json::Map::is_empty), "{answer}");
}

async fn users_of_other_servers_are_not_asked_for(server: Server) {
    let (_, peer) = start(&server).await;
    let user = format!("@bob:{}", peer.name);
    let uri = format!("/_matrix/federation/v1/user/devices/{}", encoded(&user));
    let answer = asks(&server, &peer, &uri).await;
    assert!((400..500).contains(&answer.status), "{answer}");
}

/// Keys of a device of a user of a peer.
fn remote_keys(user: &str) -> Value {
    let key = Key::new();
    let mut keys = json!({
        "user_id": user, "device_id": "REMOTE", "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": { "ed25519:REMOTE": key.public(), "curve25519:REMOTE": Key::new().public() },
    });
    key.sign(&mut keys, user, "REMOTE");
    keys
}

async fn keys_of_users_of_other_servers_are_asked_for(server: Server) {
    let (alice, peer) = start(&server).await;
    let user = format!("@bob:{}", peer.name);
    let keys = remote_keys(&user);
    let answer = json!({ "device_keys": { &user: { "REMOTE": keys } } });
    peer.answers("POST /_matrix/federation/v1/user/keys/query", 200, answer);
    let answer = alice.post("/keys/query", json!({ "device_keys": { &user: [] } })).await.ok();
    assert_eq!(answer["device_keys"][&user]["REMOTE"]["keys"], keys["keys"], "{answer}");
    assert_eq!(answer["failures"], json!({}), "{answer}");
}

async fn keys_of_others_are_claimed(server: Server) {
    let (alice, peer) = start(&server).await;
    let user = format!("@bob:{}", peer.name);
    let mut key = json!({ "key": Key::new().public() });
    Key::new().sign(&mut key, &user, "REMOTE");
    let given = json!({ "one_time_keys": { &user: { "REMOTE": { "signed_curve25519:AAAAAA": key } } } });
    peer.answers("POST /_matrix/federation/v1/user/keys/claim", 200, given);
    let body = json!({ "one_time_keys": { &user: { "REMOTE": "signed_curve25519" } } });
    let answer = alice.post("/keys/claim", body.clone()).await.ok();
    assert_eq!(answer["one_time_keys"][&user]["REMOTE"]["signed_curve25519:AAAAAA"]["key"], key["key"]);
    let asked = peer.asked("POST /_matrix/federation/v1/user/keys/claim");
    assert_eq!(asked[0].body["one_time_keys"], body["one_time_keys"]);
}

async fn a_server_that_is_away_is_a_failure(server: Server) {
    let alice = server.user("alice").await;
    let user = "@bob:127.0.0.1:1";
    let answer =
        alice.post("/keys/query", json!({ "device_keys": { user: [] }, "timeout": 5000 })).await.ok();
    assert!(answer["failures"].get("127.0.0.1:1").is_some(), "{answer}");
    let body = json!({ "one_time_keys": { user: { "REMOTE": "signed_curve25519" } }, "timeout": 5000 });
    let answer = alice.post("/keys/claim", body).await.ok();
    assert!(answer["failures"].get("127.0.0.1:1").is_some(), "{answer}");
}

async fn what_a_server_says_of_others_is_not_believed(server: Server) {
    let (alice, peer) = start(&server).await;
    let (user, other) = (format!("@bob:{}", peer.name), "@carol:elsewhere.test");
    let answer = json!({ "device_keys": {
        &user: { "REMOTE": remote_keys(&user) }, other: { "REMOTE": remote_keys(other) },
        &alice.id: { "REMOTE": remote_keys(&alice.id) },
    } });
    peer.answers("POST /_matrix/federation/v1/user/keys/query", 200, answer);
    let answer = alice.post("/keys/query", json!({ "device_keys": { &user: [] } })).await.ok();
    let users: Vec<&String> = answer["device_keys"].as_object().expect("an object").keys().collect();
    assert_eq!(users, [&user]);
}

fn message(user: &str, alice: &User, id: &str) -> Value {
    json!({
        "sender": user, "type": "m.test", "message_id": id,
        "messages": { &alice.id: { &alice.device: { "id": id } } },
    })
}

/// Messages to a device up to the one with an ID.
async fn messages_until(alice: &User, since: &str, last: &str) -> Vec<Value> {
    let mut since = since.to_owned();
    let mut messages = Vec::new();
    for _ in 0..20 {
        let answer = alice.syncs_since(&since).query("timeout", 1000).await.ok();
        messages.extend(answer["to_device"]["events"].as_array().cloned().unwrap_or_default());
        if messages.iter().any(|message| message["content"]["id"] == last) {
            return messages;
        }
        since = answer.text("/next_batch");
    }
    panic!("{last} did not arrive; {messages:?} did")
}

async fn messages_to_devices_come_from_other_servers_once(server: Server) {
    let (alice, peer) = start(&server).await;
    let user = format!("@bob:{}", peer.name);
    let since = alice.sync_token().await;
    for id in ["one", "two", "one", "three"] {
        tells(&server, &peer, "m.direct_to_device", message(&user, &alice, id)).await.ok();
    }
    let messages = messages_until(&alice, &since, "three").await;
    let ids: Vec<&Value> = messages.iter().map(|message| &message["content"]["id"]).collect();
    assert_eq!(ids, ["one", "two", "three"]);
    assert!(
        messages.iter().all(|it| it["sender"] == user.as_str() && it["type"] == "m.test"),
        "{messages:?}"
    );
}

async fn nobody_sends_messages_for_others(server: Server) {
    let (alice, peer) = start(&server).await;
    let since = alice.sync_token().await;
    tells(&server, &peer, "m.direct_to_device", message("@bob:elsewhere.test", &alice, "forged")).await.ok();
    let user = format!("@bob:{}", peer.name);
    tells(&server, &peer, "m.direct_to_device", message(&user, &alice, "last")).await.ok();
    assert_eq!(messages_until(&alice, &since, "last").await.len(), 1);
}

async fn messages_go_to_devices_of_other_servers(server: Server) {
    let (alice, peer) = start(&server).await;
    let user = format!("@bob:{}", peer.name);
    for number in 0..3 {
        let body = json!({ "messages": { &user: { "REMOTE": { "number": number }, "*": { "all": true } } } });
        let path = format!("/sendToDevice/m.test/{}", server.unique("txn"));
        alice.put(path.as_str(), body).await.ok();
    }
    eventually("the messages", || async { told(&peer, "m.direct_to_device").len() }, |count| *count >= 3)
        .await;
    let edus = told(&peer, "m.direct_to_device");
    for (number, edu) in edus.iter().enumerate() {
        assert_eq!((&edu["sender"], &edu["type"]), (&json!(alice.id), &json!("m.test")));
        let id = edu["message_id"].as_str().expect("a string");
        assert!(!id.is_empty() && id.chars().count() <= 32, "{edu}");
        assert_eq!(edu["messages"][&user]["REMOTE"], json!({ "number": number }));
        assert_eq!(edu["messages"][&user]["*"], json!({ "all": true }));
    }
}

async fn changed_keys_of_others_are_told_to_room_mates(server: Server) {
    let (alice, peer) = start(&server).await;
    let remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let keys = remote_keys(&remote.user);
    let devices = json!({
        "user_id": remote.user, "stream_id": 5, "devices": [{ "device_id": "REMOTE", "keys": keys }],
    });
    peer.answers("GET /_matrix/federation/v1/user/devices/", 200, devices);
    let answer = json!({ "device_keys": { &remote.user: { "REMOTE": keys } } });
    peer.answers("POST /_matrix/federation/v1/user/keys/query", 200, answer);
    let since = alice.sync_token().await;
    let change = json!({
        "user_id": remote.user, "device_id": "REMOTE", "stream_id": 5, "prev_id": [], "keys": keys,
    });
    tells(&server, &peer, "m.device_list_update", change).await.ok();
    let changed = |answer: &Value| {
        let users = answer["device_lists"]["changed"].as_array().cloned().unwrap_or_default();
        users.contains(&json!(remote.user))
    };
    alice.syncs_until(&since, "the change", changed).await;
    let answer = alice.post("/keys/query", json!({ "device_keys": { &remote.user: [] } })).await.ok();
    assert_eq!(answer["device_keys"][&remote.user]["REMOTE"]["keys"], keys["keys"], "{answer}");
}

async fn who_shares_no_room_is_not_followed(server: Server) {
    let (alice, peer) = start(&server).await;
    let user = format!("@bob:{}", peer.name);
    let since = alice.sync_token().await;
    let change = json!({ "user_id": user, "device_id": "REMOTE", "stream_id": 5, "prev_id": [] });
    tells(&server, &peer, "m.device_list_update", change).await.ok();
    tells(&server, &peer, "m.direct_to_device", message(&user, &alice, "last")).await.ok();
    messages_until(&alice, &since, "last").await;
    let answer = alice.syncs_since(&since).await.ok();
    let changed = answer["device_lists"]["changed"].as_array().cloned().unwrap_or_default();
    assert!(!changed.contains(&json!(user)), "{answer}");
}

async fn others_are_told_that_devices_change(server: Server) {
    let (alice, peer) = start(&server).await;
    let _remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let keys = alice.publishes_keys(&Key::new()).await;
    let of_alice = || {
        let edus = told(&peer, "m.device_list_update").into_iter();
        edus.filter(|edu| edu["user_id"] == alice.id.as_str()).collect::<Vec<_>>()
    };
    let has_keys = |edu: &Value| edu["keys"]["keys"] == keys["keys"];
    let any_has_keys = |edus: &Value| edus.as_array().into_iter().flatten().any(has_keys);
    eventually("the keys", || async { json!(of_alice()) }, any_has_keys).await;
    alice.publishes_keys(&Key::new()).await;
    let before = of_alice().len();
    eventually("other keys", || async { of_alice().len() }, |count| *count > before).await;
    let edus = of_alice();
    for pair in edus.windows(2) {
        let (earlier, later) = (&pair[0], &pair[1]);
        assert!(later["stream_id"].as_u64() >= earlier["stream_id"].as_u64(), "{edus:?}");
    }
    // What comes next follows on what was told.
    let last = edus.last().expect("there are some");
    let stream_ids: Vec<&Value> = edus.iter().map(|edu| &edu["stream_id"]).collect();
    let previous = last["prev_id"].as_array().expect("a list");
    assert!(!previous.is_empty() && previous.iter().all(|id| stream_ids.contains(&id)), "{edus:?}");
    assert_eq!(last["device_id"], alice.device.as_str());
}

async fn others_are_told_that_cross_signing_keys_change(server: Server) {
    let (alice, peer) = start(&server).await;
    let _remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let key = Key::new();
    let mut master = json!({
        "user_id": alice.id, "usage": ["master"], "keys": { (format!("ed25519:{}", key.public())): key.public() },
    });
    key.sign(&mut master, &alice.id, &key.public());
    alice.post("/keys/device_signing/upload", json!({ "master_key": master })).await.ok();
    let has_key = |edus: &Value| {
        edus.as_array()
            .into_iter()
            .flatten()
            .any(|edu| edu["user_id"] == alice.id.as_str() && edu["master_key"]["keys"] == master["keys"])
    };
    eventually("the key", || async { json!(told(&peer, "m.signing_key_update")) }, has_key).await;
    let body = json!({ "device_keys": { &alice.id: [] } });
    let answer = posts(&server, &peer, "/_matrix/federation/v1/user/keys/query", body).await.ok();
    assert_eq!(answer["master_keys"][&alice.id]["keys"], master["keys"], "{answer}");
    // These are for the user alone.
    let private = answer.get("user_signing_keys").and_then(Value::as_object);
    assert!(private.is_none_or(serde_json::Map::is_empty), "{answer}");
}
