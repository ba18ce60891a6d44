//! [Transactions](https://spec.matrix.org/v1.19/server-server-api/#transactions),
//! [PDUs](https://spec.matrix.org/v1.19/server-server-api/#pdus) and
//! [missing events](https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events)

use serde_json::{Value, json};

use super::{
    peer::{Peer, Told},
    remote_room::{Event, RemoteRoom, transacts},
};
use crate::{
    actor::{Room, User, sync},
    server::Server,
    wire::{Json as _, encoded},
};

tests![
    users_of_other_servers_join_and_speak,
    a_transaction_is_taken_once,
    a_transaction_has_at_most_fifty_events,
    a_transaction_is_one_of_its_sender,
    what_is_not_signed_by_its_server_is_not_told,
    what_was_changed_on_the_way_is_told_redacted,
    what_the_rules_refuse_is_not_told,
    who_is_banned_meanwhile_is_not_heard,
    a_server_that_the_room_denies_is_not_heard,
    missing_events_are_fetched_and_told_in_order,
    an_event_whose_past_nobody_tells_is_not_told,
    a_missing_event_that_is_malformed_is_not_fetched_again_and_again,
    what_follows_a_gap_is_told_with_the_state_that_a_server_tells,
    a_state_of_which_something_is_missing_is_not_believed,
    missing_auth_events_are_fetched,
    others_type,
    others_read,
];

async fn start(server: &Server) -> (User, Peer) {
    futures::join!(server.user("alice"), Peer::start(Told::Current))
}

/// What a user who follows a room has heard of by the time that an event is told.
async fn hears_until(alice: &User, since: &str, room: &Room, last: &Event) -> Vec<String> {
    let mut heard = Vec::new();
    let mut since = since.to_owned();
    let wanted = |answer: &Value| {
        sync::timeline(answer, room).iter().any(|event| event["event_id"] == last.id.as_str())
    };
    for _ in 0..20 {
        let answer = alice.syncs_since(&since).query("timeout", 1000).await.ok();
        heard.extend(sync::timeline(&answer, room).iter().map(|event| event.text("/event_id")));
        if wanted(&answer) {
            return heard;
        }
        since = answer.text("/next_batch");
    }
    panic!("{} was not told; heard of {heard:?}", last.id)
}

async fn users_of_other_servers_join_and_speak(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let members = alice.get(path!("/rooms/{}/joined_members", remote.room)).await.ok();
    assert!(members["joined"].get(&remote.user).is_some(), "{members}");
    let since = alice.sync_token().await;
    let (first, second) = (remote.says("one"), remote.says("two"));
    let answer = remote.sends(&[&first, &second]).await;
    assert!(answer.get(&first.id).is_some() && answer.get(&second.id).is_some(), "{answer}");
    assert_eq!(hears_until(&alice, &since, &remote.room, &second).await, [first.id, second.id]);
}

async fn a_transaction_is_taken_once(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let (since, message, last) = (alice.sync_token().await, remote.says("once"), remote.says("last"));
    let (txn_id, body) = (server.unique("txn"), json!({ "pdus": [message.json], "origin_server_ts": 1 }));
    for _ in 0..3 {
        transacts(&server, &peer, &txn_id, body.clone()).await.ok();
    }
    remote.sends(&[&message, &last]).await;
    assert_eq!(hears_until(&alice, &since, &remote.room, &last).await, [message.id, last.id]);
}

