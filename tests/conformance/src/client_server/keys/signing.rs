//! [Cross-signing](https://spec.matrix.org/v1.19/client-server-api/#cross-signing)

use serde_json::{Value, json};

use super::crypto::Key;
use crate::{actor::User, server::Server, wire::Json as _};

tests![
    the_first_keys_need_no_password,
    the_same_keys_need_no_password,
    other_keys_need_the_password,
    keys_that_the_master_key_did_not_sign_are_refused,
    keys_without_a_master_key_are_refused,
    master_keys_are_shown_to_all_and_user_signing_keys_to_their_user,
    a_signed_device_is_shown_signed,
    a_wrong_signature_is_refused,
    a_signature_on_a_changed_key_is_refused,
    a_signature_on_an_unknown_key_is_refused,
    a_signature_on_the_key_of_somebody_else_is_shown_to_who_made_it,
    hostile_bodies_are_refused,
];

/// Cross-signing keys of a user.
struct Keys {
    master: Key,
    self_signing: Key,
    user_signing: Key,
}

impl Keys {
    fn new() -> Self {
        Self { master: Key::new(), self_signing: Key::new(), user_signing: Key::new() }
    }

    fn body(&self, user: &User) -> Value {
        let by_master = |key: &Key, usage| {
            let mut object = key.cross_signing(user, usage);
            self.master.sign(&mut object, &user.id, &self.master.public());
            object
        };
        json!({
            "master_key": self.master.cross_signing(user, "master"),
            "self_signing_key": by_master(&self.self_signing, "self_signing"),
            "user_signing_key": by_master(&self.user_signing, "user_signing"),
        })
    }

    async fn of(user: &User) -> Self {
        let keys = Self::new();
        user.post("/keys/device_signing/upload", keys.body(user)).await.ok();
        keys
    }
}

async fn signs(user: &User, of: &str, key: &str, object: &Value) -> Value {
    let mut body = json!({});
    body[of][key] = object.clone();
    user.post("/keys/signatures/upload", body).await.ok()["failures"].clone()
}

async fn the_first_keys_need_no_password(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.post("/keys/device_signing/upload", Keys::new().body(&alice)).await;
    assert_eq!(answer.ok(), json!({}));
}

async fn the_same_keys_need_no_password(server: Server) {
    let alice = server.user("alice").await;
    let keys = Keys::of(&alice).await;
    alice.post("/keys/device_signing/upload", keys.body(&alice)).await.ok();
}

async fn other_keys_need_the_password(server: Server) {
    let (alice, bob) = server.pair().await;
    let old = Keys::of(&alice).await;
    let new = Keys::new();
    let request = alice.post("/keys/device_signing/upload", new.body(&alice));
    let refused = request.clone().await;
    assert_eq!(refused.status, 401, "{refused}");
    let shown = bob.asks_for_keys_of(&alice).await;
    assert!(shown["master_keys"][&alice.id]["keys"].to_string().contains(&old.master.public()), "{shown}");
    alice.confirms(request).await.ok();
    let shown = bob.asks_for_keys_of(&alice).await;
    assert!(shown["master_keys"][&alice.id]["keys"].to_string().contains(&new.master.public()), "{shown}");
    assert!(!shown.to_string().contains(&old.self_signing.public()), "{shown}");
}

async fn keys_that_the_master_key_did_not_sign_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let keys = Keys::new();
    let mut body = keys.body(&alice);
    let mut forged = keys.self_signing.cross_signing(&alice, "self_signing");
    Key::new().sign(&mut forged, &alice.id, &keys.master.public());
    body["self_signing_key"] = forged;
    alice.post("/keys/device_signing/upload", body).await.refused(400, "M_INVALID_SIGNATURE");
    let shown = alice.asks_for_keys_of(&alice).await;
    assert!(!shown["master_keys"].has(&format!("/{}", alice.id)), "{shown}");
}

async fn keys_without_a_master_key_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let mut body = Keys::new().body(&alice);
    body.as_object_mut().expect("a body is an object").remove("master_key");
    let answer = alice.post("/keys/device_signing/upload", body).await;
    assert_eq!(answer.status, 400, "{answer}");
}

