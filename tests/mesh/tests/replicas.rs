//! Several syncs: any of them answers any token, and none of them needs what it holds in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use plexus_tests_mesh::{
    ledger::{Crowd, Ledger, Reader, read_by_messages},
    stage::{Shape, Stage},
};

/// Messages that are sent while readers follow.
const MESSAGES: usize = 10_000;
/// How often a sync is killed meanwhile.
const KILLS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn readers_miss_nothing_between_two_syncs_of_which_one_is_killed() -> Result<()> {
    let mut stage = Stage::start(Shape::Mesh(1)).await?;
    let here = stage.services.homeserver.clone();
    let there = stage.services.add_sync("sync-1").await?;
    let killed = stage.services.add_sync("sync-2").await?;
    let crowd = Crowd::gather(&here, 8, 8).await?;
    // From one to the other with each request; and with one that loses all that it holds.
    let alternates =
        Reader::follow_in_turn(vec![crowd.users[0].at(&here), crowd.users[0].at(&there)]).await?;
    let loses = Reader::follow(&crowd.users[1].at(&killed)).await?;

    let ledger = Arc::new(Ledger::default());
    let go_on = Arc::new(AtomicBool::new(true));
    let load = tokio::spawn({
        let (ledger, go_on) = (Arc::clone(&ledger), Arc::clone(&go_on));
        let crowd = Crowd { users: crowd.users.clone(), rooms: crowd.rooms.clone() };
        async move {
            let sent = ledger.send_while(&crowd, MESSAGES, &go_on).await;
            go_on.store(false, Ordering::Relaxed);
            sent
        }
    });
    let mut kills = 0;
    while go_on.load(Ordering::Relaxed) {
        let told = ledger.count().await;
        if kills < KILLS && told > MESSAGES / (KILLS + 1) * (kills + 1) {
            let process = stage.services.process("sync-2")?;
            process.kill().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            process.restart()?;
            kills += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.await??;
    ensure!(kills == KILLS, "it was killed only {kills} times");
    ensure!(ledger.count().await == MESSAGES, "only {} messages were acknowledged", ledger.count().await);

    let reference = read_by_messages(&crowd.users[2], &crowd.rooms).await?;
    for (who, reader) in [("who alternates", alternates), ("whose sync is killed", loses)] {
        let timelines = reader.finish().await?;
        ledger.check(who, &timelines).await?;
        assert_eq!(timelines, reference, "the reader {who} sees another order than /messages");
    }
    println!("{MESSAGES} messages, once and in order, to both readers");
    Ok(())
}
