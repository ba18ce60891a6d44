//! Parked events go on where whoever was at it has left off.

use plexus_proto::{
    log::v1::{FetchDone, fetch_done::Outcome, input_room_event::Body as Input},
    room::v1::OpenFetch,
};
use plexus_service::Shutdown;
use tokio::time::{Duration, timeout};

use super::{ORIGIN, ROOM, World, next, now_ms, read};
use crate::fetcher;

/// The end of the first fetch.
async fn end_of(world: &World) -> FetchDone {
    let shutdown = Shutdown::new();
    let running = shutdown.spawn(fetcher::run(world.fixture.federation.clone(), shutdown.clone()));
    let mut reader = read::<plexus_log::InputRoom>(world).await;
    let record = next(&mut reader).await.swap_remove(0);
    assert_eq!(record.room_id, ROOM);
    shutdown.request();
    timeout(Duration::from_secs(5), running).await.unwrap().unwrap();
    match record.body {
        Some(Input::FetchDone(done)) => done,
        other => panic!("{other:?}"),
    }
}

fn fetch(world: &World, via: &str) -> OpenFetch {
    let event = world.event_with("", |event| event["prev_events"] = serde_json::json!(["$missing"]));
    OpenFetch {
        number: 1,
        room_id: ROOM.to_owned(),
        event_id: event.id,
        missing_prev_event_ids: vec!["$missing".to_owned()],
        via: vec![via.to_owned()],
        json: event.json.to_string().into(),
        ..OpenFetch::default()
    }
}

#[tokio::test]
async fn what_was_parked_before_is_fetched_without_being_told() {
    let world = World::new().await;
    // Nobody is there at these addresses.
    let fetch = fetch(&world, ORIGIN);
    world.rooms.open.lock().push(fetch.clone());
    let done = end_of(&world).await;
    assert_eq!((done.event_id.as_str(), done.outcome()), (fetch.event_id.as_str(), Outcome::Deferred));
    let pause = done.not_before_ts - now_ms();
    assert!((40_000..70_000).contains(&pause), "{pause}");
}

#[tokio::test]
async fn an_attempt_that_is_repeated_is_repeated_later_each_time() {
    let world = World::new().await;
    let fetch = OpenFetch { attempt: 3, ..fetch(&world, ORIGIN) };
    // One that is not due is left alone.
    let later =
        OpenFetch { number: 0, event_id: "$later".to_owned(), not_before_ts: i64::MAX, ..fetch.clone() };
    world.rooms.open.lock().extend([later, fetch.clone()]);
    let done = end_of(&world).await;
    assert_eq!(done.event_id, fetch.event_id);
    let pause = done.not_before_ts - now_ms();
    assert!((400_000..540_000).contains(&pause), "{pause}");
}