async fn a_transaction_has_at_most_fifty_events(server: Server) {
    let peer = Peer::start(Told::Current).await;
    for body in [json!({ "pdus": vec![json!({}); 51] }), json!({ "pdus": [], "edus": vec![json!({}); 101] })]
    {
        let answer = transacts(&server, &peer, "1", body).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    transacts(&server, &peer, "2", json!({ "pdus": [], "edus": [] })).await.ok();
}

async fn a_transaction_is_one_of_its_sender(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let mut forged = remote.says("not mine");
    forged.json["sender"] = json!(alice.id);
    let forged = remote.signs(without_proof(forged.json));
    let since = alice.sync_token().await;
    let last = remote.makes("m.room.message", None, json!({ "body": "last" }));
    let mut last_json = last.json;
    last_json["prev_events"] = json!([remote.member]);
    let last = remote.signs(without_proof(last_json));
    let answer = remote.sends(&[&forged, &last]).await;
    assert!(answer[&forged.id]["error"].is_string(), "{answer}");
    assert_eq!(hears_until(&alice, &since, &remote.room, &last).await, [last.id]);
}

fn without_proof(mut event: Value) -> Value {
    if let Some(fields) = event.as_object_mut() {
        fields.remove("hashes");
        fields.remove("signatures");
    }
    event
}

async fn what_is_not_signed_by_its_server_is_not_told(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let since = alice.sync_token().await;
    let base = remote.latest.clone();
    let mut unsigned = remote.says("not signed");
    unsigned.json["signatures"] = json!({});
    remote.latest.clone_from(&base);
    let mut forged = remote.says("signed with something else");
    forged.json["signatures"][&peer.name]["ed25519:a"] = json!(peer.signature(b"something else"));
    remote.latest = base;
    let good = remote.says("good");
    let answer = remote.sends(&[&unsigned, &forged, &good]).await;
    for bad in [&unsigned, &forged] {
        assert!(answer[&bad.id]["error"].is_string(), "{answer}");
    }
    assert_eq!(hears_until(&alice, &since, &remote.room, &good).await, [good.id]);
}

async fn what_was_changed_on_the_way_is_told_redacted(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let since = alice.sync_token().await;
    let mut message = remote.says("as it was");
    message.json["content"]["body"] = json!("as it is now");
    remote.sends(&[&message]).await;
    let told = alice.hears(&since, &remote.room, &message.id).await;
    assert_eq!(told["content"], json!({}), "{told}");
}

async fn what_the_rules_refuse_is_not_told(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let since = alice.sync_token().await;
    let power = json!({ "users": { &remote.user: 100 } });
    let rejected = remote.makes("m.room.power_levels", Some(""), power);
    // What follows on it is told.
    let last = remote.says("and yet");
    remote.sends(&[&rejected, &last]).await;
    assert_eq!(hears_until(&alice, &since, &remote.room, &last).await, [last.id]);
    alice.get(path!("/rooms/{}/event/{}", remote.room, rejected.id)).await.refused(404, "M_NOT_FOUND");
}

async fn who_is_banned_meanwhile_is_not_heard(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    // By an event that does not know of the ban.
    let late = remote.says("late");
    let before = alice.sync_token().await;
    alice.post(path!("/rooms/{}/ban", remote.room), json!({ "user_id": remote.user })).await.ok();
    let is_told = |answer: &Value| {
        sync::timeline(answer, &remote.room).iter().any(|event| event["content"]["membership"] == "ban")
    };
    alice.syncs_until(&before, "the ban", is_told).await;
    let since = alice.sync_token().await;
    remote.sends(&[&late]).await;
    let last = alice.says(&remote.room, "last").await;
    let last = Event { id: last, json: Value::Null };
    assert_eq!(hears_until(&alice, &since, &remote.room, &last).await, [last.id]);
}

async fn a_server_that_the_room_denies_is_not_heard(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let acl = json!({ "allow": ["*"], "deny": [], "allow_ip_literals": false });
    let before = alice.sync_token().await;
    let acl = alice.put(path!("/rooms/{}/state/m.room.server_acl", remote.room), acl).await.ok();
    alice.hears(&before, &remote.room, &acl.text("/event_id")).await;
    let since = alice.sync_token().await;
    let message = remote.says("denied");
    let answer = remote.sends(&[&message]).await;
    assert!(answer[&message.id]["error"].is_string(), "{answer}");
    let last = Event { id: alice.says(&remote.room, "last").await, json: Value::Null };
    assert_eq!(hears_until(&alice, &since, &remote.room, &last).await, [last.id]);
}

async fn missing_events_are_fetched_and_told_in_order(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let since = alice.sync_token().await;
    let missing: Vec<Event> = (0..5).map(|n| remote.says(&format!("missing {n}"))).collect();
    let last = remote.says("last");
    let gme = remote.path("POST", "get_missing_events");
    let events: Vec<&Value> = missing.iter().map(|event| &event.json).collect();
    peer.answers(&gme, 200, json!({ "events": events }));
    remote.sends(&[&last]).await;
    let heard = hears_until(&alice, &since, &remote.room, &last).await;
    let all: Vec<String> = missing.into_iter().chain([last]).map(|event| event.id).collect();
    assert_eq!(heard, all);
    let asked = peer.asked(&gme);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].body["earliest_events"], json!([remote.member]));
    assert_eq!(asked[0].body["latest_events"], json!([all[5]]));
    assert!(peer.asked(&remote.path("GET", "state")).is_empty());
}

async fn an_event_whose_past_nobody_tells_is_not_told(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let since = alice.sync_token().await;
    let missing = remote.says("missing");
    let orphan = remote.says("orphan");
    remote.sends(&[&orphan]).await;
    // What does not cite it is told at once.
    remote.latest = vec![remote.member.clone()];
    let other = remote.says("other");
    remote.sends(&[&other]).await;
    assert_eq!(hears_until(&alice, &since, &remote.room, &other).await, std::slice::from_ref(&other.id));
    // When what it cites has come, it may come again.
    let since = alice.sync_token().await;
    remote.sends(&[&missing]).await;
    hears_until(&alice, &since, &remote.room, &missing).await;
    remote.sends(&[&orphan]).await;
    assert_eq!(hears_until(&alice, &since, &remote.room, &orphan).await.last(), Some(&orphan.id));
}

