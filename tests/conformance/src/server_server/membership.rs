//! [Joining rooms](https://spec.matrix.org/v1.19/server-server-api/#joining-rooms), leaving them, knocking on them, and
//! being invited: both ways.

use serde_json::{Value, json};

use super::{
    event,
    peer::{Peer, Told},
    resident::Resident,
};
use crate::{
    actor::{Room, User, sync::section},
    server::Server,
    wait::eventually,
    wire::{Answer, Json as _, encoded},
};

tests![
    users_of_other_servers_join_and_leave,
    only_what_the_path_says_is_taken,
    banned_users_of_other_servers_do_not_join,
    templates_are_for_users_of_who_asks_and_versions_it_knows,
    members_may_be_left_out_of_the_answer_to_a_join,
    users_of_other_servers_knock,
    a_room_elsewhere_is_joined,
    a_room_elsewhere_is_joined_by_its_alias,
    who_cannot_let_a_user_join_is_not_the_last_to_be_asked,
    only_servers_that_were_named_let_a_user_in,
    a_refusal_of_a_join_is_told,
    an_invite_to_a_room_elsewhere_is_told_and_rejected,
    an_invite_is_rejected_though_nobody_answers,
    an_invite_to_a_room_elsewhere_is_accepted,
    only_invites_are_signed,
    users_of_other_servers_are_invited,
    users_of_other_servers_who_cannot_be_invited_are_not,
    a_room_elsewhere_is_knocked_on,
];

const JOIN: &str = "join";

async fn ask(server: &Server, peer: &Peer, uri: &str) -> Answer {
    let header = peer.signs("GET", uri, server.name(), None);
    server.federation().get(uri).header("authorization", &header).await
}

async fn put(server: &Server, peer: &Peer, uri: &str, body: Value) -> Answer {
    let header = peer.signs("PUT", uri, server.name(), Some(&body));
    server.federation().put(uri, body).header("authorization", &header).await
}

fn make(what: &str, room: &Room, user: &str) -> String {
    let versions = if what == "leave" { "" } else { "?ver=10&ver=11" };
    format!("/_matrix/federation/v1/make_{what}/{}/{}{versions}", encoded(&room.0), encoded(user))
}

fn send(version: &str, what: &str, room: &Room, id: &str) -> String {
    format!("/_matrix/federation/{version}/send_{what}/{}/{}", encoded(&room.0), encoded(id))
}

/// Makes an event of a template.
async fn template(server: &Server, peer: &Peer, what: &str, room: &Room, user: &str) -> Value {
    ask(server, peer, &make(what, room, user)).await.ok()["event"].clone()
}

/// Joins a user of a peer.
async fn joins(server: &Server, peer: &Peer, room: &Room, user: &str) -> Value {
    let event = event::finish(template(server, peer, JOIN, room, user).await, peer);
    put(server, peer, &send("v2", JOIN, room, &event::id(&event)), event).await.ok()
}

async fn public_room(alice: &User) -> Room {
    alice.creates_room().public().with("room_version", json!("11")).await
}

async fn membership_of(alice: &User, room: &Room, user: &str) -> Value {
    let path = path!("/rooms/{}/state/m.room.member/{}", room, user);
    let answer = alice.get(path).await;
    if answer.status == 404 { Value::Null } else { answer.ok()["membership"].clone() }
}

async fn users_of_other_servers_join_and_leave(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let room = public_room(&alice).await;
    let since = alice.sync_token().await;
    let user = format!("@guest:{}", peer.name);
    let event = event::finish(template(&server, &peer, JOIN, &room, &user).await, &peer);
    let id = event::id(&event);
    let uri = send("v2", JOIN, &room, &id);
    let answer = put(&server, &peer, &uri, event.clone()).await.ok();
    let types: Vec<&str> =
        answer["state"].as_array().into_iter().flatten().filter_map(|it| it["type"].as_str()).collect();
    for kind in ["m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules"] {
        assert!(types.contains(&kind), "{answer}");
    }
    // The state is the one before the join.
    assert!(!answer["state"].to_string().contains(&id), "{answer}");
    assert_eq!(event::id(&answer["event"]), id, "{answer}");
    let told = alice.hears(&since, &room, &id).await;
    assert_eq!((&told["sender"], &told["content"]["membership"]), (&json!(user), &json!("join")));
    // The same once more is the same.
    put(&server, &peer, &uri, event).await.ok();
    assert_eq!(membership_of(&alice, &room, &user).await, "join");

    let event = event::finish(template(&server, &peer, "leave", &room, &user).await, &peer);
    put(&server, &peer, &send("v2", "leave", &room, &event::id(&event)), event).await.ok();
    eventually("the user has left", || membership_of(&alice, &room, &user), |it| it == "leave").await;
    // Who is not in it does not leave it.
    ask(&server, &peer, &make("leave", &room, &format!("@stranger:{}", peer.name)))
        .await
        .refused(403, "M_FORBIDDEN");
}

