//! One room, while another of its partition is joined through the bulk lane and a third one has parked events.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use plexus_log::partition_of;
use plexus_proto::{
    input::v1::{InputLog, verdict::Outcome},
    log::v1::{input_room_event::Body, pdu::Kind},
};
use serde_json::json;

use crate::{
    database,
    far::{self, Far},
    join::Room,
    stage::{self, Stage},
};

#[derive(Args)]
pub(crate) struct Neighbor {
    /// Connection string of an empty database.
    #[arg(long)]
    postgres: String,
    /// Events that are parked in the third room.
    #[arg(long, default_value_t = 1_000)]
    parked: usize,
    /// Members of the room that is joined.
    #[arg(long, default_value_t = 100_000)]
    members: usize,
    /// State events of a chunk of it.
    #[arg(long, default_value_t = 10)]
    chunk: usize,
    /// Messages a second in the room that is measured.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Seconds of each of the two measurements without the join, before and after it.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

pub(crate) async fn run(neighbor: Neighbor) -> anyhow::Result<()> {
    let stage = Stage::start(&neighbor.postgres).await?;
    let (room, batch) = far::local_room("measured")?;
    stage.put(InputLog::Room, &stage::record(&room, Body::Batch(batch))).await?;
    let partition = partition_of(&room);
    println!("building the room that is joined");
    let mut joining = Room::build(Some(partition), neighbor.members)?;
    let length = Duration::from_secs(neighbor.seconds);
    paced(&stage, &room, neighbor.rate, until(length / 4)).await?;
    let before = paced(&stage, &room, neighbor.rate, until(length)).await?;
    print("alone", &before);

    park(&stage, partition, neighbor.parked).await?;
    let done = tokio::sync::watch::channel(false);
    let began = Instant::now();
    let (joined, beside) = tokio::join!(
        async {
            let joined = joining.join(&stage, neighbor.chunk).await;
            done.0.send_replace(true);
            joined.map(|()| began.elapsed())
        },
        paced(&stage, &room, neighbor.rate, || *done.1.borrow()),
    );
    println!("the join took {:.1} s", joined?.as_secs_f64());
    let beside = beside?;
    print("with parked events and the join", &beside);
    let after = paced(&stage, &room, neighbor.rate, until(length)).await?;
    print("with parked events, after the join", &after);
    let alone = f64::midpoint(p99(&before), p99(&after));
    println!("p99 moved by {:+.0} %", (p99(&beside) / alone - 1.0) * 100.0);
    stage.stop().await
}

fn until(length: Duration) -> impl Fn() -> bool {
    let end = Instant::now() + length;
    move || Instant::now() > end
}

/// Sends at a fixed rate until told to stop; latencies count from the moment when each message was due.
async fn paced(
    stage: &Stage,
    room: &str,
    rate: f64,
    stop: impl Fn() -> bool,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::<u64>::new(3)?;
    let pause = Duration::from_secs_f64(1.0 / rate);
    let mut due = Instant::now();
    let mut sent = futures::stream::FuturesUnordered::new();
    while !stop() {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {
                let intent = far::intent("m.room.message", None, &json!({ "msgtype": "m.text", "body": "a message" }));
                let record = stage::record(room, Body::Intent(intent));
                sent.push(async move {
                    stage.put(InputLog::Room, &record).await?;
                    anyhow::Ok(due.elapsed())
                });
                due += pause;
            }
            Some(took) = futures::StreamExt::next(&mut sent) => note(&mut latencies, took?)?,
        }
    }
    while let Some(took) = futures::StreamExt::next(&mut sent).await {
        note(&mut latencies, took?)?;
    }
    Ok(latencies)
}

fn note(latencies: &mut Histogram<u64>, took: Duration) -> anyhow::Result<()> {
    Ok(latencies.record(u64::try_from(took.as_micros())?)?)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
fn p99(latencies: &Histogram<u64>) -> f64 {
    latencies.value_at_quantile(0.99) as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
fn print(what: &str, latencies: &Histogram<u64>) {
    let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "{what:<34} {:>6} messages, p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        latencies.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        latencies.max() as f64 / 1000.0
    );
}

/// Parks events of one more room.
async fn park(stage: &Stage, partition: u32, count: usize) -> anyhow::Result<()> {
    let (room, batch) = (0..)
        .map(|salt| far::local_room(&format!("parked {salt}")))
        .find(|room| room.as_ref().map_or(true, |(room, _)| partition_of(room) == partition))
        .context("there is no room in the partition")??;
    let created = stage.put(InputLog::Room, &stage::record(&room, Body::Batch(batch))).await?;
    let first = stage.events(&room, created.seq).await?;
    let ids: Vec<&str> = first.iter().map(|event| event.event_id.as_str()).collect();
    let mut far = Far::of(&room, 2 * count, 2, [ids[0], ids[2], ids[3]])?;
    for _ in 0..count {
        // Each follows another event that never arrives.
        far.next_join()?;
        let (_, json) = far.next_join()?;
        let record = stage::record(&room, Body::Pdu(far::pdu(json, Kind::New)));
        let written = stage.write(InputLog::Room, &record).await?;
        let verdict = stage.verdict(&written).await?;
        ensure!(matches!(verdict.outcome, Some(Outcome::Parked(_))), "{verdict:?}");
    }
    let parked = database::number("SELECT count(*) FROM parked").await?;
    ensure!(usize::try_from(parked)? == count, "{parked} events are parked");
    Ok(())
}