async fn a_missing_event_that_is_malformed_is_not_fetched_again_and_again(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let mut bad = remote.says("bad");
    bad.json["content"]["float"] = json!(1.5);
    let bad = remote.signs(without_proof(bad.json));
    remote.latest = vec![bad.id.clone()];
    let second = remote.says("cites it");
    let gme = remote.path("POST", "get_missing_events");
    peer.answers(&gme, 200, json!({ "events": [bad.json] }));
    remote.sends(&[&second]).await;
    // One that cites that asks for itself.
    let third = remote.says("cites that");
    peer.answers(&gme, 200, json!({}));
    remote.sends(&[&third]).await;
    crate::wait::eventually("a second question", || async { peer.asked(&gme).len() }, |asked| *asked >= 2)
        .await;
    let asked = peer.asked(&gme);
    assert_eq!(asked[0].body["latest_events"], json!([second.id]), "{asked:?}");
    assert_eq!(asked[1].body["latest_events"], json!([third.id]), "{asked:?}");
    let since = alice.sync_token().await;
    remote.latest = vec![remote.member.clone()];
    let last = remote.says("last");
    remote.sends(&[&last]).await;
    assert_eq!(hears_until(&alice, &since, &remote.room, &last).await, [last.id]);
    for id in [&bad.id, &second.id, &third.id] {
        alice.get(path!("/rooms/{}/event/{}", remote.room, id)).await.refused(404, "M_NOT_FOUND");
    }
}

/// A user of the peer in a room with so much state that who lacks two events of it asks for these.
async fn joined_large<'p>(server: &Server, peer: &'p Peer, alice: &User) -> RemoteRoom<'p> {
    let mut room = alice.creates_room().public().with("room_version", json!("11"));
    for n in 0..20 {
        room = room.state(&format!("org.example.state.{n}"), json!({}));
    }
    RemoteRoom::joins(server, peer, alice, room.await).await
}

/// A gap: of what lies in it only the last event is told, and the state before that. Returns the event that the state is
/// told at, the one that is told, and the one that is sent.
async fn gap(remote: &mut RemoteRoom<'_>, peer: &Peer, alice: &User) -> (Event, Event, Event, Event) {
    let name = remote.user.clone();
    let content = json!({ "membership": "join", "displayname": "renamed" });
    let renamed = remote.makes("m.room.member", Some(&name), content);
    let member = std::mem::replace(&mut remote.member, renamed.id.clone());
    for n in 0..3 {
        remote.says(&format!("in the gap {n}"));
    }
    let (previous, told, sent) = (remote.says("previous"), remote.says("told"), remote.says("sent"));
    peer.answers(&remote.path("POST", "get_missing_events"), 200, json!({ "events": [told.json] }));
    let state = alice.get(path!("/rooms/{}/state", remote.room)).await.ok();
    let ids: Vec<String> =
        state.as_array().into_iter().flatten().map(|event| event.text("/event_id")).collect();
    let pdu_ids: Vec<&String> = ids.iter().filter(|id| **id != member).chain([&renamed.id]).collect();
    let answer = json!({ "pdu_ids": pdu_ids, "auth_chain_ids": ids });
    peer.answers(&remote.path("GET", "state_ids"), 200, answer);
    let event = |event: &Event| json!({ "origin": peer.name, "origin_server_ts": 1, "pdus": [event.json] });
    let path = |event: &Event| format!("GET /_matrix/federation/v1/event/{}", encoded(&event.id));
    peer.answers(&path(&previous), 200, event(&previous));
    peer.answers(&path(&renamed), 200, event(&renamed));
    (renamed, previous, told, sent)
}

async fn what_follows_a_gap_is_told_with_the_state_that_a_server_tells(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = joined_large(&server, &peer, &alice).await;
    let (_, previous, told, sent) = gap(&mut remote, &peer, &alice).await;
    let since = alice.sync_token().await;
    remote.sends(&[&sent]).await;
    assert_eq!(hears_until(&alice, &since, &remote.room, &sent).await, [told.id, sent.id]);
    let asked = peer.asked(&remote.path("GET", "state_ids"));
    assert!(asked[0].what.ends_with(&encoded(&previous.id)), "{asked:?}");
    let member = alice.get(path!("/rooms/{}/state/m.room.member/{}", remote.room, remote.user)).await.ok();
    assert_eq!(member["displayname"], "renamed");
}

