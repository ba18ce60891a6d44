use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        Aggregations, Direction, EventsOfRoom, FindEventByTimeRequest, GetAggregationsInRoomsRequest,
        GetAggregationsRequest, ListRelationsRequest, ListThreadsRequest, ListTimelineRequest,
        TimelineFilter,
    },
};
use serde_json::{Value, json};

use super::fixture::{Fixture, Room, reason};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const CAROL: &str = "@carol:example.org";

fn related(rel_type: &str, event_id: &str) -> Value {
    json!({ "m.relates_to": { "rel_type": rel_type, "event_id": event_id } })
}

fn edit(event_id: &str) -> Value {
    let mut content = related("m.replace", event_id);
    content["m.new_content"] = json!({ "body": "better" });
    content
}

/// A room with alice and bob.
async fn room(fixture: &mut Fixture) -> Room {
    let mut room = fixture.room(ALICE).await;
    room.member(fixture, ALICE, "join").await;
    room.member(fixture, BOB, "join").await;
    room
}

async fn say(room: &mut Room, fixture: &mut Fixture, sender: &str, content: Value) -> String {
    room.send(fixture, sender, "m.room.message", None, content).await
}

/// Pages through all relations.
async fn relations(
    fixture: &Fixture,
    room: &Room,
    request: ListRelationsRequest,
) -> Result<Vec<String>, tonic::Status> {
    let mut from = request.from;
    let mut found = Vec::new();
    loop {
        let request = ListRelationsRequest { room_id: room.room_id.clone(), from, ..request.clone() };
        let limit = usize::try_from(request.limit).unwrap();
        let page = fixture.history().list_relations(request).await?.into_inner();
        assert!(page.events.len() <= limit);
        found.extend(page.events.into_iter().map(|event| event.event_id));
        let Some(next) = page.next else { return Ok(found) };
        from = Some(next);
    }
}

fn of(event_id: &str) -> ListRelationsRequest {
    ListRelationsRequest {
        viewer: ALICE.to_owned(),
        event_id: event_id.to_owned(),
        direction: Direction::Backward.into(),
        limit: 2,
        ..ListRelationsRequest::default()
    }
}

async fn aggregations(
    fixture: &Fixture,
    room: &Room,
    viewer: &str,
    event_id: &str,
    ignored: &[&str],
) -> Option<Aggregations> {
    let request = GetAggregationsRequest {
        room_id: room.room_id.clone(),
        viewer: viewer.to_owned(),
        event_ids: vec![event_id.to_owned()],
        ignored_users: ignored.iter().map(|user| (*user).to_owned()).collect(),
    };
    let answer = fixture.history().get_aggregations(request).await.expect("aggregations are read");
    answer.into_inner().aggregations.into_iter().next()
}

#[tokio::test]
async fn relations_are_paged_in_both_directions() {
    let mut fixture = Fixture::start().await;
    let mut room = room(&mut fixture).await;
    let parent = room.message(&mut fixture, ALICE).await;
    let other = room.message(&mut fixture, ALICE).await;
    let mut thread = Vec::new();
    let mut all = Vec::new();
    for number in 0..7 {
        let reply = say(&mut room, &mut fixture, BOB, related("m.thread", &parent)).await;
        thread.push(reply.clone());
        all.push(reply);
        if number % 2 == 0 {
            all.push(
                room.send(&mut fixture, BOB, "m.reaction", None, related("m.annotation", &parent)).await,
            );
        }
        say(&mut room, &mut fixture, BOB, related("m.thread", &other)).await;
    }
    let reversed = |ids: &[String]| ids.iter().rev().cloned().collect::<Vec<_>>();
    let found = relations(&fixture, &room, of(&parent)).await.unwrap();
    assert_eq!(found, reversed(&all));
    let forward = ListRelationsRequest { direction: Direction::Forward.into(), ..of(&parent) };
    assert_eq!(relations(&fixture, &room, forward).await.unwrap(), all);
    let threads = ListRelationsRequest { rel_type: "m.thread".to_owned(), ..of(&parent) };
    assert_eq!(relations(&fixture, &room, threads).await.unwrap(), reversed(&thread));
    let both = ListRelationsRequest {
        rel_type: "m.annotation".to_owned(),
        event_type: "m.reaction".to_owned(),
        ..of(&parent)
    };
    assert_eq!(relations(&fixture, &room, both).await.unwrap().len(), 4);
    // What looks like a wildcard is none.
    let wild = ListRelationsRequest { rel_type: "m.%".to_owned(), ..of(&parent) };
    assert!(relations(&fixture, &room, wild).await.unwrap().is_empty());
    let ignoring = ListRelationsRequest { ignored_users: vec![BOB.to_owned()], ..of(&parent) };
    assert!(relations(&fixture, &room, ignoring).await.unwrap().is_empty());

    let unknown = relations(&fixture, &room, of("$none")).await;
    assert_eq!(reason(unknown), ErrorReason::NotFound);
    let stranger = ListRelationsRequest { viewer: CAROL.to_owned(), ..of(&parent) };
    assert_eq!(reason(relations(&fixture, &room, stranger).await), ErrorReason::Forbidden);
}

