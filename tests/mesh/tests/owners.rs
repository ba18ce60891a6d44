//! Two room servers share the partitions; one takes over from the other; a stale one commits nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use plexus_proto::operator::v1::{ListPartitionsRequest, partition_service_client::PartitionServiceClient};
use plexus_tests_mesh::{
    ledger::{Crowd, Ledger, Reader, read_by_messages},
    stage::{Shape, Stage},
};

const TAKE_OVER: Duration = Duration::from_secs(10);

/// How many partitions each owner has, as the first room server's operator interface tells.
async fn owners(stage: &Stage) -> Result<std::collections::BTreeMap<String, usize>> {
    let answer = PartitionServiceClient::new(stage.operator(0)?)
        .list_partitions(ListPartitionsRequest {})
        .await?
        .into_inner();
    let mut owners = std::collections::BTreeMap::new();
    for partition in answer.partitions {
        *owners.entry(partition.owner).or_default() += 1;
    }
    Ok(owners)
}

async fn wait_until_shared(stage: &Stage) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let owners = owners(stage).await?;
        if owners.len() == 2 && !owners.contains_key("") && owners.values().all(|count| *count >= 16) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "the partitions are not shared: {owners:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_is_replaced_in_ten_seconds() -> Result<()> {
    let mut stage = Stage::start(Shape::Mesh(2)).await?;
    wait_until_shared(&stage).await?;
    let crowd = Crowd::gather(&stage.services.homeserver, 6, 8).await?;
    let ledger = Arc::new(Ledger::default());
    let reader = Reader::follow(&crowd.users[0]).await?;
    ledger.send_all(&crowd, 200).await?;

    stage.services.process("roomserver-1")?.kill().await?;
    let killed = Instant::now();
    for room in &crowd.rooms {
        crowd.users[1].send_surely(room, "after the kill", TAKE_OVER).await?;
    }
    ensure!(killed.elapsed() < TAKE_OVER, "taking over lasted {:?}", killed.elapsed());
    println!("all rooms take messages {:?} after the kill", killed.elapsed());
    ledger.send_all(&crowd, 200).await?;

    stage.services.process("roomserver-1")?.restart()?;
    wait_until_shared(&stage).await?;
    ledger.send_all(&crowd, 200).await?;
    let reference = read_by_messages(&crowd.users[1], &crowd.rooms).await?;
    ledger.check("/messages", &reference).await?;
    assert_eq!(reader.finish().await?, reference);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_owner_commits_nothing_when_it_goes_on() -> Result<()> {
    let mut stage = Stage::start(Shape::Mesh(2)).await?;
    wait_until_shared(&stage).await?;
    let crowd = Crowd::gather(&stage.services.homeserver, 6, 8).await?;
    let reader = Reader::follow(&crowd.users[0]).await?;
    let ledger = Arc::new(Ledger::default());
    let go_on = Arc::new(AtomicBool::new(true));
    let load = tokio::spawn({
        let (ledger, go_on) = (Arc::clone(&ledger), Arc::clone(&go_on));
        let crowd = Crowd { users: crowd.users.clone(), rooms: crowd.rooms.clone() };
        async move { ledger.send_while(&crowd, usize::MAX, &go_on).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;

    // Paused in the middle of its work, it misses its heartbeats; the other takes its partitions.
    stage.services.process("roomserver-1")?.signal("STOP").await?;
    let paused = Instant::now();
    for room in &crowd.rooms {
        crowd.users[1].send_surely(room, "while it is paused", TAKE_OVER + Duration::from_secs(5)).await?;
    }
    println!("all rooms take messages {:?} after the pause", paused.elapsed());
    stage.services.process("roomserver-1")?.signal("CONT").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    go_on.store(false, Ordering::Relaxed);
    load.await??;

    wait_until_shared(&stage).await?;
    ledger.send_all(&crowd, 100).await?;
    let reference = read_by_messages(&crowd.users[1], &crowd.rooms).await?;
    ledger.check("/messages", &reference).await?;
    assert_eq!(reader.finish().await?, reference);
    let first = crowd.rooms.first().context("no room")?;
    ensure!(reference.contains_key(first));
    Ok(())
}
