//! [Third-party invites](https://spec.matrix.org/v1.19/server-server-api/#third-party-invites): both ways.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use super::{peer::Peer, resident::Resident};
use crate::{
    actor::{Room, User},
    server::Server,
    wire::{Answer, encoded},
};

tests![
    who_proves_to_be_meant_is_invited,
    what_is_no_proof_is_refused,
    the_room_of_the_path_is_that_of_the_event,
    a_proof_brings_a_user_into_a_room_elsewhere,
];

/// The key of an identity server.
fn identity(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// What an identity server signs for who has bound the identifier.
fn proof(identity: &SigningKey, sender: &str, invitee: &str, token: &str) -> Value {
    // Keys are in order, as canonical JSON wants it.
    let mut signed = json!({ "mxid": invitee, "sender": sender, "token": token });
    let signature = STANDARD_NO_PAD.encode(identity.sign(signed.to_string().as_bytes()).to_bytes());
    signed["signatures"] = json!({ "identity.invalid": { "ed25519:0": signature } });
    signed
}

/// A room with an invite for whom `identity(1)` names.
async fn inviting_room(alice: &User) -> Room {
    let room = alice.creates_room().with("room_version", json!("11")).with("name", json!("Here")).await;
    let key = STANDARD_NO_PAD.encode(identity(1).verifying_key().as_bytes());
    let content = json!({
        "display_name": "b...@e...", "public_key": key, "public_keys": [{ "public_key": key }],
    });
    alice.sets_state(&room, "m.room.third_party_invite", "token", content).await.ok();
    room
}

fn asked_for(alice: &User, room: &Room, user: &str, proof: &Value) -> Value {
    json!({
        "type": "m.room.member", "room_id": room.0, "sender": alice.id, "state_key": user,
        "content": {
            "membership": "invite",
            "third_party_invite": { "display_name": "somebody", "signed": proof },
        },
    })
}

async fn exchanges(server: &Server, peer: &Peer, room: &Room, body: Value) -> Answer {
    let uri = format!("/_matrix/federation/v1/exchange_third_party_invite/{}", encoded(&room.0));
    let header = peer.signs("PUT", &uri, server.name(), Some(&body));
    server.federation().put(&uri, body).header("authorization", &header).await
}

async fn membership(alice: &User, room: &Room, user: &str) -> Value {
    let answer = alice.get(path!("/rooms/{}/state/m.room.member/{}", room, user)).await;
    if answer.status == 404 { Value::Null } else { answer.ok() }
}

async fn who_proves_to_be_meant_is_invited(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    let room = inviting_room(&alice).await;
    let user = format!("@guest:{}", resident.peer.name);
    let body = asked_for(&alice, &room, &user, &proof(&identity(1), &alice.id, &user, "token"));
    exchanges(&server, &resident.peer, &room, body).await.ok();
    // The server of the user was asked to sign the invite.
    assert_eq!(resident.asked("/v2/invite/").len(), 1);
    let invite = membership(&alice, &room, &user).await;
    assert_eq!(invite["membership"], "invite", "{invite}");
    assert_eq!(invite["third_party_invite"]["signed"]["token"], "token", "{invite}");
    // The name is that of the room, whatever else is said.
    assert_eq!(invite["third_party_invite"]["display_name"], "b...@e...", "{invite}");
}

async fn what_is_no_proof_is_refused(server: Server) {
    let (alice, bob, resident) =
        futures::join!(server.user("alice"), server.user("bob"), Resident::start("invite"));
    let room = inviting_room(&alice).await;
    let user = format!("@guest:{}", resident.peer.name);
    let good = asked_for(&alice, &room, &user, &proof(&identity(1), &alice.id, &user, "token"));
    let with = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).expect("it is there") = value;
        body
    };
    let signed = "/content/third_party_invite/signed";
    for (what, body) in [
        ("signed by another", with(signed, proof(&identity(2), &alice.id, &user, "token"))),
        ("of no invite", with(signed, proof(&identity(1), &alice.id, &user, "other"))),
        ("for somebody else", with(signed, proof(&identity(1), &alice.id, &bob.id, "token"))),
        ("by who has not sent the invite", with("/sender", json!(bob.id))),
        ("unsigned", with(&format!("{signed}/signatures"), json!({}))),
        ("no invite", with("/content/membership", json!("join"))),
        ("no member event", with("/type", json!("m.room.name"))),
    ] {
        let answer = exchanges(&server, &resident.peer, &room, body).await;
        assert!((400..=404).contains(&answer.status), "{what}: {answer}");
    }
    assert_eq!(membership(&alice, &room, &user).await, Value::Null);
    assert!(resident.asked("/v2/invite/").is_empty());
    // Of a room that nobody here knows.
    let nowhere = server.nowhere();
    let body = asked_for(&alice, &nowhere, &user, &proof(&identity(1), &alice.id, &user, "token"));
    let answer = exchanges(&server, &resident.peer, &nowhere, body).await;
    assert!((400..=404).contains(&answer.status), "{answer}");
    exchanges(&server, &resident.peer, &room, good).await.ok();
}

async fn the_room_of_the_path_is_that_of_the_event(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    let (room, other) = (inviting_room(&alice).await, inviting_room(&alice).await);
    let user = format!("@guest:{}", resident.peer.name);
    let body = asked_for(&alice, &other, &user, &proof(&identity(1), &alice.id, &user, "token"));
    let answer = exchanges(&server, &resident.peer, &room, body).await;
    assert!((400..=404).contains(&answer.status), "{answer}");
    assert_eq!(membership(&alice, &other, &user).await, Value::Null);
}

async fn a_proof_brings_a_user_into_a_room_elsewhere(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    let signed = proof(&identity(1), &resident.creator, &alice.id, "token");
    let name = encoded(&resident.peer.name);
    let path = format!("{}?via={name}&server_name={name}", path!("/join/{}", resident.room));
    alice.post(path, json!({ "third_party_signed": signed })).await.ok();
    let asked = resident.peer.asked("PUT /_matrix/federation/v1/exchange_third_party_invite/");
    assert_eq!(asked.len(), 1, "{asked:?}");
    let body = &asked[0].body;
    assert_eq!(
        (&body["type"], &body["room_id"], &body["sender"], &body["state_key"]),
        (&json!("m.room.member"), &json!(resident.room), &json!(resident.creator), &json!(alice.id)),
        "{body}"
    );
    assert_eq!(body["content"]["membership"], "invite", "{body}");
    assert_eq!(body["content"]["third_party_invite"]["signed"]["token"], "token", "{body}");
    assert_eq!(resident.membership(&alice.id), "join");
}
