//! [Third-party invites](https://spec.matrix.org/v1.19/client-server-api/#third-party-invites), as far as they go without
//! an identity server.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::{
    actor::{Room, User},
    server::Server,
    wire::{Json as _, Request},
};

tests![
    an_invite_needs_an_identity_server,
    an_invite_by_who_is_not_in_the_room_is_forbidden,
    an_invite_needs_all_its_parts,
    who_proves_to_be_meant_joins,
    who_proves_nothing_does_not_join,
    a_proof_is_for_one_user,
    an_invite_that_was_taken_back_lets_nobody_in,
];

fn invites(user: &User, room: &Room) -> Request {
    let body = json!({
        "id_server": "identity.invalid", "id_access_token": "abc", "medium": "email", "address": "bob@example.org",
    });
    user.post(path!("/rooms/{}/invite", room), body)
}

async fn an_invite_needs_an_identity_server(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let answer = invites(&alice, &room).await;
    assert!((400..500).contains(&answer.status), "{answer}");
    assert!(!answer.errcode().is_empty(), "{answer}");
    let state = alice.reads_all_state(&room).await.ok();
    assert!(!state.to_string().contains("m.room.third_party_invite"), "{state}");
}

async fn an_invite_by_who_is_not_in_the_room_is_forbidden(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    invites(&bob, &room).await.refused(403, "M_FORBIDDEN");
}

async fn an_invite_needs_all_its_parts(server: Server) {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    for missing in ["id_server", "id_access_token", "medium", "address"] {
        let mut body =
            json!({ "id_server": "x.invalid", "id_access_token": "a", "medium": "email", "address": "b" });
        body.as_object_mut().expect("an object").remove(missing);
        let answer = alice.post(path!("/rooms/{}/invite", room), body).await;
        assert!((400..500).contains(&answer.status), "{missing}: {answer}");
    }
}

/// An identity server, as far as rooms see it: its key.
struct IdentityServer(SigningKey);

impl IdentityServer {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    fn public_key(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.verifying_key().as_bytes())
    }

    /// What it signs for who has bound the identifier.
    fn signs(&self, sender: &User, invitee: &User, token: &str) -> Value {
        // Keys are in order, as canonical JSON wants it.
        let signed = json!({ "mxid": invitee.id, "sender": sender.id, "token": token });
        let signature = STANDARD_NO_PAD.encode(self.0.sign(signed.to_string().as_bytes()).to_bytes());
        let mut signed = signed;
        signed["signatures"] = json!({ "identity.invalid": { "ed25519:0": signature } });
        signed
    }
}

/// Sends the event that an identity server would have had the server send.
async fn expects(alice: &User, room: &Room, key: &str, token: &str) {
    // Nobody can ask whether the key is still valid.
    let content = json!({
        "display_name": "b...@e...", "public_key": key, "public_keys": [{ "public_key": key }],
    });
    alice.sets_state(room, "m.room.third_party_invite", token, content).await.ok();
}

fn joins(user: &User, room: &Room, signed: Value) -> Request {
    user.joins(room).with("third_party_signed", signed)
}

async fn who_proves_to_be_meant_joins(server: Server) {
    let (alice, bob) = server.pair().await;
    let identity = IdentityServer::new(1);
    for version in ["10", "12"] {
        let room = alice.creates_room().with("room_version", json!(version)).await;
        expects(&alice, &room, &identity.public_key(), "token").await;
        joins(&bob, &room, identity.signs(&alice, &bob, "token")).await.ok();
        assert_eq!(alice.reads_membership(&room, &bob).await, "join");
        // Before that, it has invited him.
        let messages = alice.reads_messages(&room).query("limit", 10).await.ok();
        let invite = messages.list("/chunk").iter().find(|event| event["content"]["membership"] == "invite");
        let invite = invite.expect("the invite");
        assert_eq!((&invite["sender"], &invite["state_key"]), (&json!(alice.id), &json!(bob.id)));
        assert_eq!(invite["content"]["third_party_invite"]["display_name"], "b...@e...", "{invite}");
        assert_eq!(invite["content"]["third_party_invite"]["signed"]["token"], "token", "{invite}");
    }
}

async fn who_proves_nothing_does_not_join(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    expects(&alice, &room, &IdentityServer::new(1).public_key(), "token").await;
    // Signed by somebody else.
    joins(&bob, &room, IdentityServer::new(2).signs(&alice, &bob, "token")).await.refused(403, "M_FORBIDDEN");
    // Of an invite that there is not.
    let other = IdentityServer::new(1).signs(&alice, &bob, "other");
    joins(&bob, &room, other).await.refused(403, "M_FORBIDDEN");
    // Changed after it was signed.
    let mut changed = IdentityServer::new(1).signs(&alice, &bob, "token");
    changed["org.example.more"] = json!(true);
    joins(&bob, &room, changed).await.refused(403, "M_FORBIDDEN");
    joins(&bob, &room, json!({ "token": 1 }))
        .await
        .refused_as(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
}

async fn a_proof_is_for_one_user(server: Server) {
    let (alice, bob, carl) = server.trio().await;
    let room = alice.creates_room().await;
    let identity = IdentityServer::new(1);
    expects(&alice, &room, &identity.public_key(), "token").await;
    joins(&carl, &room, identity.signs(&alice, &bob, "token")).await.refused(403, "M_FORBIDDEN");
}

async fn an_invite_that_was_taken_back_lets_nobody_in(server: Server) {
    let (alice, bob) = server.pair().await;
    let room = alice.creates_room().await;
    let identity = IdentityServer::new(1);
    expects(&alice, &room, &identity.public_key(), "token").await;
    alice.sets_state(&room, "m.room.third_party_invite", "token", json!({})).await.ok();
    joins(&bob, &room, identity.signs(&alice, &bob, "token")).await.refused(403, "M_FORBIDDEN");
}