#[tokio::test]
async fn recursion_follows_relations_whether_they_match_or_not() {
    let mut fixture = Fixture::start().await;
    let mut room = room(&mut fixture).await;
    let parent = room.message(&mut fixture, ALICE).await;
    let reply = say(&mut room, &mut fixture, BOB, related("m.thread", &parent)).await;
    let edit = say(&mut room, &mut fixture, BOB, edit(&reply)).await;
    let third = room.send(&mut fixture, ALICE, "m.reaction", None, related("m.annotation", &edit)).await;
    let fourth = room.send(&mut fixture, ALICE, "m.reaction", None, related("m.annotation", &third)).await;
    let deep = ListRelationsRequest { recurse: true, ..of(&parent) };
    assert_eq!(relations(&fixture, &room, deep.clone()).await.unwrap(), [third.clone(), edit, reply.clone()]);
    let reactions = ListRelationsRequest { event_type: "m.reaction".to_owned(), ..deep.clone() };
    assert_eq!(relations(&fixture, &room, reactions).await.unwrap(), std::slice::from_ref(&third));
    let forward = ListRelationsRequest { direction: Direction::Forward.into(), limit: 1, ..deep };
    assert_eq!(relations(&fixture, &room, forward).await.unwrap().len(), 3);
    assert_eq!(relations(&fixture, &room, of(&third)).await.unwrap(), [fourth]);
}

#[tokio::test]
async fn the_latest_valid_edit_counts() {
    let mut fixture = Fixture::start().await;
    let mut room = room(&mut fixture).await;
    let original = room.message(&mut fixture, ALICE).await;
    assert_eq!(aggregations(&fixture, &room, BOB, &original, &[]).await, None);
    room.now = 50;
    let newest = say(&mut room, &mut fixture, ALICE, edit(&original)).await;
    room.now = 20;
    let older = say(&mut room, &mut fixture, ALICE, edit(&original)).await;
    room.now = 90;
    // By somebody else, of another type, without new content.
    say(&mut room, &mut fixture, BOB, edit(&original)).await;
    room.send(&mut fixture, ALICE, "org.example", None, edit(&original)).await;
    say(&mut room, &mut fixture, ALICE, related("m.replace", &original)).await;
    let of_edit = say(&mut room, &mut fixture, ALICE, edit(&newest)).await;
    let found = aggregations(&fixture, &room, BOB, &original, &[]).await.expect("it was edited");
    assert_eq!(found.replacement.unwrap().event_id, newest);
    // An edit cannot be edited.
    assert_eq!(aggregations(&fixture, &room, BOB, &newest, &[]).await, None);
    assert_eq!(aggregations(&fixture, &room, BOB, &original, &[ALICE]).await, None);
    // Of those that came at the same time, the one with the greatest ID is taken.
    room.now = 50;
    let tied = say(&mut room, &mut fixture, ALICE, edit(&original)).await;
    let found = aggregations(&fixture, &room, BOB, &original, &[]).await.expect("it was edited");
    assert_eq!(found.replacement.unwrap().event_id, newest.clone().max(tied));
    fixture.sql(&format!("UPDATE events SET flags = flags | 8 WHERE event_id = '{original}'")).await;
    assert_eq!(aggregations(&fixture, &room, BOB, &original, &[]).await, None);
    drop((older, of_edit));
}