async fn a_state_of_which_something_is_missing_is_not_believed(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = joined_large(&server, &peer, &alice).await;
    let member = remote.member.clone();
    let (renamed, _, told, sent) = gap(&mut remote, &peer, &alice).await;
    let path = format!("GET /_matrix/federation/v1/event/{}", encoded(&renamed.id));
    peer.answers(&path, 404, json!({ "errcode": "M_NOT_FOUND", "error": "" }));
    let since = alice.sync_token().await;
    remote.sends(&[&sent]).await;
    crate::wait::eventually("the question", || async { peer.asked(&path).len() }, |asked| *asked > 0).await;
    (remote.member, remote.latest) = (member.clone(), vec![member]);
    let last = remote.says("last");
    remote.sends(&[&last]).await;
    assert_eq!(hears_until(&alice, &since, &remote.room, &last).await, [last.id]);
    let member = alice.get(path!("/rooms/{}/state/m.room.member/{}", remote.room, remote.user)).await.ok();
    assert_eq!(member.get("displayname"), None, "{member}");
    for id in [&told.id, &sent.id] {
        alice.get(path!("/rooms/{}/event/{}", remote.room, id)).await.refused(404, "M_NOT_FOUND");
    }
}

async fn missing_auth_events_are_fetched(server: Server) {
    let (alice, peer) = start(&server).await;
    let mut remote = RemoteRoom::joined(&server, &peer, &alice).await;
    // A member event that nobody has sent, which authorizes another one that follows on what is known.
    let (user, member) = (remote.user.clone(), remote.member.clone());
    let content = json!({ "membership": "join", "displayname": "renamed" });
    let unsent = remote.makes("m.room.member", Some(&user), content);
    (remote.member, remote.latest) = (unsent.id.clone(), vec![member]);
    let message = remote.says("by a name that nobody knows");
    let chain = remote.path("GET", "event_auth");
    peer.answers(&chain, 200, json!({ "auth_chain": [unsent.json] }));
    let since = alice.sync_token().await;
    remote.sends(&[&message]).await;
    hears_until(&alice, &since, &remote.room, &message).await;
    assert!(peer.asked(&chain)[0].what.ends_with(&encoded(&message.id)));
}

fn edu(edu_type: &str, content: Value) -> Value {
    json!({ "pdus": [], "edus": [{ "edu_type": edu_type, "content": content }] })
}

fn ephemeral<'a>(answer: &'a Value, room: &Room, event_type: &str) -> Option<&'a Value> {
    let events = sync::section(answer, "join", room)?["ephemeral"]["events"].as_array()?;
    events.iter().find(|event| event["type"] == event_type).map(|event| &event["content"])
}

async fn others_type(server: Server) {
    let (alice, peer) = start(&server).await;
    let remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let since = alice.sync_token().await;
    let types = |user: &str, typing: bool| {
        edu("m.typing", json!({ "room_id": remote.room.0, "user_id": user, "typing": typing }))
    };
    // Nobody types for others.
    remote.transacts(types(&alice.id, true)).await.ok();
    remote.transacts(types(&remote.user, true)).await.ok();
    let typists =
        |answer: &Value| ephemeral(answer, &remote.room, "m.typing").map(|it| it["user_ids"].clone());
    let answer = alice.syncs_until(&since, "typing", |answer| typists(answer).is_some()).await;
    assert_eq!(typists(&answer), Some(json!([remote.user])));
    remote.transacts(types(&remote.user, false)).await.ok();
    let since = answer.text("/next_batch");
    let ended = |answer: &Value| typists(answer) == Some(json!([]));
    alice.syncs_until(&since, "the end of typing", ended).await;
}

async fn others_read(server: Server) {
    let (alice, peer) = start(&server).await;
    let remote = RemoteRoom::joined(&server, &peer, &alice).await;
    let event = alice.says(&remote.room, "read this").await;
    let since = alice.sync_token().await;
    let receipt = |user: &str| {
        let receipt = json!({ user: { "event_ids": [event], "data": { "ts": 1_700_000_000_000_u64 } } });
        edu("m.receipt", json!({ &remote.room.0: { "m.read": receipt } }))
    };
    remote.transacts(receipt(&alice.id)).await.ok();
    remote.transacts(receipt(&remote.user)).await.ok();
    let readers = |answer: &Value| {
        let read = ephemeral(answer, &remote.room, "m.receipt")?.get(&event)?.get("m.read")?;
        Some(read.as_object()?.keys().cloned().collect::<Vec<_>>())
    };
    let answer = alice.syncs_until(&since, "the receipt", |answer| readers(answer).is_some()).await;
    assert_eq!(readers(&answer), Some(vec![remote.user.clone()]));
}