async fn only_what_the_path_says_is_taken(server: Server) {
    let (alice, peer, other) =
        futures::join!(server.user("alice"), Peer::start(Told::Current), Peer::start(Told::Current));
    let (room, another) = (public_room(&alice).await, public_room(&alice).await);
    let user = format!("@guest:{}", peer.name);
    let good = template(&server, &peer, JOIN, &room, &user).await;
    let with = |pointer: &str, value: Value| {
        let mut event = good.clone();
        *event.pointer_mut(pointer).expect("it is there") = value;
        event
    };
    for (what, event) in [
        ("another type", with("/type", json!("m.room.name"))),
        ("a leave", with("/content/membership", json!("leave"))),
        ("a ban", with("/content/membership", json!("ban"))),
        ("another room", with("/room_id", json!(another.0))),
        ("another user", with("/state_key", json!(alice.id))),
        ("another sender", with("/sender", json!(alice.id))),
        ("a user of another server", {
            let stranger = json!(format!("@guest:{}", other.name));
            let mut event = with("/sender", stranger.clone());
            event["state_key"] = stranger;
            event
        }),
    ] {
        let event = event::finish(event, &peer);
        for version in ["v1", "v2"] {
            let uri = send(version, JOIN, &room, &event::id(&event));
            let answer = put(&server, &peer, &uri, event.clone()).await;
            assert!((400..=404).contains(&answer.status), "{what}, {version}: {answer}");
        }
    }
    let good = event::finish(good, &peer);
    // Not as a leave, not by another ID, not with another's signature, and not by another server.
    for uri in [
        send("v2", "leave", &room, &event::id(&good)),
        send("v2", JOIN, &room, "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        send("v2", JOIN, &another, &event::id(&good)),
    ] {
        let answer = put(&server, &peer, &uri, good.clone()).await;
        assert!((400..=404).contains(&answer.status), "{uri}: {answer}");
    }
    let uri = send("v2", JOIN, &room, &event::id(&good));
    let mut forged = good.clone();
    forged["signatures"][&peer.name]["ed25519:a"] = other.signature(b"{}").into();
    for answer in [put(&server, &peer, &uri, forged).await, put(&server, &other, &uri, good.clone()).await] {
        assert!((400..=403).contains(&answer.status), "{answer}");
    }
    assert_eq!(membership_of(&alice, &room, &user).await, Value::Null);
    put(&server, &peer, &uri, good).await.ok();
    assert_eq!(membership_of(&alice, &room, &user).await, "join");
}

async fn banned_users_of_other_servers_do_not_join(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let room = public_room(&alice).await;
    let user = format!("@guest:{}", peer.name);
    let event = event::finish(template(&server, &peer, JOIN, &room, &user).await, &peer);
    alice.post(path!("/rooms/{}/ban", room), json!({ "user_id": user })).await.ok();
    // Neither by a template of before.
    put(&server, &peer, &send("v2", JOIN, &room, &event::id(&event)), event)
        .await
        .refused(403, "M_FORBIDDEN");
    ask(&server, &peer, &make(JOIN, &room, &user)).await.refused(403, "M_FORBIDDEN");
    assert_eq!(membership_of(&alice, &room, &user).await, "ban");
}

async fn templates_are_for_users_of_who_asks_and_versions_it_knows(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let (room, private) =
        (public_room(&alice).await, alice.creates_room().with("room_version", json!("11")).await);
    let user = format!("@guest:{}", peer.name);
    ask(&server, &peer, &make(JOIN, &room, &alice.id)).await.refused(403, "M_FORBIDDEN");
    ask(&server, &peer, &make(JOIN, &private, &user)).await.refused(403, "M_FORBIDDEN");
    ask(&server, &peer, &make(JOIN, &server.nowhere(), &user)).await.refused(404, "M_NOT_FOUND");
    for query in ["", "?ver=1&ver=10"] {
        let uri = format!("{}{query}", make(JOIN, &room, &user).split('?').next().unwrap_or_default());
        let refused = ask(&server, &peer, &uri).await.refused(400, "M_INCOMPATIBLE_ROOM_VERSION");
        assert_eq!(refused["room_version"], "11");
    }
    let template = ask(&server, &peer, &make(JOIN, &room, &user)).await.ok();
    assert_eq!(template["room_version"], "11");
    let event = &template["event"];
    assert_eq!(
        (&event["sender"], &event["state_key"], &event["room_id"]),
        (&json!(user), &json!(user), &json!(room.0))
    );
    assert_eq!(event["content"]["membership"], "join");
}

async fn members_may_be_left_out_of_the_answer_to_a_join(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let room = public_room(&alice).await;
    let user = format!("@guest:{}", peer.name);
    joins(&server, &peer, &room, &format!("@first:{}", peer.name)).await;
    let event = event::finish(template(&server, &peer, JOIN, &room, &user).await, &peer);
    let uri = format!("{}?omit_members=true", send("v2", JOIN, &room, &event::id(&event)));
    let answer = put(&server, &peer, &uri, event).await.ok();
    // Who may leave them out need not.
    if answer["members_omitted"] == true {
        let servers = answer["servers_in_room"].as_array().cloned().unwrap_or_default();
        assert!(servers.contains(&json!(server.name())) && servers.contains(&json!(peer.name)), "{answer}");
    }
    let types: Vec<&str> =
        answer["state"].as_array().into_iter().flatten().filter_map(|it| it["type"].as_str()).collect();
    assert!(types.contains(&"m.room.create") && types.contains(&"m.room.join_rules"), "{answer}");
}

async fn users_of_other_servers_knock(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let room = alice
        .creates_room()
        .with("room_version", json!("11"))
        .with("name", json!("Door"))
        .state("m.room.join_rules", json!({ "join_rule": "knock" }))
        .await;
    let user = format!("@guest:{}", peer.name);
    let event = event::finish(template(&server, &peer, "knock", &room, &user).await, &peer);
    let answer = put(&server, &peer, &send("v1", "knock", &room, &event::id(&event)), event).await.ok();
    let name = answer.list("/knock_room_state").iter().find(|event| event["type"] == "m.room.name");
    assert_eq!(name.map(|event| event["content"]["name"].clone()), Some(json!("Door")), "{answer}");
    assert_eq!(membership_of(&alice, &room, &user).await, "knock");
    ask(&server, &peer, &make("knock", &public_room(&alice).await, &user)).await.refused(403, "M_FORBIDDEN");
}

async fn joins_elsewhere(alice: &User, resident: &Resident) -> Answer {
    let path = format!(
        "{}?via={}&server_name={}",
        path!("/join/{}", resident.room),
        encoded(&resident.peer.name),
        encoded(&resident.peer.name)
    );
    alice.post(path, json!({ "reason": "to see" })).await
}

async fn a_room_elsewhere_is_joined(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("public"));
    let since = alice.sync_token().await;
    let room = Room(resident.room.clone());
    assert_eq!(joins_elsewhere(&alice, &resident).await.ok()["room_id"], room.0);
    let is_in = |answer: &Value| section(answer, "join", &room).is_some();
    let answer = alice.syncs_until(&since, "the room", is_in).await;
    assert!(answer.to_string().contains("Far away"), "{answer}");
    assert_eq!(membership_of(&alice, &room, &resident.creator).await, "join");
    assert_eq!(resident.membership(&alice.id), "join");
    let joined = resident.member_events(&alice.id);
    assert_eq!((joined.len(), &joined[0]["content"]["reason"]), (1, &json!("to see")), "{joined:?}");
    // Once more asks nobody.
    joins_elsewhere(&alice, &resident).await.ok();
    assert_eq!(resident.asked("/make_join/").len(), 1);
    // What is said now is said in the room.
    alice.says(&room, "hello").await;

    alice.leaves(&room).await.ok();
    assert_eq!(membership_of(&alice, &room, &alice.id).await, "leave");
}

