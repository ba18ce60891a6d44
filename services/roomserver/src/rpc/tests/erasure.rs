//! Events of users who asked to be erased, in every read.

use plexus_proto::room::v1::{
    Direction, GetAggregationsRequest, GetEventsRequest, GetStateRequest, ListCopiesRequest,
    ListRelationsRequest, ListThreadsRequest, ListTimelineRequest, RoomEvent, StateKey, StreamStateRequest,
};
use serde_json::{Value, json};

use super::fixture::{Fixture, Room};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
/// Came after bob had spoken, and before he asked to be erased.
const CAROL: &str = "@carol:example.org";
/// Came after he had asked.
const DAVE: &str = "@dave:example.org";

struct World {
    fixture: Fixture,
    room: Room,
    root: String,
    message: String,
    topic: String,
    redacted: String,
}

fn related(rel_type: &str, event_id: &str) -> Value {
    json!({
        "body": "secret", "m.new_content": {"body": "secret"},
        "m.relates_to": {"rel_type": rel_type, "event_id": event_id},
    })
}

async fn world() -> World {
    let mut fixture = Fixture::start().await;
    for user in [ALICE, BOB, CAROL, DAVE] {
        fixture.account(user, None).await;
    }
    let mut room = fixture.room(ALICE).await;
    room.now = 100;
    room.member(&mut fixture, ALICE, "join").await;
    room.member(&mut fixture, BOB, "join").await;
    let content = json!({"algorithm": "secret"});
    room.state(&mut fixture, BOB, "m.room.encryption", "", content).await;
    let topic = room.state(&mut fixture, BOB, "m.room.topic", "", json!({"topic": "secret"})).await;
    let root = room.message(&mut fixture, ALICE).await;
    let content = json!({"body": "secret", "url": "secret"});
    let message = room.send(&mut fixture, BOB, "m.room.message", None, content).await;
    for rel_type in ["m.thread", "m.reference"] {
        room.send(
            &mut fixture,
            ALICE,
            "m.room.message",
            None,
            json!({
                "m.relates_to": {"rel_type": rel_type, "event_id": root},
            }),
        )
        .await;
        room.send(&mut fixture, BOB, "m.room.message", None, related(rel_type, &root)).await;
    }
    room.send(&mut fixture, BOB, "m.room.message", None, related("m.replace", &message)).await;
    // One of alice's, which bob has redacted.
    let redacted = room.message(&mut fixture, ALICE).await;
    let redaction = room.send(&mut fixture, BOB, "m.room.redaction", None, json!({"reason": "secret"})).await;
    let because = json!({
        "content": {"reason": "secret", "redacts": redacted}, "sender": BOB, "type": "m.room.redaction",
    });
    let unsigned = json!({"redacted_because": because}).to_string();
    fixture
        .sql(&format!(
            "UPDATE events SET flags = flags | 8 WHERE event_id = '{redacted}'; \
             UPDATE event_json SET json = convert_to(jsonb_set(convert_from(json, 'UTF8')::jsonb, '{{unsigned}}', \
             '{unsigned}')::text, 'UTF8') WHERE event_nid = (SELECT event_nid FROM events WHERE event_id = '{redacted}'); \
             INSERT INTO redactions (redacts_id, redaction_nid, room_nid, applied) \
             SELECT '{redacted}', event_nid, room_nid, true FROM events WHERE event_id = '{redaction}'"
        ))
        .await;
    room.now = 200;
    room.member(&mut fixture, CAROL, "join").await;
    room.now = 400;
    room.member(&mut fixture, DAVE, "join").await;
    room.state(&mut fixture, ALICE, "m.room.topic", "", json!({"topic": "plain"})).await;
    World { fixture, room, root, message, topic, redacted }
}

/// Text of all that is told of events.
fn text<'e>(events: impl IntoIterator<Item = &'e RoomEvent>) -> String {
    let one = |event: &RoomEvent| {
        let json = String::from_utf8(event.json.to_vec()).unwrap();
        json + std::str::from_utf8(&event.prev_content).unwrap()
    };
    events.into_iter().map(one).collect()
}

impl World {
    async fn erase(&mut self) {
        self.fixture
            .sql("UPDATE accounts SET deactivated = true, erased_ts = 300 WHERE user_id = '@bob:example.org'")
            .await;
    }

