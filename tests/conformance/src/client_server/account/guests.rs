//! [Accounts of guests](https://spec.matrix.org/v1.19/client-server-api/#guest-access)

use serde_json::{Value, json};

use crate::{
    actor::User,
    server::Server,
    wire::{Answer, Json as _},
};

tests![
    a_guest_sets_a_display_name,
    a_guest_sets_nothing_else_of_the_profile,
    a_guest_who_registers_keeps_the_name_and_the_rooms,
    a_guest_who_has_registered_is_none_any_more,
    a_guest_registers_by_their_own_name_only,
    a_token_of_no_guest_takes_no_name,
    the_name_of_a_guest_is_taken,
];

const FORBIDDEN: &[(u16, &str)] = &[(403, "M_GUEST_ACCESS_FORBIDDEN"), (403, "M_FORBIDDEN")];

fn localpart(user: &User) -> String {
    user.id.trim_start_matches('@').split(':').next().unwrap_or_default().to_owned()
}

/// Registers by the access token of a guest.
async fn registers(server: &Server, username: &str, token: &str) -> Answer {
    let body = json!({
        "auth": { "type": "m.login.dummy" }, "username": username, "password": "correct horse",
        "guest_access_token": token,
    });
    server.registers(body).await
}

fn as_user(server: &Server, guest: &User, answer: &Value) -> User {
    User::new(server.anybody(), "registered", &localpart(guest), "correct horse", answer)
}

async fn a_guest_sets_a_display_name(server: Server) {
    let guest = server.guest().await;
    guest.sets_profile("displayname", json!("Passerby")).await.ok();
    assert_eq!(guest.reads_profile(&guest).await.ok()["displayname"], "Passerby");
}

async fn a_guest_sets_nothing_else_of_the_profile(server: Server) {
    let guest = server.guest().await;
    guest.sets_profile("avatar_url", json!("mxc://example.org/face")).await.refused_as(FORBIDDEN);
    guest.sets_profile("org.example.field", json!("x")).await.refused_as(FORBIDDEN);
    let profile = guest.reads_profile(&guest).await;
    assert!(profile.body["avatar_url"].is_null(), "{profile}");
}

async fn a_guest_who_registers_keeps_the_name_and_the_rooms(server: Server) {
    let (alice, guest) = (server.user("alice").await, server.guest().await);
    let access = json!({ "guest_access": "can_join" });
    let room = alice.creates_room().public().state("m.room.guest_access", access).await;
    guest.joins(&room).await.ok();
    guest.sets_profile("displayname", json!("Passerby")).await.ok();
    let answer = registers(&server, &localpart(&guest), guest.token()).await.ok();
    let user = as_user(&server, &guest, &answer);
    assert_eq!(user.id, guest.id);
    assert_eq!(user.get("/joined_rooms").await.ok(), json!({ "joined_rooms": [room.0] }));
    assert_eq!(user.reads_profile(&user).await.ok()["displayname"], "Passerby");
    user.says(&room, "I stay").await;
    // They are no guest whom the room turns out.
    let forbidden = json!({ "guest_access": "forbidden" });
    alice.sets_state(&room, "m.room.guest_access", "", forbidden).await.ok();
    user.says(&room, "I still do").await;
}

async fn a_guest_who_has_registered_is_none_any_more(server: Server) {
    let guest = server.guest().await;
    let answer = registers(&server, &localpart(&guest), guest.token()).await.ok();
    let user = as_user(&server, &guest, &answer);
    let who = user.asks_who_they_are().await.ok();
    assert!(who["is_guest"] != true, "{who}");
    user.post("/createRoom", json!({})).await.ok().text("/room_id");
    let again = user.logs_in().await;
    again.asks_who_they_are().await.ok();
    // The guest is gone, so nobody can do it again.
    let answer = registers(&server, &localpart(&guest), guest.token()).await;
    answer.refused_as(&[(403, "M_FORBIDDEN"), (400, "M_USER_IN_USE"), (401, "M_UNKNOWN_TOKEN")]);
}

async fn a_guest_registers_by_their_own_name_only(server: Server) {
    let (alice, guest) = (server.user("alice").await, server.guest().await);
    for name in [&alice.localpart, &server.unique("other")] {
        let answer = registers(&server, name, guest.token()).await;
        assert!((400..500).contains(&answer.status), "{answer}");
    }
    alice.asks_who_they_are().await.ok();
}

async fn a_token_of_no_guest_takes_no_name(server: Server) {
    let (alice, guest) = (server.user("alice").await, server.guest().await);
    let name = localpart(&guest);
    registers(&server, &name, alice.token()).await.refused(403, "M_FORBIDDEN");
    registers(&server, &alice.localpart, alice.token()).await.refused(403, "M_FORBIDDEN");
    let wrong = registers(&server, &name, "never_given").await;
    wrong.refused_as(&[(403, "M_FORBIDDEN"), (401, "M_UNKNOWN_TOKEN")]);
    guest.asks_who_they_are().await.ok();
}

async fn the_name_of_a_guest_is_taken(server: Server) {
    let guest = server.guest().await;
    let body = json!({
        "auth": { "type": "m.login.dummy" }, "username": localpart(&guest), "password": "correct horse",
    });
    server.registers(body).await.refused_as(&[(400, "M_USER_IN_USE"), (400, "M_INVALID_USERNAME")]);
    guest.asks_who_they_are().await.ok();
}