async fn a_room_elsewhere_is_joined_by_its_alias(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("public"));
    let alias = format!("#far:{}", resident.peer.name);
    assert_eq!(alice.post(path!("/join/{}", alias), json!({})).await.ok()["room_id"], resident.room);
    assert_eq!(resident.membership(&alice.id), "join");
}

async fn who_cannot_let_a_user_join_is_not_the_last_to_be_asked(server: Server) {
    let (alice, resident, other) =
        futures::join!(server.user("alice"), Resident::start("public"), Resident::start("public"));
    let (first, second) = (encoded(&other.peer.name), encoded(&resident.peer.name));
    // The first one knows nothing of the room.
    let query = format!("via={first}&via={second}&server_name={first}&server_name={second}");
    let path = format!("{}?{query}", path!("/join/{}", resident.room));
    alice.post(path, json!({})).await.ok();
    assert_eq!(other.asked("/make_join/").len(), 1);
    assert_eq!(resident.membership(&alice.id), "join");
}

async fn only_servers_that_were_named_let_a_user_in(server: Server) {
    let (alice, resident, other) =
        futures::join!(server.user("alice"), Resident::start("public"), Resident::start("public"));
    joins_elsewhere(&alice, &resident).await.ok();
    alice.leaves(&Room(resident.room.clone())).await.ok();
    // The room is known by now, and who else is in it; but what was named has answered.
    let query = format!("via={0}&server_name={0}", encoded(&other.peer.name));
    let path = format!("{}?{query}", path!("/join/{}", resident.room));
    let answer = alice.post(path, json!({})).attempt().await;
    assert!(matches!(answer.status, 404 | 502), "{answer}");
    assert_eq!(resident.asked("/make_join/").len(), 1);
}

