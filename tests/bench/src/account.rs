//! A large account: what its `/sync` costs from the start, after a gap, and when nothing is new.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use plexus_bench::usage;
use plexus_service::{errln, outln};
use serde::Serialize;

use crate::{
    Target,
    client::User,
    report::{histogram, micros},
    setup,
};

/// Joins and sends at a time.
const AT_A_TIME: usize = 16;
/// Pause before a measurement, for what goes on in the background to end: so long at least and at most.
const REST: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(90));
/// CPU seconds in a second below which nothing goes on in the background.
const QUIET: f64 = 0.06;

#[derive(Args, Clone)]
pub(crate) struct Account {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Members of every room, the same ones in all rooms.
    #[arg(long, default_value_t = 50)]
    members: usize,
    /// Messages of a gap, spread over all rooms.
    #[arg(long, default_value_t = 1_000)]
    gap: usize,
    /// How often a gap is made.
    #[arg(long, default_value_t = 5)]
    gaps: usize,
    /// Requests with nothing new.
    #[arg(long, default_value_t = 5_000)]
    repeats: usize,
}

/// What one kind of request costs.
#[derive(Debug, Clone, Default, Serialize)]
struct Cost {
    what: &'static str,
    requests: u64,
    /// Latency in milliseconds.
    p50_ms: f64,
    p99_ms: f64,
    /// CPU of all processes under test for a request, in milliseconds.
    cpu_ms: f64,
    /// Size of the last answer, in KiB.
    kib: f64,
    rooms: usize,
}

/// What a run found.
#[derive(Debug, Clone, Serialize)]
struct Results {
    label: String,
    scenario: String,
    costs: Vec<Cost>,
    memory_mib: f64,
}

/// Requests of one kind, as they are made.
struct Meter<'a> {
    target: &'a Target,
    what: &'static str,
    latency: hdrhistogram::Histogram<u64>,
    cpu_s: f64,
    kib: f64,
    rooms: usize,
}

impl<'a> Meter<'a> {
    fn new(target: &'a Target, what: &'static str) -> Self {
        Self { target, what, latency: histogram(), cpu_s: 0.0, kib: 0.0, rooms: 0 }
    }

    /// Syncs so often from the same token; returns the last one told.
    async fn sync(&mut self, user: &User, since: Option<&str>, times: usize) -> anyhow::Result<String> {
        rest(self.target).await;
        let before = usage::cpu_s(&self.target.pids);
        let mut token = String::new();
        for _ in 0..times {
            let start = Instant::now();
            let (next, rooms, bytes) = user.sync_size(since).await?;
            self.latency.saturating_record(micros(start.elapsed()));
            #[expect(clippy::cast_precision_loss, reason = "an answer is far below 2^52 bytes")]
            {
                self.kib = bytes as f64 / 1024.0;
            }
            (self.rooms, token) = (rooms, next);
        }
        self.cpu_s += usage::cpu_s(&self.target.pids) - before;
        Ok(token)
    }

    fn cost(self) -> Cost {
        #[expect(clippy::cast_precision_loss, reason = "counts and microseconds are far below 2^52")]
        let (requests, ms) =
            (self.latency.len().max(1) as f64, |at: f64| self.latency.value_at_quantile(at) as f64 / 1000.0);
        Cost {
            what: self.what,
            requests: self.latency.len(),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            cpu_ms: self.cpu_s * 1000.0 / requests,
            kib: self.kib,
            rooms: self.rooms,
        }
    }
}

/// Waits until the server has done what it still had to do, and its database too: statistics, checkpoints.
async fn rest(target: &Target) {
    tokio::time::sleep(REST.0).await;
    let end = Instant::now() + REST.1;
    loop {
        let before = usage::cpu_s(&target.pids);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let used = usage::cpu_s(&target.pids) - before;
        if used <= QUIET {
            return;
        }
        if Instant::now() >= end {
            errln!("measuring although {:.0} % of a core are in use", used * 100.0);
            return;
        }
    }
}

pub(crate) async fn run(account: &Account) -> anyhow::Result<()> {
    let target = &account.target;
    ensure!(account.members >= 2, "wants somebody who speaks");
    errln!("making {} rooms of {} members", target.rooms, account.members);
    let users = setup::users(&target.url, account.members).await?;
    let make = |_| setup::room(&users);
    let rooms: Vec<String> =
        stream::iter(0..target.rooms).map(make).buffer_unordered(AT_A_TIME).try_collect().await?;
    let (reader, speaker) = (&users[0], &users[1]);
    let mut costs = Vec::new();

    let mut cold = Meter::new(target, "initial, first of the process");
    cold.sync(reader, None, 1).await?;
    costs.push(cold.cost());
    let mut warm = Meter::new(target, "initial");
    let mut since = warm.sync(reader, None, 5).await?;
    ensure!(warm.rooms == rooms.len(), "the answer has {} rooms", warm.rooms);
    costs.push(warm.cost());

    let mut gap = Meter::new(target, "first after a gap");
    for round in 0..account.gaps {
        let say = |index: usize| {
            let number = (round * account.gap + index) as u64;
            speaker.send(&rooms[index % rooms.len()], number)
        };
        let sent: Vec<String> =
            stream::iter(0..account.gap).map(say).buffer_unordered(AT_A_TIME).try_collect().await?;
        ensure!(sent.len() == account.gap, "not all was sent");
        since = gap.sync(reader, Some(&since), 1).await?;
    }
    costs.push(gap.cost());

    let mut idle = Meter::new(target, "nothing new");
    idle.sync(reader, Some(&since), account.repeats).await?;
    ensure!(idle.rooms == 0, "something was new");
    costs.push(idle.cost());

    let scenario = format!(
        "account: {} rooms of {} members, gaps of {} messages",
        rooms.len(),
        account.members,
        account.gap
    );
    let memory_mib = usage::memory_mib(&target.pids);
    let results = Results { label: target.label.clone(), scenario, costs, memory_mib };
    results.print();
    if let Some(path) = &target.json {
        std::fs::write(path, serde_json::to_string_pretty(&results)?)?;
    }
    Ok(())
}

impl Results {
    fn print(&self) {
        outln!("{}: {}", self.label, self.scenario);
        outln!(
            "  {:<30} {:>8} {:>10} {:>10} {:>10} {:>10} {:>6}",
            "/sync",
            "requests",
            "p50 ms",
            "p99 ms",
            "CPU ms",
            "KiB",
            "rooms"
        );
        for cost in &self.costs {
            let Cost { what, requests, p50_ms, p99_ms, cpu_ms, kib, rooms } = cost;
            outln!(
                "  {what:<30} {requests:>8} {p50_ms:>10.2} {p99_ms:>10.2} {cpu_ms:>10.3} {kib:>10.1} {rooms:>6}"
            );
        }
        outln!("  memory MiB {:.0}", self.memory_mib);
    }
}
