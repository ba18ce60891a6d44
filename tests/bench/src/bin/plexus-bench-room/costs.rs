//! What inputs and reads cost in rooms of several sizes: CPU time of this process, which is the room server's and that of
//! whoever writes and awaits.

use std::time::{Duration, Instant};

use clap::Args;
use plexus_bench::usage;
use plexus_proto::{
    input::v1::InputLog,
    log::v1::{Intent, input_room_event::Body},
    room::v1::StreamStateRequest,
};
use plexus_service::outln;
use serde_json::json;

use crate::{
    far,
    join::Room,
    stage::{self, Stage},
};

#[derive(Args)]
pub(crate) struct Costs {
    /// Connection string of an empty database.
    #[arg(long)]
    postgres: String,
    /// Members of the rooms.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000,100000")]
    members: Vec<usize>,
    /// State events of a chunk of a join.
    #[arg(long, default_value_t = 10)]
    chunk: usize,
    /// Batches of 256 inputs of each kind.
    #[arg(long, default_value_t = 8)]
    batches: usize,
}

/// Inputs of a batch.
const BATCH: usize = 256;

pub(crate) async fn run(costs: Costs) -> anyhow::Result<()> {
    let stage = Stage::start(&costs.postgres).await?;
    outln!(
        "CPU time of the room server in µs for each; in brackets wall time with the commit, 256 inputs at a time"
    );
    outln!(
        "{:>8} {:>18} {:>18} {:>18} {:>16} {:>12}",
        "members",
        "message",
        "topic",
        "own name",
        "full state ms",
        "join s"
    );
    for members in costs.members {
        let mut room = Room::build(None, members)?;
        let began = Instant::now();
        room.join(&stage, costs.chunk).await?;
        let join = began.elapsed();
        let user = far::local_user();
        let message =
            |_: usize| far::intent("m.room.message", None, &json!({ "msgtype": "m.text", "body": "hello" }));
        let topic = |n: usize| far::intent("m.room.topic", Some(""), &json!({ "topic": n }));
        let named = json!({ "membership": "join" });
        let name = |n: usize| {
            let mut content = named.clone();
            content["displayname"] = json!(format!("name {n}"));
            far::intent("m.room.member", Some(&user), &content)
        };
        let message = batches(&stage, room.id(), costs.batches, message).await?;
        let topic = batches(&stage, room.id(), costs.batches, topic).await?;
        let name = batches(&stage, room.id(), costs.batches, name).await?;
        let began = Instant::now();
        let entries =
            stage.state(StreamStateRequest { room_id: room.id().to_owned(), ..Default::default() }).await?;
        let state = began.elapsed();
        anyhow::ensure!(entries > members, "the state has {entries} entries");
        outln!(
            "{members:>8} {:>18} {:>18} {:>18} {:>16.1} {:>12.1}",
            shown(message),
            shown(topic),
            shown(name),
            state.as_secs_f64() * 1000.0,
            join.as_secs_f64()
        );
    }
    stage.stop().await
}

fn shown((cpu, wall): (f64, Duration)) -> String {
    format!("{:.0} ({:.0})", cpu * 1e6, wall.as_secs_f64() * 1e6)
}

/// CPU and wall time of an input, over some batches after a first one.
async fn batches(
    stage: &Stage,
    room: &str,
    count: usize,
    intent: impl Fn(usize) -> Intent,
) -> anyhow::Result<(f64, Duration)> {
    let (mut cpu, mut began) = (usage::own_cpu_s(), Instant::now());
    for batch in 0..=count {
        if batch == 1 {
            (cpu, began) = (usage::own_cpu_s(), Instant::now());
        }
        let mut written = Vec::with_capacity(BATCH);
        for n in 0..BATCH {
            let record = stage::record(room, Body::Intent(intent(batch * BATCH + n)));
            written.push(stage.write(InputLog::Room, &record).await?);
        }
        for written in &written {
            stage.accepted(written).await?;
        }
    }
    let inputs = u32::try_from(count.max(1) * BATCH)?;
    Ok(((usage::own_cpu_s() - cpu) / f64::from(inputs), began.elapsed() / inputs))
}