async fn master_keys_are_shown_to_all_and_user_signing_keys_to_their_user(server: Server) {
    let (alice, bob) = server.pair().await;
    Keys::of(&alice).await;
    let own = alice.asks_for_keys_of(&alice).await;
    for kind in ["master_keys", "self_signing_keys", "user_signing_keys"] {
        assert_eq!(own[kind][&alice.id]["user_id"], alice.id.as_str(), "{kind} in {own}");
    }
    let others = bob.asks_for_keys_of(&alice).await;
    for kind in ["master_keys", "self_signing_keys"] {
        assert_eq!(others[kind][&alice.id], own[kind][&alice.id], "{kind}");
    }
    assert!(others["user_signing_keys"][&alice.id].is_null(), "{others}");
}

async fn a_signed_device_is_shown_signed(server: Server) {
    let (alice, bob) = server.pair().await;
    let mut device = alice.publishes_keys(&Key::new()).await;
    let keys = Keys::of(&alice).await;
    keys.self_signing.sign(&mut device, &alice.id, &keys.self_signing.public());
    assert_eq!(signs(&alice, &alice.id, &alice.device, &device).await, json!({}));
    let shown = bob.asks_for_keys_of(&alice).await;
    assert_eq!(shown["device_keys"][&alice.id][&alice.device]["signatures"], device["signatures"]);
}

async fn a_wrong_signature_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let mut device = alice.publishes_keys(&Key::new()).await;
    let keys = Keys::of(&alice).await;
    // By another key, under the name of the right one.
    Key::new().sign(&mut device, &alice.id, &keys.self_signing.public());
    let failures = signs(&alice, &alice.id, &alice.device, &device).await;
    assert_eq!(failures[&alice.id][&alice.device]["errcode"], "M_INVALID_SIGNATURE");
    let shown = alice.asks_for_keys_of(&alice).await;
    let signatures = shown["device_keys"][&alice.id][&alice.device]["signatures"][&alice.id].as_object();
    assert_eq!(signatures.expect("the device has signed").len(), 1, "{shown}");
}

async fn a_signature_on_a_changed_key_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let mut device = alice.publishes_keys(&Key::new()).await;
    let keys = Keys::of(&alice).await;
    device["algorithms"] = json!(["org.example.other"]);
    keys.self_signing.sign(&mut device, &alice.id, &keys.self_signing.public());
    let failures = signs(&alice, &alice.id, &alice.device, &device).await;
    assert!(failures[&alice.id][&alice.device]["errcode"].is_string(), "{failures}");
}

async fn a_signature_on_an_unknown_key_is_refused(server: Server) {
    let alice = server.user("alice").await;
    alice.publishes_keys(&Key::new()).await;
    let keys = Keys::of(&alice).await;
    let mut unknown = json!({
        "user_id": alice.id, "device_id": "UNKNOWN", "algorithms": [], "keys": {},
    });
    keys.self_signing.sign(&mut unknown, &alice.id, &keys.self_signing.public());
    let failures = signs(&alice, &alice.id, "UNKNOWN", &unknown).await;
    assert_eq!(failures[&alice.id]["UNKNOWN"]["errcode"], "M_NOT_FOUND");
}

async fn a_signature_on_the_key_of_somebody_else_is_shown_to_who_made_it(server: Server) {
    let (alice, bob) = server.pair().await;
    let carol = server.user("carol").await;
    let (of_alice, of_bob) = (Keys::of(&alice).await, Keys::of(&bob).await);
    let mut master = of_bob.master.cross_signing(&bob, "master");
    let signer = of_alice.user_signing.public();
    of_alice.user_signing.sign(&mut master, &alice.id, &signer);
    assert_eq!(signs(&alice, &bob.id, &of_bob.master.public(), &master).await, json!({}));
    let by_alice = |shown: &Value| {
        shown["master_keys"][&bob.id]["signatures"][&alice.id][format!("ed25519:{signer}")].is_string()
    };
    assert!(by_alice(&alice.asks_for_keys_of(&bob).await));
    for other in [&bob, &carol] {
        assert!(!by_alice(&other.asks_for_keys_of(&bob).await), "{} sees it", other.name);
    }
}

async fn hostile_bodies_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let keys = Keys::new();
    let good = keys.body(&alice);
    let with = |path: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(path).expect("it is there") = value;
        body
    };
    for body in [
        with("/master_key", json!([])),
        with("/master_key/user_id", json!("@somebody:else.example")),
        with("/master_key/usage", json!("master")),
        with("/master_key/keys", json!({})),
        with("/master_key/keys", json!([])),
    ] {
        let answer = alice.post("/keys/device_signing/upload", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer}");
    }
    let shown = alice.asks_for_keys_of(&alice).await;
    assert!(!shown["master_keys"].has(&format!("/{}", alice.id)), "{shown}");
}