async fn a_refusal_of_a_join_is_told(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    resident.refuses("/make_join/", 403, "M_FORBIDDEN");
    joins_elsewhere(&alice, &resident).await.refused(403, "M_FORBIDDEN");
    assert_eq!(resident.membership(&alice.id), Value::Null);
    // The room is not known for that.
    alice.get(path!("/rooms/{}/state", resident.room)).await.refused(403, "M_FORBIDDEN");
}

/// Invites a user of the server to a room of another one.
async fn is_invited(server: &Server, resident: &Resident, user: &str) -> Value {
    let (body, id) = resident.invites(user);
    let uri = format!("/_matrix/federation/v2/invite/{}/{}", encoded(&resident.room), encoded(&id));
    let answer = put(server, &resident.peer, &uri, body).await.ok();
    assert_eq!(event::id(&answer["event"]), id, "{answer}");
    assert!(answer["event"]["signatures"][server.name()].is_object(), "{answer}");
    answer
}

async fn an_invite_to_a_room_elsewhere_is_told_and_rejected(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    let since = alice.sync_token().await;
    let room = Room(resident.room.clone());
    is_invited(&server, &resident, &alice.id).await;
    let answer =
        alice.syncs_until(&since, "the invite", |answer| section(answer, "invite", &room).is_some()).await;
    let state =
        answer["rooms"]["invite"][&room.0]["invite_state"]["events"].as_array().cloned().unwrap_or_default();
    let of = |kind: &str, key: &str| state.iter().find(|it| it["type"] == kind && it["state_key"] == key);
    assert_eq!(
        of("m.room.name", "").map(|event| &event["content"]["name"]),
        Some(&json!("Far away")),
        "{answer}"
    );
    let own = of("m.room.member", &alice.id);
    assert_eq!(own.map(|event| &event["sender"]), Some(&json!(resident.creator)), "{answer}");
    // Another device is told, too.
    assert!(section(&alice.syncs().await.ok(), "invite", &room).is_some());

    let since = answer.text("/next_batch");
    alice.leaves(&room).await.ok();
    assert_eq!(resident.membership(&alice.id), "leave");
    alice
        .syncs_until(&since, "the end of the invite", |answer| section(answer, "leave", &room).is_some())
        .await;
    assert!(section(&alice.syncs().await.ok(), "invite", &room).is_none());
}

async fn an_invite_is_rejected_though_nobody_answers(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    let room = Room(resident.room.clone());
    is_invited(&server, &resident, &alice.id).await;
    let sync = || async { alice.syncs().await.ok() };
    eventually("the invite", sync, |it| section(it, "invite", &room).is_some()).await;
    resident.refuses("/make_leave/", 500, "M_UNKNOWN");
    let since = alice.sync_token().await;
    alice.leaves(&room).await.ok();
    // The end of it is an event like any other, though nobody else knows it.
    let is_left = |it: &Value| section(it, "leave", &room).is_some();
    let told = alice.syncs_until(&since, "the end of it", is_left).await;
    let left = section(&told, "leave", &room).expect("it was there");
    let last = left.list("/timeline/events").last().expect("the leave").clone();
    assert_eq!((&last["state_key"], &last["content"]["membership"]), (&json!(alice.id), &json!("leave")));
    assert!(last.text("/event_id").starts_with('$'), "{last}");
    eventually("an answer without it", sync, |it| section(it, "invite", &room).is_none()).await;
}

async fn an_invite_to_a_room_elsewhere_is_accepted(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    let room = Room(resident.room.clone());
    is_invited(&server, &resident, &alice.id).await;
    // Who has invited is asked, though nobody is named.
    alice.joins(&room).await.ok();
    assert_eq!(resident.membership(&alice.id), "join");
    let sync = || async { alice.syncs().await.ok() };
    let is_in = |it: &Value| section(it, "join", &room).is_some() && section(it, "invite", &room).is_none();
    eventually("the join", sync, is_in).await;
    alice.leaves(&room).await.ok();
    let is_out = |it: &Value| section(it, "join", &room).is_none() && section(it, "invite", &room).is_none();
    eventually("the end of the stay", sync, is_out).await;
}

