//! Every read of a room on random histories, against the rules of the specification, told naively. Timelines and events
//! by ID are compared in [`super::timeline`].

use std::collections::{BTreeMap, BTreeSet};

use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        Direction, EventsOfRoom, FindEventByTimeRequest, GetAggregationsInRoomsRequest, GetStateRequest,
        ListRelationsRequest, StateKey, StatePoint, StreamStateRequest, state_point::Point,
    },
};
use serde_json::{Value, json};

use super::{
    fixture::{Dice, Fixture, Room, Sent, reason},
    timeline::{USERS, expected, sees_state},
};
use crate::visibility::{Membership, tests::oracle};

/// A history, and what belongs to its events that the fixture does not keep.
struct History {
    room: Room,
    root: String,
    /// `origin_server_ts` by event, in order of the log.
    times: Vec<i64>,
}

async fn history(fixture: &mut Fixture, seed: u64) -> History {
    let mut dice = Dice::new(seed);
    let mut room = fixture.room(USERS[0]).await;
    room.member(fixture, USERS[0], "join").await;
    let root = room.message(fixture, USERS[0]).await;
    let mut times = vec![room.now; room.log.len()];
    for number in 0..30 {
        // Clocks of servers differ.
        room.now = 10 + i64::try_from(number * 10 + dice.roll(40)).expect("small");
        match dice.roll(8) {
            0 => {
                let value = ["joined", "invited", "shared", "world_readable"][dice.roll(4)];
                let content = json!({"history_visibility": value});
                room.state(fixture, USERS[0], "m.room.history_visibility", "", content).await;
            }
            1 => {
                room.state(fixture, USERS[0], "m.room.topic", "", json!({"topic": number})).await;
            }
            2..=5 => {
                let membership = ["join", "join", "invite", "knock", "leave", "ban"][dice.roll(6)];
                room.member(fixture, USERS[1 + dice.roll(3)], membership).await;
            }
            _ => {}
        }
        let relation = json!({"m.relates_to": {"rel_type": "m.reference", "event_id": root}});
        room.send(fixture, USERS[0], "m.room.message", None, relation).await;
        times.resize(room.log.len(), room.now);
    }
    History { room, root, times }
}

/// A history as one viewer may see it.
struct Sight<'a> {
    history: &'a History,
    viewer: &'a str,
    memberships: Vec<Membership>,
    /// Events that may be seen, up to the end of the viewer's stay.
    visible: Vec<Sent>,
    /// Whether anything of the room may be seen.
    allowed: bool,
}

impl<'a> Sight<'a> {
    fn of(history: &'a History, viewer: &'a str) -> Self {
        let room = &history.room;
        let (visible, allowed, closed_after) = expected(room, viewer);
        let last = closed_after.map_or(u64::MAX, |departure| room.log[departure].seq);
        let memberships =
            room.log.iter().map(|sent| sent.memberships.get(viewer).copied().unwrap_or(Membership::Leave));
        Self {
            history,
            viewer,
            memberships: memberships.collect(),
            visible: visible.into_iter().filter(|sent| sent.seq <= last).collect(),
            allowed,
        }
    }

    fn sees(&self, event_id: &str) -> bool {
        self.visible.iter().any(|sent| sent.event_id == event_id)
    }

    /// The index of the event that ended the viewer's last stay.
    fn departure(&self) -> Option<usize> {
        let last_in = self.memberships.iter().rposition(|membership| *membership == Membership::Join)?;
        (last_in + 1 < self.memberships.len()).then_some(last_in + 1)
    }

    /// Whether the rules let the viewer see what the room was like at an event.
    fn sees_state_at(&self, index: usize) -> bool {
        let sent = &self.history.room.log[index];
        let own = sent.event_type == "m.room.member" && sent.state_key.as_deref() == Some(self.viewer);
        oracle(&self.memberships, index, sent.visibility, own)
    }

    fn references(&self) -> Vec<String> {
        let root = self.history.room.log.iter().position(|sent| sent.event_id == self.history.root);
        let after = &self.history.room.log[root.expect("the root is there")].seq;
        let messages =
            self.visible.iter().filter(|sent| sent.seq > *after && sent.event_type == "m.room.message");
        messages.map(|sent| sent.event_id.clone()).collect()
    }
}

