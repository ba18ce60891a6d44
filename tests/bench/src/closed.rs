//! Closed loop: how many sends a second, and how long each takes, when all senders always have one under way.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use futures::future::try_join_all;
use hdrhistogram::Histogram;
use plexus_bench::usage;

use crate::{
    Closed,
    client::User,
    report::{self, Results},
    setup,
    verify::{self, Acknowledged},
};

/// What the senders share.
struct Run {
    rooms: Vec<String>,
    next: AtomicU64,
    measuring: AtomicBool,
    stopping: AtomicBool,
}

/// What one sender has to tell.
struct Sender {
    latency_us: Histogram<u64>,
    acknowledged: HashMap<String, Acknowledged>,
    errors: u64,
    first_error: Option<String>,
}

pub(crate) async fn run(closed: &Closed) -> anyhow::Result<Results> {
    let target = &closed.target;
    let users = setup::users(&target.url, closed.members).await?;
    let mut rooms = Vec::new();
    for _ in 0..target.rooms {
        rooms.push(setup::room(&users).await?);
    }
    let idle = usage::memory_mib(&target.pids);
    let run = Arc::new(Run {
        rooms,
        next: AtomicU64::new(0),
        measuring: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
    });
    let senders: Vec<_> = users[..closed.senders]
        .iter()
        .enumerate()
        .map(|(index, user)| tokio::spawn(send(user.clone(), index, Arc::clone(&run))))
        .collect();

    tokio::time::sleep(target.warmup()).await;
    let (began, before, own_before) = (Instant::now(), usage::cpu_s(&target.pids), usage::own_cpu_s());
    run.measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(target.length()).await;
    run.measuring.store(false, Ordering::Relaxed);
    let (seconds, after, own_after) =
        (began.elapsed().as_secs_f64(), usage::cpu_s(&target.pids), usage::own_cpu_s());
    run.stopping.store(true, Ordering::Relaxed);

    let mut latency_us = report::histogram();
    let (mut errors, mut first_error) = (0, None);
    let mut acknowledged: HashMap<String, Acknowledged> = HashMap::new();
    for sender in try_join_all(senders).await? {
        latency_us.add(&sender.latency_us)?;
        errors += sender.errors;
        first_error = first_error.or(sender.first_error);
        for (room, sent) in sender.acknowledged {
            acknowledged.entry(room).or_default().extend(sent);
        }
    }
    let mut results = Results {
        label: target.label.clone(),
        scenario: format!(
            "send: {} rooms of {} members, {} senders",
            target.rooms, closed.members, closed.senders
        ),
        seconds,
        sends: latency_us.len(),
        errors,
        first_error,
        idle_memory_mib: idle,
        ..Results::default()
    };
    results.set_sends(&latency_us);
    results.set_cpu(after - before, own_after - own_before);
    results.memory_mib = usage::memory_mib(&target.pids);
    for (room, sent) in &acknowledged {
        let verdict = verify::history(&users[0], room, sent).await?;
        results.lost += verdict.lost;
        results.duplicates += verdict.duplicates;
    }
    Ok(results)
}

async fn send(user: User, index: usize, run: Arc<Run>) -> Sender {
    let mut sender = Sender {
        latency_us: report::histogram(),
        acknowledged: HashMap::new(),
        errors: 0,
        first_error: None,
    };
    let mut turn = index;
    while !run.stopping.load(Ordering::Relaxed) {
        let room = &run.rooms[turn % run.rooms.len()];
        turn += 1;
        let number = run.next.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        match user.send(room, number).await {
            Ok(id) => {
                // What spans either end of the measurement is left out.
                if run.measuring.load(Ordering::Relaxed) {
                    sender.latency_us.saturating_record(report::micros(began.elapsed()));
                }
                sender.acknowledged.entry(room.clone()).or_default().insert(number, id);
            }
            Err(error) => {
                sender.errors += 1;
                sender.first_error.get_or_insert_with(|| format!("{error:#}"));
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    sender
}