#[tokio::test]
async fn aggregations_of_several_rooms_are_told_at_once() {
    let mut fixture = Fixture::start().await;
    let (mut one, mut two) = (room(&mut fixture).await, room(&mut fixture).await);
    let mut hidden = fixture.room(ALICE).await;
    hidden.member(&mut fixture, ALICE, "join").await;
    let mut asked = Vec::new();
    let mut edits = Vec::new();
    for room in [&mut one, &mut two, &mut hidden] {
        let original = room.message(&mut fixture, ALICE).await;
        let first = say(room, &mut fixture, ALICE, edit(&original)).await;
        let up_to = Some(room.last().seq);
        room.now += 10;
        let second = say(room, &mut fixture, ALICE, edit(&original)).await;
        edits.push([first, second]);
        asked.push(EventsOfRoom { room_id: room.room_id.clone(), event_ids: vec![original], up_to });
    }
    asked[1].up_to = None;
    let request = |ignored: Vec<String>| GetAggregationsInRoomsRequest {
        viewer: BOB.to_owned(),
        rooms: asked.clone(),
        ignored_users: ignored,
    };
    let answer = fixture.history().get_aggregations_in_rooms(request(Vec::new())).await.unwrap().into_inner();
    let told =
        answer.aggregations.into_iter().map(|found| (found.event_id, found.replacement.unwrap().event_id));
    let expected = [
        (asked[0].event_ids[0].clone(), edits[0][0].clone()),
        (asked[1].event_ids[0].clone(), edits[1][1].clone()),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let answer = fixture.history().get_aggregations_in_rooms(request(vec![ALICE.to_owned()])).await.unwrap();
    assert!(answer.into_inner().aggregations.is_empty());
}

#[tokio::test]
async fn threads_are_told_as_each_viewer_sees_them() {
    let mut fixture = Fixture::start().await;
    let mut room = room(&mut fixture).await;
    room.member(&mut fixture, CAROL, "join").await;
    let root = room.message(&mut fixture, ALICE).await;
    let first = say(&mut room, &mut fixture, BOB, related("m.thread", &root)).await;
    let edit = say(&mut room, &mut fixture, BOB, edit(&first)).await;
    let reference = say(&mut room, &mut fixture, BOB, related("m.reference", &root)).await;
    let thread = async |fixture: &Fixture, room: &Room, viewer: &str, ignored: &[&str]| {
        let found = aggregations(fixture, room, viewer, &root, ignored).await?;
        let thread = found.thread?;
        let nested = thread.latest_aggregations.and_then(|found| found.replacement);
        Some((
            thread.latest.unwrap().event_id,
            nested.map(|event| event.event_id),
            thread.count,
            thread.participated,
        ))
    };
    let told = Some((first.clone(), Some(edit), 1, true));
    assert_eq!(thread(&fixture, &room, ALICE, &[]).await, told);
    assert_eq!(thread(&fixture, &room, BOB, &[]).await, told);
    assert!(!thread(&fixture, &room, CAROL, &[]).await.unwrap().3);
    assert_eq!(aggregations(&fixture, &room, CAROL, &root, &[]).await.unwrap().references, [reference]);
    assert_eq!(thread(&fixture, &room, CAROL, &[BOB]).await, None);

    let second = say(&mut room, &mut fixture, CAROL, related("m.thread", &root)).await;
    assert_eq!(thread(&fixture, &room, CAROL, &[]).await, Some((second.clone(), None, 2, true)));
    assert_eq!(thread(&fixture, &room, CAROL, &[BOB]).await, Some((second, None, 1, true)));
    // Who leaves sees no more of what comes.
    room.member(&mut fixture, BOB, "leave").await;
    say(&mut room, &mut fixture, ALICE, related("m.thread", &root)).await;
    assert_eq!(thread(&fixture, &room, BOB, &[]).await.unwrap().2, 2);
    assert_eq!(thread(&fixture, &room, ALICE, &[]).await.unwrap().2, 3);
    // No thread within a thread.
    say(&mut room, &mut fixture, ALICE, related("m.thread", &first)).await;
    let nested = aggregations(&fixture, &room, ALICE, &first, &[]).await.unwrap();
    assert_eq!(nested.thread, None);
}

#[tokio::test]
async fn threads_are_listed_by_their_latest_event() {
    let mut fixture = Fixture::start().await;
    let mut room = room(&mut fixture).await;
    let mut roots = Vec::new();
    for _ in 0..5 {
        roots.push(room.message(&mut fixture, ALICE).await);
    }
    for root in &roots {
        say(&mut room, &mut fixture, ALICE, related("m.thread", root)).await;
    }
    say(&mut room, &mut fixture, BOB, related("m.thread", &roots[1])).await;
    let list = async |viewer: &str, participated: bool, limit: u32| {
        let mut from = None;
        let mut found = Vec::new();
        loop {
            let request = ListThreadsRequest {
                room_id: room.room_id.clone(),
                viewer: viewer.to_owned(),
                participated,
                from,
                limit,
            };
            let page = fixture.history().list_threads(request).await?.into_inner();
            assert!(page.roots.len() <= usize::try_from(limit).unwrap());
            found.extend(page.roots.into_iter().map(|root| root.event_id));
            let Some(next) = page.next else { return Ok::<_, tonic::Status>(found) };
            from = Some(next);
        }
    };
    let expected = [1, 4, 3, 2, 0].map(|number: usize| roots[number].clone());
    for limit in [1, 2, 5, 100] {
        assert_eq!(list(ALICE, false, limit).await.unwrap(), expected, "{limit}");
        assert_eq!(list(ALICE, true, limit).await.unwrap(), expected);
        assert_eq!(list(BOB, true, limit).await.unwrap(), [roots[1].clone()]);
    }
    assert_eq!(reason(list(CAROL, false, 5).await), ErrorReason::Forbidden);
}

#[tokio::test]
async fn timelines_are_filtered_by_relations() {
    let mut fixture = Fixture::start().await;
    let mut room = room(&mut fixture).await;
    let mut messages = Vec::new();
    for number in 0..30 {
        let message = room.message(&mut fixture, ALICE).await;
        match number % 3 {
            0 => {
                say(&mut room, &mut fixture, BOB, related("m.thread", &message)).await;
            }
            1 => {
                say(&mut room, &mut fixture, ALICE, related("m.reference", &message)).await;
            }
            _ => {}
        }
        messages.push(message);
    }
    let pick = |rest: usize| {
        let picked = messages.iter().enumerate().filter(|(number, _)| number % 3 == rest);
        picked.map(|(_, id)| id.clone()).collect::<Vec<_>>()
    };
    let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let list = async |rel_types: &[&str], senders: &[&str], limit: u32| {
        let mut from = None;
        let mut found = Vec::new();
        loop {
            let request = ListTimelineRequest {
                room_id: room.room_id.clone(),
                viewer: ALICE.to_owned(),
                direction: Direction::Forward.into(),
                from,
                limit,
                filter: Some(TimelineFilter {
                    related_by_rel_types: strings(rel_types),
                    related_by_senders: strings(senders),
                    ..TimelineFilter::default()
                }),
                ..ListTimelineRequest::default()
            };
            let page = fixture.queries().list_timeline(request).await.expect("page is read").into_inner();
            found.extend(page.events.into_iter().map(|event| event.event_id));
            let Some(next) = page.next else { return found };
            from = Some(next);
        }
    };
    for limit in [1, 4, 100] {
        assert_eq!(list(&["m.thread"], &[], limit).await, pick(0));
        assert_eq!(list(&["m.reference"], &[ALICE], limit).await, pick(1));
        assert_eq!(list(&[], &[BOB], limit).await, pick(0));
        assert!(list(&["m.thread"], &[ALICE], limit).await.is_empty());
    }
}

#[tokio::test]
async fn events_are_found_by_time() {
    let mut fixture = Fixture::start().await;
    let mut room = room(&mut fixture).await;
    let mut sent = Vec::new();
    for ts in [1000, 2000, 2000, 1500, 3000] {
        room.now = ts;
        sent.push(room.message(&mut fixture, ALICE).await);
    }
    let find = async |viewer: &str, ts: i64, direction: Direction| {
        let request = FindEventByTimeRequest {
            room_id: room.room_id.clone(),
            viewer: viewer.to_owned(),
            ts,
            direction: direction.into(),
        };
        Ok::<_, tonic::Status>(fixture.history().find_event_by_time(request).await?.into_inner().event_id)
    };
    for (ts, direction, index) in [
        (999, Direction::Forward, 0),
        (1000, Direction::Forward, 0),
        (1001, Direction::Forward, 3),
        (1999, Direction::Forward, 1),
        (1999, Direction::Backward, 3),
        (2000, Direction::Backward, 2),
        (i64::MAX, Direction::Backward, 4),
    ] {
        assert_eq!(find(ALICE, ts, direction).await.unwrap(), sent[index], "{ts} {direction:?}");
    }
    assert_eq!(reason(find(ALICE, 3001, Direction::Forward).await), ErrorReason::NotFound);
    assert_eq!(reason(find(ALICE, 0, Direction::Backward).await), ErrorReason::NotFound);
    assert_eq!(reason(find(CAROL, 2000, Direction::Forward).await), ErrorReason::Forbidden);
}