async fn only_invites_are_signed(server: Server) {
    let (alice, resident, other) =
        futures::join!(server.user("alice"), Resident::start("invite"), Resident::start("invite"));
    let (good, _) = resident.invites(&alice.id);
    let with = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).expect("it is there") = value;
        body["event"] = event::finish(body["event"].clone(), &resident.peer);
        body
    };
    for (what, body) in [
        ("another type", with("/event/type", json!("m.room.name"))),
        ("a join", with("/event/content/membership", json!("join"))),
        ("another room", with("/event/room_id", json!(other.room))),
        ("nobody of the server", with("/event/state_key", json!(other.creator))),
        ("who does not exist", with("/event/state_key", json!(server.nobody()))),
        ("a sender of another server", with("/event/sender", json!(other.creator))),
        ("an unknown version", with("/room_version", json!("none"))),
    ] {
        let id = event::id(&body["event"]);
        let uri = format!("/_matrix/federation/v2/invite/{}/{}", encoded(&resident.room), encoded(&id));
        let answer = put(&server, &resident.peer, &uri, body).await;
        assert!((400..=404).contains(&answer.status), "{what}: {answer}");
    }
    // What is told of the room may be nothing, or nonsense.
    for (number, state) in
        [json!([]), json!([null, 1, {}]), json!([{ "type": "m.room.name" }])].into_iter().enumerate()
    {
        let bob = server.user("bob").await;
        let (mut body, id) = resident.invites(&bob.id);
        body["invite_room_state"] = state;
        let uri = format!("/_matrix/federation/v2/invite/{}/{}", encoded(&resident.room), encoded(&id));
        let answer = put(&server, &resident.peer, &uri, body).await;
        // It may be refused, but it breaks nothing.
        assert!(answer.status < 500, "{number}: {answer}");
        bob.syncs().await.ok();
    }
}

async fn users_of_other_servers_are_invited(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    let room = alice.creates_room().with("room_version", json!("11")).with("name", json!("Here")).await;
    let user = format!("@guest:{}", resident.peer.name);
    let path = path!("/rooms/{}/invite", room);
    alice.post(path, json!({ "user_id": user, "reason": "come" })).await.ok();
    let asked = resident.asked("/v2/invite/");
    assert_eq!(asked.len(), 1, "{asked:?}");
    let event = alice.get(path!("/rooms/{}/state/m.room.member/{}", room, user)).await.ok();
    assert_eq!((&event["membership"], &event["reason"]), (&json!("invite"), &json!("come")));
    // The invited user joins.
    let joined = joins(&server, &resident.peer, &room, &user).await;
    assert!(joined["state"].to_string().contains("Here"), "{joined}");
    assert_eq!(membership_of(&alice, &room, &user).await, "join");
}

async fn users_of_other_servers_who_cannot_be_invited_are_not(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("invite"));
    let room = alice.creates_room().with("room_version", json!("11")).await;
    let user = format!("@guest:{}", resident.peer.name);
    resident.refuses("/v2/invite/", 403, "M_FORBIDDEN");
    alice.post(path!("/rooms/{}/invite", room), json!({ "user_id": user })).await.refused(403, "M_FORBIDDEN");
    assert_eq!(membership_of(&alice, &room, &user).await, Value::Null);
}

async fn a_room_elsewhere_is_knocked_on(server: Server) {
    let (alice, resident) = futures::join!(server.user("alice"), Resident::start("knock"));
    let since = alice.sync_token().await;
    let room = Room(resident.room.clone());
    let name = encoded(&resident.peer.name);
    let path = format!("{}?via={name}&server_name={name}", path!("/knock/{}", room));
    alice.post(path.clone(), json!({ "reason": "please" })).await.ok();
    assert_eq!(resident.membership(&alice.id), "knock");
    let answer =
        alice.syncs_until(&since, "the knock", |answer| section(answer, "knock", &room).is_some()).await;
    assert!(answer["rooms"]["knock"][&room.0].to_string().contains("Far away"), "{answer}");
    alice.leaves(&room).await.ok();
    assert_eq!(resident.membership(&alice.id), "leave");
    let sync = || async { alice.syncs().await.ok() };
    eventually("the end of the knock", sync, |it| section(it, "knock", &room).is_none()).await;
}