    fn timeline(&self, viewer: &str) -> ListTimelineRequest {
        ListTimelineRequest {
            room_id: self.room.room_id.clone(),
            viewer: viewer.to_owned(),
            direction: Direction::Backward.into(),
            limit: 100,
            ..ListTimelineRequest::default()
        }
    }

    /// Everything that a viewer reads of the room, by every read there is; with the name of the read.
    async fn reads(&self, viewer: &str) -> Vec<(&'static str, String)> {
        let room_id = self.room.room_id.clone();
        let viewer = viewer.to_owned();
        let (mut queries, mut history) = (self.fixture.queries(), self.fixture.history());
        let timeline = queries.list_timeline(self.timeline(&viewer)).await.unwrap().into_inner();
        let event_ids = vec![self.message.clone(), self.topic.clone(), self.redacted.clone()];
        let request = GetEventsRequest { event_ids, viewer: viewer.clone(), ..GetEventsRequest::default() };
        let events = queries.get_events(request).await.unwrap().into_inner();
        let key = |kind: &str| StateKey { r#type: kind.to_owned(), state_key: String::new() };
        let before = plexus_proto::room::v1::state_point::Point::AfterEventId(self.root.clone());
        let at = Some(plexus_proto::room::v1::StatePoint { point: Some(before) });
        let request = GetStateRequest {
            room_id: room_id.clone(),
            viewer: viewer.clone(),
            keys: vec![key("m.room.topic")],
            at: at.clone(),
        };
        let entries = queries.get_state(request.clone()).await.unwrap().into_inner();
        let now = queries.get_state(GetStateRequest { at: None, ..request }).await.unwrap().into_inner();
        let types = vec!["m.room.topic".to_owned()];
        let request = StreamStateRequest {
            room_id: room_id.clone(),
            viewer: viewer.clone(),
            types,
            at,
            ..StreamStateRequest::default()
        };
        let mut stream = queries.stream_state(request).await.unwrap().into_inner();
        let mut state = Vec::new();
        while let Some(chunk) = stream.message().await.unwrap() {
            state.extend(chunk.events);
        }
        let mut relations = String::new();
        for (event_id, recurse) in [(&self.root, false), (&self.root, true), (&self.message, false)] {
            let request = ListRelationsRequest {
                room_id: room_id.clone(),
                viewer: viewer.clone(),
                event_id: event_id.clone(),
                direction: Direction::Forward.into(),
                limit: 100,
                recurse,
                ..ListRelationsRequest::default()
            };
            let found = history.list_relations(request).await.unwrap().into_inner().events;
            assert!(*event_id != self.root || !found.is_empty(), "what alice said is there");
            relations += &text(&found);
        }
        let request = ListThreadsRequest {
            room_id: room_id.clone(),
            viewer: viewer.clone(),
            limit: 10,
            ..ListThreadsRequest::default()
        };
        let threads = history.list_threads(request).await.unwrap().into_inner();
        vec![
            ("timeline", text(&timeline.events)),
            ("events", text(&events.events)),
            ("state entries", text(&entries.events)),
            ("current state", text(&now.events)),
            ("state", text(&state)),
            ("relations", relations),
            ("threads", text(&threads.roots)),
        ]
    }

    /// What a viewer is told of the relations of an event: text, events in its thread, references.
    async fn aggregations(&self, viewer: &str, event_id: &str) -> (String, u64, usize) {
        let request = GetAggregationsRequest {
            room_id: self.room.room_id.clone(),
            viewer: viewer.to_owned(),
            event_ids: vec![event_id.to_owned()],
            ..GetAggregationsRequest::default()
        };
        let found = self.fixture.history().get_aggregations(request).await.unwrap().into_inner().aggregations;
        let Some(found) = found.into_iter().next() else { return (String::new(), 0, 0) };
        let latest = found.thread.iter().flat_map(|thread| &thread.latest);
        let told = text(found.replacement.iter().chain(latest));
        (told, found.thread.map_or(0, |thread| thread.count), found.references.len())
    }
}

#[tokio::test]
async fn nobody_who_joins_after_an_erasure_reads_what_was_said_before() {
    let mut world = world().await;
    let all = world.reads(DAVE).await;
    let secret: Vec<_> =
        all.iter().filter(|(_, told)| told.contains("secret")).map(|(name, _)| *name).collect();
    assert_eq!(secret, ["timeline", "events", "state entries", "current state", "state", "relations"]);
    let (root, message) = (world.root.clone(), world.message.clone());
    assert_eq!(world.aggregations(DAVE, &root).await.1, 2);
    assert!(world.aggregations(DAVE, &message).await.0.contains("secret"));
    world.erase().await;
    for viewer in [ALICE, CAROL] {
        // But for what a newer event says of the one that it replaced.
        let mut expected = all.clone();
        expected.retain(|(name, _)| !["current state", "timeline"].contains(name));
        let mut told = world.reads(viewer).await;
        told.retain(|(name, _)| !["current state", "timeline"].contains(name));
        for ((name, told), (_, expected)) in told.iter().zip(&expected) {
            assert_eq!(
                told.matches("secret").count(),
                expected.matches("secret").count(),
                "{viewer}, {name}"
            );
        }
        assert_eq!(world.aggregations(viewer, &root).await.1, 2);
    }
    for (name, told) in world.reads(DAVE).await {
        let told = told.replace("\"algorithm\":\"secret\"", "");
        assert!(!told.contains("secret"), "{name}: {told}");
    }
    let (told, thread, references) = world.aggregations(DAVE, &root).await;
    assert!(!told.contains("secret"));
    assert_eq!((thread, references), (1, 1));
    assert_eq!(world.aggregations(DAVE, &message).await, (String::new(), 0, 0));
    // Services, and so operators, read everything.
    let service = world.fixture.queries().list_timeline(world.timeline("")).await.unwrap().into_inner();
    assert!(text(&service.events).contains("secret"));
    assert!(service.events.iter().any(|event| event.erased_sender == BOB));
}

#[tokio::test]
async fn a_copy_is_what_redaction_leaves() {
    let mut world = world().await;
    world.erase().await;
    let page = world.fixture.queries().list_timeline(world.timeline(DAVE)).await.unwrap().into_inner();
    let find = |event_id: &str| {
        let event = page.events.iter().find(|event| event.event_id == event_id).unwrap();
        serde_json::from_slice::<Value>(&event.json).unwrap()
    };
    let message = find(&world.message);
    assert_eq!((&message["content"], &message["sender"]), (&json!({}), &json!(BOB)));
    assert!(message.get("unsigned").is_none());
    let redacted = find(&world.redacted);
    let because = &redacted["unsigned"]["redacted_because"];
    assert_eq!((&because["sender"], &because["content"]), (&json!(BOB), &json!({"redacts": world.redacted})));
    let member = page.events.iter().map(|event| serde_json::from_slice::<Value>(&event.json).unwrap());
    let member = member.filter(|event| event["state_key"] == BOB).last().unwrap();
    assert_eq!(member["content"], json!({"membership": "join"}));
    // A filter looks at what is served.
    let filter = plexus_proto::room::v1::TimelineFilter { contains_url: Some(true), ..Default::default() };
    let request = ListTimelineRequest { filter: Some(filter), ..world.timeline(DAVE) };
    let page = world.fixture.queries().list_timeline(request).await.unwrap().into_inner();
    assert!(page.events.is_empty());
}

#[tokio::test]
async fn services_learn_what_a_user_is_served_redacted() {
    let mut world = world().await;
    let request = |world: &World, viewer: &str| ListCopiesRequest {
        viewer: viewer.to_owned(),
        event_ids: vec![world.message.clone(), world.root.clone(), world.topic.clone()],
    };
    let ask = async |world: &World, viewer: &str| {
        let copies =
            world.fixture.queries().list_copies(request(world, viewer)).await.unwrap().into_inner().copies;
        assert!(!text(&copies).contains("secret"));
        let mut ids: Vec<_> = copies.into_iter().map(|event| event.event_id).collect();
        ids.sort();
        ids
    };
    assert!(ask(&world, DAVE).await.is_empty());
    world.erase().await;
    let mut expected = vec![world.message.clone(), world.topic.clone()];
    expected.sort();
    assert_eq!(ask(&world, DAVE).await, expected);
    assert_eq!(ask(&world, "@stranger:example.org").await, expected);
    for viewer in [ALICE, CAROL] {
        assert!(ask(&world, viewer).await.is_empty());
    }
}
