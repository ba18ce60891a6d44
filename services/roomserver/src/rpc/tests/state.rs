use std::collections::BTreeMap;

use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        GetStateRequest, RoomEvent, StateKey, StatePoint, StreamStateRequest, StreamStateResponse,
        state_point::Point,
    },
};
use serde_json::{Value, json};

use super::fixture::{Fixture, Room, reason};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";

async fn stream(
    fixture: &Fixture,
    request: StreamStateRequest,
) -> Result<Vec<StreamStateResponse>, tonic::Status> {
    let mut stream = fixture.queries().stream_state(request).await?.into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.message().await? {
        assert!(chunk.events.len() <= 500);
        chunks.push(chunk);
    }
    assert!(!chunks.is_empty());
    Ok(chunks)
}

async fn whole(
    fixture: &Fixture,
    room: &Room,
    viewer: &str,
    at: Option<Point>,
) -> BTreeMap<(String, String), String> {
    let request = StreamStateRequest {
        room_id: room.room_id.clone(),
        viewer: viewer.to_owned(),
        at: Some(StatePoint { point: at }),
        ..StreamStateRequest::default()
    };
    let chunks = stream(fixture, request).await.expect("state is read");
    chunks.into_iter().flat_map(|chunk| chunk.events).map(|event| (key(&event), event.event_id)).collect()
}

fn key(event: &RoomEvent) -> (String, String) {
    let json: Value = serde_json::from_slice(&event.json).unwrap();
    (json["type"].as_str().unwrap().to_owned(), json["state_key"].as_str().unwrap().to_owned())
}

/// A room with enough members for tries of several levels.
async fn crowd(fixture: &mut Fixture) -> Room {
    let mut room = fixture.room(ALICE).await;
    room.member(fixture, ALICE, "join").await;
    for number in 0..90 {
        let user = format!("@user{number}:example.org");
        room.member(fixture, &user, "join").await;
        if number % 7 == 0 {
            room.member(fixture, &user, "leave").await;
            room.state(fixture, ALICE, "m.room.topic", "", json!({"topic": number})).await;
            room.message(fixture, &user).await;
        }
    }
    room
}

