//! Kill anything at any moment: nothing acknowledged is lost or doubled, and sending resumes soon.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use plexus_tests_mesh::{
    ledger::{Crowd, Ledger, Reader, read_by_messages},
    stage::{Shape, Stage},
};

/// How soon a send must be acknowledged again after what was killed is running again.
const RESUME: Duration = Duration::from_secs(5);

/// Runs `disturb` while messages are being sent, then checks the ledger against what readers got.
async fn under_load(shape: Shape, disturb: impl AsyncFnOnce(&mut Stage, &Crowd) -> Result<()>) -> Result<()> {
    let mut stage = Stage::start(shape).await?;
    let crowd = Crowd::gather(&stage.services.homeserver, 8, 4).await?;
    let reader = Reader::follow(&crowd.users[0]).await?;

    let ledger = Arc::new(Ledger::default());
    let go_on = Arc::new(AtomicBool::new(true));
    let load = tokio::spawn({
        let (ledger, go_on) = (Arc::clone(&ledger), Arc::clone(&go_on));
        let crowd = Crowd { users: crowd.users.clone(), rooms: crowd.rooms.clone() };
        async move { ledger.send_while(&crowd, usize::MAX, &go_on).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    if let Err(failure) = disturb(&mut stage, &crowd).await {
        return Err(failure.context(stage.services.last_words()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    go_on.store(false, Ordering::Relaxed);
    load.await??;

    let acknowledged = ledger.count().await;
    ensure!(acknowledged > 50, "only {acknowledged} messages were acknowledged: that is no load");
    let reference = read_by_messages(&crowd.users[1], &crowd.rooms).await?;
    ledger.check("/messages", &reference).await?;
    let timelines = reader.finish().await?;
    ledger.check("the reader by /sync", &timelines).await?;
    assert_eq!(timelines, reference, "the reader sees another order than /messages");
    println!("{acknowledged} acknowledged, longest send {:?}", ledger.longest_send().await);
    Ok(())
}

/// Fails if no send is acknowledged soon.
async fn resumes(crowd: &Crowd, what: &str) -> Result<()> {
    let start = Instant::now();
    crowd.users[2].send_surely(&crowd.rooms[0], &format!("after {what}"), RESUME).await?;
    ensure!(
        start.elapsed() < RESUME,
        "sending resumed only {:?} after the restart of {what}",
        start.elapsed()
    );
    println!("sending resumed {:?} after the restart of {what}", start.elapsed());
    Ok(())
}

async fn kill_and_restart(stage: &mut Stage, crowd: &Crowd, label: &str) -> Result<()> {
    let process = stage.services.process(label)?;
    process.kill().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.restart()?;
    resumes(crowd, label).await
}

async fn kill_postgres(stage: &mut Stage, crowd: &Crowd) -> Result<()> {
    stage.postgres.kill().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.postgres.process.restart()?;
    stage.postgres.wait().await?;
    resumes(crowd, "postgres").await
}

#[tokio::test(flavor = "multi_thread")]
async fn standalone_is_killed_three_times() -> Result<()> {
    under_load(Shape::Standalone, async |stage, crowd| {
        for _ in 0..3 {
            kill_and_restart(stage, crowd, "standalone").await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_killed_under_standalone() -> Result<()> {
    under_load(Shape::Standalone, kill_postgres).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_of_the_mesh_is_killed() -> Result<()> {
    under_load(Shape::Mesh(1), async |stage, crowd| {
        for label in ["roomserver-0", "clientapi", "sync"] {
            kill_and_restart(stage, crowd, label).await?;
        }
        kill_postgres(stage, crowd).await?;
        if let Some(broker) = &mut stage.broker {
            broker.process.kill().await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            broker.process.restart()?;
            broker.wait().await?;
            resumes(crowd, "the broker").await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_topics_are_deleted_while_everything_is_stopped() -> Result<()> {
    let mut stage = Stage::start(Shape::Mesh(1)).await?;
    let crowd = Crowd::gather(&stage.services.homeserver, 4, 2).await?;
    let ledger = Arc::new(Ledger::default());
    ledger.send_all(&crowd, 200).await?;
    let first = crowd.users[0].sync(None, Duration::ZERO, "").await?.ok()?;
    let since = first["next_batch"].as_str().map(str::to_owned);
    ledger.send_all(&crowd, 50).await?;

    stage.services.kill().await?;
    if let Some(broker) = &mut stage.broker {
        broker.process.kill().await?;
        broker.wipe()?;
        broker.process.restart()?;
        broker.wait().await?;
    }
    stage.services.restart().await?;

    ledger.send_all(&crowd, 50).await?;
    ledger.check("/messages", &read_by_messages(&crowd.users[1], &crowd.rooms).await?).await?;
    // A token from before the topics were deleted still works, and brings what it lacks.
    let last = crowd.users[1].send(&crowd.rooms[0], "the last").await?;
    let sees_last = |sync: &serde_json::Value| {
        let events = sync["rooms"]["join"][&crowd.rooms[0]]["timeline"]["events"].as_array()?.clone();
        events.iter().any(|event| event["event_id"] == last.as_str()).then_some(())
    };
    crowd.users[0].sync_until("the last message", since, Duration::from_secs(10), sees_last).await?;
    Ok(())
}
