//! A room with many members and events, loaded through the input log.

use std::{collections::VecDeque, time::Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use plexus_bench::usage;
use plexus_proto::{
    input::v1::{Accepted, InputLog, verdict::Outcome},
    log::v1::{PduBatch, input_room_event::Body, pdu::Kind},
    operator::v1::{VerifyRoomRequest, room_admin_service_client::RoomAdminServiceClient},
};
use plexus_service::outln;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{
    database,
    far::{self, Far},
    stage::{self, Stage},
};

#[derive(Args)]
pub(crate) struct Load {
    /// Connection string of an empty database; `psql` must lead to the same by its environment.
    #[arg(long)]
    postgres: String,
    /// Events in all.
    #[arg(long, default_value_t = 50_000)]
    events: usize,
    /// Members.
    #[arg(long, default_value_t = 2_500)]
    members: usize,
    /// Membership changes among the events, joins included.
    #[arg(long, default_value_t = 10_000)]
    changes: usize,
    /// Part of the events whose senders had not seen the event before.
    #[arg(long, default_value_t = 0.02)]
    forks: f64,
    /// Events in a record.
    #[arg(long, default_value_t = 50)]
    per_record: usize,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Records whose verdicts are awaited at a time.
const IN_FLIGHT: usize = 64;

pub(crate) async fn run(load: Load) -> anyhow::Result<()> {
    ensure!(load.members <= load.changes && load.changes < load.events, "wants members <= changes < events");
    let stage = Stage::start(&load.postgres).await?;
    let (idle, _) = usage::own_memory_mib();
    let (room, batch) = far::local_room("large")?;
    let created = stage.put(InputLog::Room, &stage::record(&room, Body::Batch(batch))).await?;
    let first = stage.events(&room, created.seq).await?;
    let ids: Vec<&str> = first.iter().map(|event| event.event_id.as_str()).collect();
    let [create, _, power_levels, join_rules] = ids[..] else { bail!("the room has {} events", ids.len()) };
    let mut far = Far::of(&room, load.members, load.seed, [create, power_levels, join_rules])?;

    let began = Instant::now();
    let mut waiting = VecDeque::new();
    let mut rng = StdRng::seed_from_u64(load.seed ^ 1);
    let (mut changes, mut written) = (load.changes, 0);
    while written < load.events || !waiting.is_empty() {
        if written < load.events && waiting.len() < IN_FLIGHT {
            let count = load.per_record.min(load.events - written);
            let mut pdus = Vec::with_capacity(count);
            for _ in 0..count {
                let left = load.events - written - pdus.len();
                #[expect(clippy::cast_precision_loss, reason = "a probability")]
                let changes_now = written + pdus.len() < 20 || rng.random_bool(changes as f64 / left as f64);
                let json = if changes > 0 && changes_now {
                    changes -= 1;
                    far.change(load.forks)?
                } else {
                    far.message(load.forks)?
                };
                pdus.push(far::pdu(json, Kind::New));
            }
            let record = stage::record(&room, Body::Pdus(PduBatch { pdus }));
            waiting.push_back(stage.write(InputLog::Room, &record).await?);
            written += count;
            if written % 50_000 == 0 {
                let (now, most) = usage::own_memory_mib();
                outln!(
                    "{written:>9} events, {:>6.0} s, {now} MiB, most {most} MiB",
                    began.elapsed().as_secs_f64()
                );
            }
            continue;
        }
        if let Some(oldest) = waiting.pop_front() {
            check(&stage.accepted(&oldest).await.context("a record of the load")?)?;
        }
    }
    let elapsed = began.elapsed();
    let (now, most) = usage::own_memory_mib();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = load.events as f64 / elapsed.as_secs_f64();
    outln!(
        "{} events in {:.0} s: {rate:.0} events/s, with building and signing them",
        load.events,
        elapsed.as_secs_f64()
    );
    outln!("members joined: {} here, {} by the generator", joined().await?, far.joined() + 1);
    outln!("memory of the process: {idle} MiB idle, {now} MiB now, {most} MiB at most");
    sizes(load.events).await?;
    verify(&stage, &room).await?;
    let (now, most) = usage::own_memory_mib();
    outln!("memory after verifying: {now} MiB now, {most} MiB at most");
    stage.stop().await
}

/// Whether all events of a record were accepted.
fn check(accepted: &Accepted) -> anyhow::Result<()> {
    for result in &accepted.results {
        match result.verdict.as_ref().and_then(|verdict| verdict.outcome.as_ref()) {
            Some(Outcome::Accepted(_)) => {}
            other => bail!("{} was not accepted: {other:?}", result.event_id),
        }
    }
    Ok(())
}

async fn joined() -> anyhow::Result<i64> {
    database::number("SELECT joined_members FROM rooms").await
}

/// Prints what the tables hold.
#[expect(clippy::cast_precision_loss, reason = "megabytes and ratios")]
async fn sizes(events: usize) -> anyhow::Result<()> {
    let json = database::number("SELECT sum(octet_length(json)) FROM event_json").await?;
    database::query("CHECKPOINT").await?;
    let tables = database::sizes().await?;
    let mib = |bytes: i64| bytes as f64 / 1_048_576.0;
    outln!("{:<24} {:>10} {:>10} {:>12}", "table", "MiB", "indexes", "bytes/event");
    let mut all = 0;
    for (name, table, indexes) in &tables {
        all += table + indexes;
        if table + indexes > 1_048_576 {
            let each = (table + indexes) as f64 / events as f64;
            outln!("{name:<24} {:>10.1} {:>10.1} {each:>12.0}", mib(*table), mib(*indexes));
        }
    }
    outln!("{:<24} {:>10.1} {:>10} {:>12.0}", "all", mib(all), "", all as f64 / events as f64);
    outln!(
        "JSON of events: {:.1} MiB; all tables with their indexes: {:.2} times that",
        mib(json),
        all as f64 / json as f64
    );
    Ok(())
}

async fn verify(stage: &Stage, room: &str) -> anyhow::Result<()> {
    let mut client = RoomAdminServiceClient::new(stage.operators());
    let request = VerifyRoomRequest { room_id: room.to_owned() };
    let found = client.verify_room(request).await?.into_inner();
    outln!(
        "verified {} events with {} resolutions in {:.0} s: {}",
        found.events,
        found.resolutions,
        std::time::Duration::from_millis(found.elapsed_ms).as_secs_f64(),
        if found.agrees { "agrees" } else { "DIFFERS" }
    );
    ensure!(found.agrees, "{} events differ", found.differing);
    Ok(())
}