#[tokio::test]
async fn state_at_every_point_equals_the_replay() {
    let mut fixture = Fixture::start().await;
    let room = crowd(&mut fixture).await;
    let last = room.last().state.clone();
    assert_eq!(whole(&fixture, &room, "", None).await, last);
    assert_eq!(whole(&fixture, &room, ALICE, None).await, last);
    let mut before = BTreeMap::new();
    for sent in &room.log {
        let after = Some(Point::AfterEventId(sent.event_id.clone()));
        assert_eq!(whole(&fixture, &room, "", after).await, sent.state);
        assert_eq!(whole(&fixture, &room, "", Some(Point::AtSeq(sent.seq.cast_signed()))).await, sent.state);
        let point = Some(Point::BeforeEventId(sent.event_id.clone()));
        assert_eq!(whole(&fixture, &room, "", point.clone()).await, before);
        let wanted = ["m.room.topic", "m.room.member", "m.room.create", "m.room.member"];
        let keys = wanted
            .iter()
            .zip(["", "@user7:example.org", "", "@nobody:example.org"])
            .map(|(kind, key)| StateKey { r#type: (*kind).to_owned(), state_key: key.to_owned() });
        let request = GetStateRequest {
            room_id: room.room_id.clone(),
            keys: keys.clone().collect(),
            at: Some(StatePoint { point }),
            ..GetStateRequest::default()
        };
        let found = fixture.queries().get_state(request).await.expect("state is read").into_inner();
        let found = found.events.into_iter().map(|event| event.event_id).collect::<Vec<_>>();
        let expected =
            keys.filter_map(|key| before.get(&(key.r#type, key.state_key)).cloned()).collect::<Vec<_>>();
        assert_eq!(found, expected);
        before = sent.state.clone();
    }
    assert_eq!(whole(&fixture, &room, "", Some(Point::AtSeq(i64::MAX))).await, last);
    assert_eq!(whole(&fixture, &room, "", Some(Point::AtSeq(0))).await, BTreeMap::new());
}

#[tokio::test]
async fn types_and_memberships_are_chosen_now_and_then() {
    let mut fixture = Fixture::start().await;
    let room = crowd(&mut fixture).await;
    let count = async |types: &[&str], memberships: &[&str], not: &[&str], at: Option<i64>| {
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let request = StreamStateRequest {
            room_id: room.room_id.clone(),
            viewer: ALICE.to_owned(),
            types: strings(types),
            at: at.map(|seq| StatePoint { point: Some(Point::AtSeq(seq)) }),
            memberships: strings(memberships),
            not_memberships: strings(not),
        };
        let chunks = stream(&fixture, request).await.expect("state is read");
        chunks.into_iter().map(|chunk| chunk.events.len()).sum::<usize>()
    };
    // 91 members, of whom 13 have left, a create event and a topic.
    for at in [None, Some(room.last().seq.cast_signed())] {
        assert_eq!(count(&[], &[], &[], at).await, 93);
        assert_eq!(count(&["m.room.member"], &[], &[], at).await, 91);
        assert_eq!(count(&["m.room.topic", "m.room.create"], &["join"], &[], at).await, 2);
        assert_eq!(count(&["m.room.member"], &["join"], &[], at).await, 78);
        assert_eq!(count(&["m.room.member"], &[], &["join"], at).await, 13);
        assert_eq!(count(&["m.room.member", "m.room.topic"], &["leave"], &[], at).await, 14);
        assert_eq!(count(&[], &["ban"], &[], at).await, 2);
        assert_eq!(count(&["m.nothing"], &[], &[], at).await, 0);
    }
}

#[tokio::test]
async fn who_has_left_sees_the_state_of_their_leave() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(ALICE).await;
    room.member(&mut fixture, ALICE, "join").await;
    room.state(&mut fixture, ALICE, "m.room.topic", "", json!({"topic": "old"})).await;
    let outsider = |fixture: &Fixture, viewer: &str| {
        let request = GetStateRequest {
            room_id: room_id(),
            viewer: viewer.to_owned(),
            keys: vec![StateKey { r#type: "m.room.topic".to_owned(), state_key: String::new() }],
            ..GetStateRequest::default()
        };
        let mut queries = fixture.queries();
        async move { queries.get_state(request).await }
    };
    assert_eq!(reason(outsider(&fixture, BOB).await), ErrorReason::Forbidden);
    room.member(&mut fixture, BOB, "invite").await;
    assert_eq!(reason(outsider(&fixture, BOB).await), ErrorReason::Forbidden);
    room.member(&mut fixture, BOB, "join").await;
    let old = room.last().state.clone();
    assert_eq!(whole(&fixture, &room, BOB, None).await, old);
    room.member(&mut fixture, BOB, "leave").await;
    let left = room.last().clone();
    let later = room.state(&mut fixture, ALICE, "m.room.topic", "", json!({"topic": "new"})).await;
    // A ban or an invite after leaving changes nothing of it.
    for membership in ["leave", "ban", "leave", "invite", "leave", "knock"] {
        room.member(&mut fixture, BOB, membership).await;
        assert_eq!(whole(&fixture, &room, BOB, None).await, left.state);
        assert_eq!(whole(&fixture, &room, BOB, Some(Point::AtSeq(i64::MAX))).await, left.state);
    }
    let peek = async |point: Point| {
        let request = StreamStateRequest {
            room_id: room_id(),
            viewer: BOB.to_owned(),
            at: Some(StatePoint { point: Some(point) }),
            ..StreamStateRequest::default()
        };
        stream(&fixture, request).await
    };
    assert_eq!(reason(peek(Point::AfterEventId(later)).await), ErrorReason::Forbidden);
    assert_eq!(reason(peek(Point::AfterEventId("$unknown".to_owned())).await), ErrorReason::Forbidden);
    assert_eq!(reason(peek(Point::AtSeq(0)).await), ErrorReason::Forbidden);
    fixture.sql("UPDATE room_members SET forgotten = true WHERE user_id = '@bob:example.org'").await;
    assert_eq!(reason(outsider(&fixture, BOB).await), ErrorReason::Forbidden);
    let content = json!({"history_visibility": "world_readable"});
    room.state(&mut fixture, ALICE, "m.room.history_visibility", "", content).await;
    assert_eq!(whole(&fixture, &room, BOB, None).await, room.last().state);
    assert_eq!(whole(&fixture, &room, "@carol:example.org", None).await, room.last().state);
}

#[tokio::test]
async fn a_member_who_asks_for_a_time_before_theirs_sees_the_state_they_came_into() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(ALICE).await;
    room.member(&mut fixture, ALICE, "join").await;
    let began = room.last().state.clone();
    let content = json!({"history_visibility": "joined"});
    room.state(&mut fixture, ALICE, "m.room.history_visibility", "", content).await;
    room.message(&mut fixture, ALICE).await;
    let before = room.last().seq.cast_signed();
    room.member(&mut fixture, BOB, "join").await;
    let joined = room.last().state.clone();
    room.state(&mut fixture, ALICE, "m.room.topic", "", json!({"topic": "new"})).await;
    // Before the room: nobody was in it yet.
    assert_eq!(whole(&fixture, &room, ALICE, Some(Point::AtSeq(0))).await, began);
    assert_eq!(whole(&fixture, &room, BOB, Some(Point::AtSeq(before))).await, joined);
    assert_eq!(whole(&fixture, &room, "", Some(Point::AtSeq(0))).await, BTreeMap::new());
}

/// The first room of a fixture.
fn room_id() -> String {
    "!room1:example.org".to_owned()
}

#[tokio::test]
async fn replaced_content_and_sender_are_told() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(ALICE).await;
    room.member(&mut fixture, ALICE, "join").await;
    room.member(&mut fixture, BOB, "join").await;
    let old = room.state(&mut fixture, ALICE, "m.room.topic", "", json!({"topic": "old"})).await;
    room.state(&mut fixture, BOB, "m.room.topic", "", json!({"topic": "new"})).await;
    let get = async |viewer: &str| {
        let request = GetStateRequest {
            room_id: room_id(),
            viewer: viewer.to_owned(),
            keys: vec![StateKey { r#type: "m.room.topic".to_owned(), state_key: String::new() }],
            ..GetStateRequest::default()
        };
        let answer = fixture.queries().get_state(request).await.expect("state is read").into_inner();
        assert_eq!(answer.as_of.expect("it is told").seq, room.last().seq);
        answer.events.into_iter().next().expect("the topic is set")
    };
    let event = get(ALICE).await;
    assert_eq!(event.replaces_event_id, old);
    assert_eq!(event.prev_sender, ALICE);
    assert_eq!(serde_json::from_slice::<Value>(&event.prev_content).unwrap(), json!({"topic": "old"}));
    assert_eq!(event.viewer_membership, "join");
    // The transaction is for its sender alone, and for services.
    assert_eq!((event.txn_id.as_str(), event.txn_device_id.as_str()), ("", ""));
    assert_eq!(get(BOB).await.txn_id, "T");
    assert_eq!(get("").await.txn_device_id, "D");
}
