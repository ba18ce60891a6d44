//! Open loop: how long a message takes from the moment it is due until every other member has it by a waiting `/sync`.

mod reader;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future::try_join_all;
use plexus_bench::usage;

use self::reader::{Ledger, Place, Reader};
use crate::{
    Paced,
    client::User,
    report::{self, Results},
    setup,
};

/// How long to wait at the end for what was acknowledged and has not come yet.
const LAST_CALL: Duration = Duration::from_secs(15);

struct Room {
    id: String,
    members: Vec<User>,
}

pub(crate) async fn run(paced: &Paced) -> anyhow::Result<Results> {
    let target = &paced.target;
    let users = setup::users(&target.url, target.rooms * paced.members).await?;
    let mut rooms = Vec::new();
    for members in users.chunks(paced.members) {
        rooms.push(Room { id: setup::room(members).await?, members: members.to_vec() });
    }
    let idle = usage::memory_mib(&target.pids);
    let ledger = Arc::new(Ledger::default());
    let mut readers = Vec::new();
    for (index, room) in rooms.iter().enumerate() {
        let place = Place { room: room.id.clone(), index: index as u64, rooms: rooms.len() as u64 };
        // The first member sends; the others read.
        for member in &room.members[1..] {
            readers.push(Reader::start(member.clone(), place.clone(), Arc::clone(&ledger)).await?);
        }
    }

    let period = Duration::from_secs_f64(1.0 / paced.rate);
    let start = Instant::now();
    let measured_from = start + target.warmup();
    let end = measured_from + target.length();
    let (mut number, mut due, mut sends) = (0, start, Vec::new());
    let mut before = None;
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        if before.is_none() && due >= measured_from {
            before = Some((usage::cpu_s(&target.pids), usage::own_cpu_s()));
        }
        let room = &rooms[usize::try_from(number)? % rooms.len()];
        ledger.due(number, due, due >= measured_from);
        sends.push(tokio::spawn(send(room.members[0].clone(), room.id.clone(), number, due)));
        number += 1;
        due += period;
    }
    let (after, own_after) = (usage::cpu_s(&target.pids), usage::own_cpu_s());
    let seconds = measured_from.elapsed().as_secs_f64();

    let mut send_us = report::histogram();
    let mut results = Results {
        label: target.label.clone(),
        scenario: format!(
            "deliver: {} rooms of {} members, {}/s, all waiting in /sync",
            target.rooms, paced.members, paced.rate
        ),
        seconds,
        idle_memory_mib: idle,
        ..Results::default()
    };
    for sent in try_join_all(sends).await? {
        match sent.outcome {
            Ok(id) => {
                ledger.acknowledged(sent.number, id);
                if sent.due >= measured_from {
                    send_us.saturating_record(report::micros(sent.took));
                }
            }
            Err(error) => {
                results.errors += 1;
                results.first_error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
    results.sends = send_us.len();
    results.set_sends(&send_us);
    let (before, own_before) = before.context("the measurement is too short for its rate")?;
    results.set_cpu(after - before, own_after - own_before);
    results.memory_mib = usage::memory_mib(&target.pids);

    let mut delivery_us = report::histogram();
    let last_call = Instant::now() + LAST_CALL;
    for reader in readers {
        let read = reader.finish(last_call).await?;
        delivery_us.add(&read.delivery_us)?;
        results.lost += read.lost;
        results.duplicates += read.duplicates;
    }
    results.set_delivery(&delivery_us);
    Ok(results)
}

struct Sent {
    number: u64,
    due: Instant,
    took: Duration,
    outcome: anyhow::Result<String>,
}

async fn send(user: User, room: String, number: u64, due: Instant) -> Sent {
    let outcome = user.send(&room, number).await;
    Sent { number, due, took: due.elapsed(), outcome }
}
