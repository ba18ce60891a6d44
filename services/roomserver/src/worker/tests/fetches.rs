//! Tests open fetches, which survive any fetcher.

use plexus_log::partition_of;
use plexus_proto::{
    input::v1::verdict::Outcome,
    log::v1::{FetchDone, fetch_done, input_room_event::Body},
    room::v1::{FindEventsRequest, ListOpenFetchesRequest, ListOpenFetchesResponse},
};
use serde_json::json;

use super::{
    fixture::{Server, World, public_room, room_record},
    received::{BOB, graph, record, remote_of},
};

async fn list(server: &Server, room_id: &str, partition: u32, limit: u32) -> ListOpenFetchesResponse {
    let request = ListOpenFetchesRequest { room_id: room_id.to_owned(), partition, after: 0, limit };
    graph(server).list_open_fetches(request).await.expect("answers").into_inner()
}

#[tokio::test]
async fn open_fetches_are_told_until_they_end() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("fetches");
    let partition = partition_of(&room);
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    let (join_id, join) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    let (first_id, first) = remote.build(BOB, "m.room.message", None, json!({"body": "one"}));
    let (last_id, last) = remote.build(BOB, "m.room.message", None, json!({"body": "two"}));
    for json in [&first, &last] {
        let verdict = server.verdict(&world.write_room(&record(&room, json)).await).await.expect("an answer");
        assert!(matches!(verdict.outcome, Some(Outcome::Parked(_))), "{verdict:?}");
    }
    // The second one lacks the join as an auth event, and the first one, which is parked itself.
    let of_room = list(&server, &room, 0, 100).await;
    assert_eq!(of_room.next, 0);
    let [first_fetch, last_fetch] = &of_room.fetches[..] else { panic!("{of_room:?}") };
    assert_eq!(first_fetch.event_id, first_id);
    assert_eq!(first_fetch.missing_prev_event_ids, std::slice::from_ref(&join_id));
    assert_eq!((&first_fetch.json, &first_fetch.via[..]), (&first, &["b.example".to_owned()][..]));
    assert_eq!((first_fetch.attempt, first_fetch.not_before_ts), (0, 0));
    assert_eq!(last_fetch.event_id, last_id);
    assert_eq!(last_fetch.missing_auth_event_ids, std::slice::from_ref(&join_id));
    assert_eq!(last_fetch.parked_event_ids, std::slice::from_ref(&first_id));
    // Of a partition it is told which rooms there are, page by page.
    let page = list(&server, "", partition, 1).await;
    assert_eq!((page.fetches.len(), page.next), (1, first_fetch.number));
    assert_eq!((page.fetches[0].room_id.as_str(), page.fetches[0].json.len()), (room.as_str(), 0));
    assert!(list(&server, "", (partition + 1) % plexus_log::PARTITIONS, 100).await.fetches.is_empty());

    let done = |outcome: fetch_done::Outcome| FetchDone {
        event_id: first_id.clone(),
        outcome: outcome.into(),
        not_before_ts: 42,
        ..FetchDone::default()
    };
    let deferred = room_record(&room, Body::FetchDone(done(fetch_done::Outcome::Deferred)));
    server.accepted(&world.write_room(&deferred).await).await;
    server.stop().await;
    let server = world.start().await;
    let fetches = list(&server, &room, 0, 100).await.fetches;
    assert_eq!((fetches[0].attempt, fetches[0].not_before_ts), (1, 42));
    // Whoever waits for what is given up asks for it.
    let given_up = room_record(&room, Body::FetchDone(done(fetch_done::Outcome::GaveUp)));
    server.accepted(&world.write_room(&given_up).await).await;
    let fetches = list(&server, &room, 0, 100).await.fetches;
    assert_eq!(fetches.len(), 1);
    assert_eq!(fetches[0].missing_prev_event_ids, std::slice::from_ref(&first_id));
    assert!(fetches[0].parked_event_ids.is_empty());

    // One that was given up may come again.
    server.accepted(&world.write_room(&record(&room, &join)).await).await;
    server.accepted(&world.write_room(&record(&room, &first)).await).await;
    assert!(list(&server, "", partition, 100).await.fetches.is_empty());
    let request = FindEventsRequest {
        room_id: room.clone(),
        event_ids: vec![join_id.clone(), last_id.clone(), "$unknown".to_owned()],
    };
    let mut known = graph(&server).find_events(request).await.expect("answers").into_inner().events;
    known.sort_by_key(|event| event.event_id != join_id);
    assert_eq!(known.len(), 2);
    assert_eq!((known[0].r#type.as_str(), known[0].state_key.as_deref()), ("m.room.member", Some(BOB)));
    assert_eq!((known[1].event_id.as_str(), known[1].state_key.as_deref()), (last_id.as_str(), None));
    assert!(known.iter().all(|event| event.placed));
    server.stop().await;
}
