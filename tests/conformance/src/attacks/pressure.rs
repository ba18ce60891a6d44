//! What neighbours notice of an attack, beside a control: the same generator aimed at a sink, in turns.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::time::{interval, sleep_until};

use super::{
    account::Attacker,
    connections::{self, Counts, Goal, address_of},
    figures::{Comparison, Waits},
    neighbours::Neighbours,
    sink::{self, Sink},
};
use crate::server::Target;

/// Pairs of people who chat.
const PAIRS: u8 = 4;
/// Large events of the state that readers ask for and do not read.
const FILLING: u64 = 150;
/// Part of the time after which the disk is looked at first: by then, what limits let pass at once has passed.
const BURST_IS_OVER: u32 = 4;

/// How it is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How often the attack and its control take turns.
    pub(crate) rounds: usize,
    /// How long a turn takes.
    pub(crate) turn: Duration,
    /// Seed of the dice.
    pub(crate) seed: u64,
    /// Where gRPC is, if it is attacked.
    pub(crate) grpc: Option<String>,
    /// Connections to hold.
    pub(crate) counts: Counts,
    /// Process of the server.
    pub(crate) pid: Option<u32>,
    /// A command that prints how many bytes the server has on disk.
    pub(crate) disk: Option<String>,
    /// How much longer than in the control others may wait.
    pub(crate) most_ratio: f64,
    /// How many bytes of memory the server may take.
    pub(crate) most_memory: u64,
    /// How many bytes a day the disk may grow.
    pub(crate) most_growth: f64,
}

/// Holds connections while neighbours chat; whether they notice.
pub(crate) async fn by_connections(target: &Target, plan: &Plan) -> Result<bool> {
    let neighbours = Neighbours::settle(target, PAIRS).await?;
    let attacker = Attacker::new(target, plan.seed).await?;
    attacker.fill(FILLING).await?;
    let large = attacker.large_request();
    let grpc = plan.grpc.as_deref().map(address_of).transpose()?;
    let there = Goal { clients: address_of(&target.url)?, grpc, large: large.clone() };
    let sink = Sink::start().await?;
    let control = Goal { clients: sink.address, grpc: grpc.map(|_| sink.address), large };
    let (mut quiet, mut attacked) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        quiet.push(beside(&neighbours, 2 * round, plan, connections::hold(&control, plan.counts)).await?);
        attacked
            .push(beside(&neighbours, 2 * round + 1, plan, connections::hold(&there, plan.counts)).await?);
    }
    let comparison = Comparison::of(&quiet, &attacked);
    let Counts { silent, streams, readers } = plan.counts;
    let grpc = if grpc.is_some() { ", as many on gRPC" } else { "" };
    outln!(
        "figures: {silent} silent, {streams} unfinished streams{grpc}, {readers} who do not read; {} rounds: {comparison}",
        plan.rounds
    );
    Ok(comparison.holds(plan.most_ratio))
}

/// What neighbours wait while something is held that never ends by itself.
async fn beside(
    neighbours: &Neighbours,
    round: usize,
    plan: &Plan,
    held: impl Future<Output = Result<()>>,
) -> Result<Waits> {
    tokio::select! {
        waits = neighbours.chat(round, plan.turn) => waits,
        ended = held => {
            ended?;
            bail!("nothing was held")
        }
    }
}

/// Lets one account attack while neighbours chat; whether they notice, and whether memory and disk hold.
pub(crate) async fn by_account(target: &Target, plan: &Plan) -> Result<bool> {
    let neighbours = Neighbours::settle(target, PAIRS).await?;
    let attacker = Arc::new(Attacker::new(target, plan.seed).await?);
    let sink: SocketAddr = sink::refusing().await?;
    let control = Arc::new(attacker.at(&format!("http://{sink}")));
    let mut answers = [0; 6];
    let (mut quiet, mut attacked) = (Vec::new(), Vec::new());
    let (mut calm, mut server) = (Usage::default(), Usage::default());
    for round in 0..plan.rounds {
        let first = u64::try_from(round).unwrap_or(0) * 1_000_000;
        let (waits, _, used) = futures::join!(
            neighbours.chat(2 * round, plan.turn),
            Arc::clone(&control).attack(first, plan.turn),
            calm.watch(plan),
        );
        used?;
        quiet.push(waits?);
        let (waits, answered, used) = futures::join!(
            neighbours.chat(2 * round + 1, plan.turn),
            Arc::clone(&attacker).attack(first, plan.turn),
            server.watch(plan),
        );
        used?;
        attacked.push(waits?);
        answers.iter_mut().zip(answered).for_each(|(all, more)| *all += more);
    }
    let comparison = Comparison::of(&quiet, &attacked);
    // What the neighbours write is not the attacker's.
    let growth = server.growth_a_day().zip(calm.growth_a_day()).map(|(attacked, calm)| attacked - calm);
    outln!(
        "figures: {} rounds of {} s: {comparison}; answers 2xx {}, 4xx {}, 5xx {}, none {}; memory at most {} MB; disk {}",
        plan.rounds,
        plan.turn.as_secs(),
        answers[2],
        answers[4],
        answers[5],
        answers[0],
        server.memory / 1_000_000,
        growth.map_or_else(
            || "not looked at".to_owned(),
            |bytes| format!("{:+.2} GB a day beside that of the neighbours", bytes / 1e9)
        ),
    );
    Ok(comparison.holds(plan.most_ratio)
        && server.memory < plan.most_memory
        && growth.is_none_or(|growth| growth < plan.most_growth))
}

/// Memory and disk of a server.
#[derive(Default)]
struct Usage {
    /// Most bytes of memory.
    memory: u64,
    /// By round: how much was on disk, and how long after that how much.
    disk: Vec<(u64, Duration, u64)>,
}

impl Usage {
    async fn watch(&mut self, plan: &Plan) -> Result<()> {
        let began = Instant::now();
        let end = began + plan.turn;
        let first = began + plan.turn / BURST_IS_OVER;
        let mut before = None;
        let mut look = interval(Duration::from_millis(500));
        while Instant::now() + Duration::from_millis(500) < end {
            look.tick().await;
            if let Some(pid) = plan.pid {
                self.memory = self.memory.max(memory_of(pid)?);
            }
            if before.is_none() && Instant::now() >= first {
                before = size(plan)?.map(|bytes| (bytes, Instant::now()));
            }
        }
        sleep_until(end.into()).await;
        if let (Some((bytes, at)), Some(after)) = (before, size(plan)?) {
            self.disk.push((bytes, at.elapsed(), after));
        }
        Ok(())
    }

    /// Bytes, if it went on like in the last round: in those before, limits let more pass at once.
    fn growth_a_day(&self) -> Option<f64> {
        let (before, time, after) = self.disk.last()?;
        let kilobytes = u32::try_from(after.saturating_sub(*before) / 1024).unwrap_or(u32::MAX);
        Some(f64::from(kilobytes) * 1024.0 / time.as_secs_f64().max(1.0) * 86_400.0)
    }
}

fn memory_of(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the server has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

fn size(plan: &Plan) -> Result<Option<u64>> {
    let Some(command) = &plan.disk else { return Ok(None) };
    let output = Command::new("sh").args(["-c", command]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Some(text.trim().parse().with_context(|| format!("{command} prints no number: {text}"))?))
}
