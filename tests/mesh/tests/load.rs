//! Many senders at once: everybody reads the same, all of it, once; the room's graph stays a line.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use plexus_proto::operator::v1::{ListExtremitiesRequest, room_admin_service_client::RoomAdminServiceClient};
use plexus_testkit::actor::{User, escape};
use plexus_tests_mesh::{
    ledger::{Crowd, Ledger, Reader, read_by_messages},
    stage::{Shape, Stage},
};

async fn everybody_reads_the_same(shape: Shape, count: usize) -> Result<()> {
    let stage = Stage::start(shape).await?;
    let crowd = Crowd::gather(&stage.services.homeserver, 20, 10).await?;
    let readers = [Reader::follow(&crowd.users[0]).await?, Reader::follow(&crowd.users[19]).await?];

    let ledger = Arc::new(Ledger::default());
    ledger.send_all(&crowd, count).await?;
    assert_eq!(ledger.count().await, count);

    let reference = read_by_messages(&crowd.users[7], &crowd.rooms).await?;
    ledger.check("/messages", &reference).await?;
    let read: usize = reference.values().map(Vec::len).sum();
    assert_eq!(read, count, "nothing is there that was not sent");
    for (index, reader) in readers.into_iter().enumerate() {
        let timelines = reader.finish().await?;
        ledger.check(&format!("reader {index} by /sync"), &timelines).await?;
        assert_eq!(timelines, reference, "reader {index} sees another order than /messages");
    }
    for room in &crowd.rooms {
        graph_is_a_line(&stage, &crowd.users[3], room).await?;
    }
    Ok(())
}

/// Checks that every event cites one event and that one event is left uncited.
async fn graph_is_a_line(stage: &Stage, user: &User, room: &str) -> Result<()> {
    let filter = escape(r#"{"event_format":"federation","room":{"timeline":{"limit":1000}}}"#);
    let sync = user.sync(None, std::time::Duration::ZERO, &format!("&filter={filter}")).await?.ok()?;
    let timeline = sync["rooms"]["join"][room]["timeline"]["events"].as_array().context("no timeline")?;
    ensure!(timeline.len() > 2, "the timeline is empty");
    for event in timeline.iter().filter(|event| event["type"] != "m.room.create") {
        let prev_events = event["prev_events"].as_array().context("no prev_events in federation format")?;
        ensure!(prev_events.len() == 1, "a fork before {event}");
    }
    let request = ListExtremitiesRequest { room_id: room.to_owned() };
    let ends = RoomAdminServiceClient::new(stage.operator(0)?).list_extremities(request).await?.into_inner();
    ensure!(ends.forward.len() == 1, "more than one forward extremity: {:?}", ends.forward);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_on_standalone() -> Result<()> {
    everybody_reads_the_same(Shape::Standalone, 10_000).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_on_the_mesh() -> Result<()> {
    everybody_reads_the_same(Shape::Mesh(1), 10_000).await
}
