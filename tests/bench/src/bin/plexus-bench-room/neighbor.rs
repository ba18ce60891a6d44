//! One room, while another of its partition is joined through the bulk lane and a third one has parked events.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use plexus_log::partition_of;
use plexus_proto::{
    input::v1::{InputLog, verdict::Outcome},
    log::v1::{input_room_event::Body, pdu::Kind},
};
use plexus_service::outln;
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
    /// Seconds of the measurement before anything is parked and joined.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds for which the room is joined, and then not, in turn.
    #[arg(long, default_value_t = 10)]
    turn: u64,
}

pub(crate) async fn run(neighbor: Neighbor) -> anyhow::Result<()> {
    let stage = Arc::new(Stage::start(&neighbor.postgres).await?);
    let (room, batch) = far::local_room("measured")?;
    stage.put(InputLog::Room, &stage::record(&room, Body::Batch(batch))).await?;
    let partition = partition_of(&room);
    outln!("building the room that is joined");
    let mut joining = Room::build(Some(partition), neighbor.members)?;
    let length = Duration::from_secs(neighbor.seconds);
    paced::<1>(&stage, &room, neighbor.rate, until(length / 4)).await?;
    let [alone] = paced(&stage, &room, neighbor.rate, until(length)).await?;
    print("alone", &alone);

    park(&stage, partition, neighbor.parked).await?;
    // In turns, so that both are measured under the same conditions: the database grows and writes checkpoints meanwhile.
    let (turns, now) = tokio::sync::watch::channel(Some(JOIN));
    let turn = Duration::from_secs(neighbor.turn);
    let mut took = Duration::ZERO;
    // A task of its own: whoever joins is not to keep whoever measures from sending.
    let measured = tokio::spawn({
        let (stage, rate) = (Arc::clone(&stage), neighbor.rate);
        async move { paced(&stage, &room, rate, || *now.borrow()).await }
    });
    let rest = async |elapsed| {
        took += elapsed;
        turns.send_replace(Some(REST));
        tokio::time::sleep(turn).await;
        turns.send_replace(Some(JOIN));
    };
    let joined = joining.join_in_turns(&stage, neighbor.chunk, turn, rest).await;
    turns.send_replace(None);
    joined?;
    outln!("the join took {:.1} s, in turns of {} s", took.as_secs_f64(), neighbor.turn);
    let [join, rest] = measured.await??;
    print("with parked events and the join", &join);
    print("with parked events, between turns", &rest);
    outln!("p99 moved by {:+.0} %", (p99(&join) / p99(&rest) - 1.0) * 100.0);
    Arc::into_inner(stage).context("something is still under way")?.stop().await
}

/// Turns: the room is being joined, or not.
const JOIN: usize = 0;
const REST: usize = 1;

fn until(length: Duration) -> impl Fn() -> Option<usize> {
    let end = Instant::now() + length;
    move || (Instant::now() <= end).then_some(0)
}

/// Sends at a fixed rate until there is no turn any more; latencies count from the moment when each message was due, for
/// the turn of that moment.
async fn paced<const TURNS: usize>(
    stage: &Stage,
    room: &str,
    rate: f64,
    turn: impl Fn() -> Option<usize>,
) -> anyhow::Result<[Histogram<u64>; TURNS]> {
    let empty = Histogram::<u64>::new(3)?;
    let mut latencies = [(); TURNS].map(|()| empty.clone());
    let pause = Duration::from_secs_f64(1.0 / rate);
    let mut due = Instant::now();
    let mut sent = futures::stream::FuturesUnordered::new();
    let mut ended = false;
    while !ended || !sent.is_empty() {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()), if !ended => {
                let Some(turn) = turn() else {
                    ended = true;
                    continue;
                };
                let intent = far::intent("m.room.message", None, &json!({ "msgtype": "m.text", "body": "a message" }));
                let record = stage::record(room, Body::Intent(intent));
                sent.push(async move {
                    stage.put(InputLog::Room, &record).await?;
                    anyhow::Ok((turn, due.elapsed()))
                });
                due += pause;
            }
            Some(done) = futures::StreamExt::next(&mut sent) => {
                let (turn, took) = done?;
                latencies[turn].record(u64::try_from(took.as_micros())?)?;
            }
        }
    }
    Ok(latencies)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
fn p99(latencies: &Histogram<u64>) -> f64 {
    latencies.value_at_quantile(0.99) as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
fn print(what: &str, latencies: &Histogram<u64>) {
    let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    outln!(
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