async fn state(
    fixture: &Fixture,
    room: &Room,
    viewer: &str,
    point: Option<Point>,
) -> Result<BTreeMap<(String, String), String>, tonic::Status> {
    let request = StreamStateRequest {
        room_id: room.room_id.clone(),
        viewer: viewer.to_owned(),
        at: point.clone().map(|point| StatePoint { point: Some(point) }),
        ..StreamStateRequest::default()
    };
    // The topic alone must be told as it is in the whole.
    let one = GetStateRequest {
        room_id: room.room_id.clone(),
        viewer: viewer.to_owned(),
        keys: vec![StateKey { r#type: "m.room.topic".to_owned(), state_key: String::new() }],
        at: point.map(|point| StatePoint { point: Some(point) }),
    };
    let topic = fixture.queries().get_state(one).await;
    let mut stream = match fixture.queries().stream_state(request).await {
        Ok(stream) => stream.into_inner(),
        Err(refused) => {
            topic.expect_err("what is refused as a whole is refused in part");
            return Err(refused);
        }
    };
    let mut found = BTreeMap::new();
    while let Some(chunk) = stream.message().await? {
        for event in chunk.events {
            let json: Value = serde_json::from_slice(&event.json).unwrap();
            let text = |field: &str| json[field].as_str().unwrap().to_owned();
            found.insert((text("type"), text("state_key")), event.event_id);
        }
    }
    let topic = topic.expect("state is read").into_inner().events.into_iter().next();
    let key = ("m.room.topic".to_owned(), String::new());
    assert_eq!(topic.map(|event| event.event_id), found.get(&key).cloned());
    Ok(found)
}

async fn check_state(fixture: &Fixture, sight: &Sight<'_>) {
    let room = &sight.history.room;
    let viewer = sight.viewer;
    let now = state(fixture, room, viewer, None).await;
    if sees_state(room, viewer) {
        let index = sight.departure().unwrap_or(room.log.len() - 1);
        assert_eq!(now.expect("state is read"), room.log[index].state, "{viewer} now");
    } else {
        assert_eq!(reason(now), ErrorReason::Forbidden, "{viewer} now");
    }
    let nothing = BTreeMap::new();
    for (index, sent) in room.log.iter().enumerate() {
        let before = index.checked_sub(1).map_or(&nothing, |before| &room.log[before].state);
        for (point, expected) in [
            (Point::AfterEventId(sent.event_id.clone()), &sent.state),
            (Point::BeforeEventId(sent.event_id.clone()), before),
        ] {
            let found = state(fixture, room, viewer, Some(point.clone())).await;
            if sight.allowed && sight.sees_state_at(index) {
                assert_eq!(found.expect("state is read"), *expected, "{viewer} at {index}: {point:?}");
            } else {
                assert_eq!(reason(found), ErrorReason::Forbidden, "{viewer} at {index}: {point:?}");
            }
        }
    }
}

async fn check_relations(fixture: &Fixture, sight: &Sight<'_>) {
    let history = sight.history;
    let references = sight.references();
    for direction in [Direction::Backward, Direction::Forward] {
        let request = ListRelationsRequest {
            room_id: history.room.room_id.clone(),
            viewer: sight.viewer.to_owned(),
            event_id: history.root.clone(),
            direction: direction.into(),
            limit: 1_000,
            ..ListRelationsRequest::default()
        };
        let found = fixture.history().list_relations(request).await;
        if !sight.allowed {
            assert_eq!(reason(found), ErrorReason::Forbidden);
        } else if !sight.sees(&history.root) {
            assert_eq!(reason(found), ErrorReason::NotFound);
        } else {
            let found = found.expect("relations are listed").into_inner().events;
            let mut ids: Vec<_> = found.into_iter().map(|event| event.event_id).collect();
            if direction == Direction::Backward {
                ids.reverse();
            }
            assert_eq!(ids, references, "{}", sight.viewer);
        }
    }
    let of_room = EventsOfRoom {
        room_id: history.room.room_id.clone(),
        event_ids: vec![history.root.clone()],
        up_to: None,
    };
    let request = GetAggregationsInRoomsRequest {
        viewer: sight.viewer.to_owned(),
        rooms: vec![of_room],
        ignored_users: Vec::new(),
    };
    let found = fixture.history().get_aggregations_in_rooms(request).await.expect("aggregations are read");
    let found: Vec<_> =
        found.into_inner().aggregations.into_iter().flat_map(|found| found.references).collect();
    assert_eq!(found, if sight.allowed { references } else { Vec::new() }, "{}", sight.viewer);
}

async fn check_times(fixture: &Fixture, sight: &Sight<'_>) {
    let history = sight.history;
    let visible: BTreeSet<&str> = sight.visible.iter().map(|sent| sent.event_id.as_str()).collect();
    let mut by_time: Vec<_> = history.room.log.iter().zip(&history.times).collect();
    by_time.sort_by_key(|(sent, time)| (**time, sent.seq));
    by_time.retain(|(sent, _)| visible.contains(sent.event_id.as_str()));
    for ts in (0..360).step_by(9) {
        for direction in [Direction::Backward, Direction::Forward] {
            let request = FindEventByTimeRequest {
                room_id: history.room.room_id.clone(),
                viewer: sight.viewer.to_owned(),
                ts,
                direction: direction.into(),
            };
            let found = fixture.history().find_event_by_time(request).await;
            let expected = match direction {
                Direction::Backward => by_time.iter().rfind(|(_, time)| **time <= ts),
                _ => by_time.iter().find(|(_, time)| **time >= ts),
            };
            match expected.filter(|_| sight.allowed) {
                Some((sent, _)) => {
                    let found = found.expect("there is an event").into_inner();
                    assert_eq!(found.event_id, sent.event_id, "{} at {ts}, {direction:?}", sight.viewer);
                }
                None if sight.allowed => assert_eq!(reason(found), ErrorReason::NotFound),
                None => assert_eq!(reason(found), ErrorReason::Forbidden),
            }
        }
    }
}

#[tokio::test]
async fn every_read_of_a_random_history_keeps_to_the_rules() {
    let mut fixture = Fixture::start().await;
    for seed in 100..106 {
        let history = history(&mut fixture, seed).await;
        for viewer in USERS {
            let sight = Sight::of(&history, viewer);
            check_state(&fixture, &sight).await;
            check_relations(&fixture, &sight).await;
            check_times(&fixture, &sight).await;
        }
    }
}
