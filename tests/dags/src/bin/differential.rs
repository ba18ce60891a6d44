//! Compares resolution by projection with ruma's over whole states, in as many random rooms as one likes.
//!
//! `differential --dags 100000 --seed 1` prints counts for each room version, and each difference with the seed that
//! makes it again; it fails if there is one.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::Parser;
use plexus_dags::{
    compare::{self, Counts},
    generate::{self, Shape},
};
use plexus_events::RoomRules;
use rand::{SeedableRng as _, rngs::StdRng};

/// Prints a line, if anybody reads it: `println!` panics when its reader has gone.
macro_rules! outln {
    ($($text:tt)*) => { writeln!(std::io::stdout(), $($text)*).ok() };
}

#[derive(Parser)]
struct Options {
    /// How many rooms.
    #[arg(long, default_value_t = 1000)]
    dags: u64,
    /// Seed of the first one; each has the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most events of a room.
    #[arg(long, default_value_t = 40)]
    events: u64,
    /// Least room version.
    #[arg(long, default_value_t = 6)]
    from_version: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

fn main() {
    let options = Options::parse();
    let started = Instant::now();
    let versions: Vec<&'static RoomRules> = RoomRules::served()
        .filter(|rules| rules.id.as_str().parse::<u64>().is_ok_and(|version| version >= options.from_version))
        .collect();
    let next = AtomicU64::new(0);
    let totals: Mutex<BTreeMap<u64, (u64, Counts)>> = Mutex::default();
    let differences = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= options.dags {
                        break;
                    }
                    let seed = options.seed + index;
                    let version = versions[usize::try_from(seed).unwrap_or(0) % versions.len()];
                    let events = usize::try_from(8 + seed * 7 % options.events.max(1)).unwrap_or(8);
                    match check(Shape { version, seed, events, bare: seed.is_multiple_of(3) }) {
                        Ok(counts) => {
                            let number = version.id.as_str().parse().unwrap_or(0);
                            let mut totals = totals.lock().expect("no thread panics with it");
                            let (rooms, total) = totals.entry(number).or_default();
                            *rooms += 1;
                            total.add(counts);
                        }
                        Err(why) => {
                            differences.fetch_add(1, Ordering::Relaxed);
                            outln!("seed {seed}, version {}: {why}", version.id);
                        }
                    }
                }
            });
        }
    });
    outln!("version   rooms  resolutions    keys  with auth difference  refused  rounds  letter differs in");
    let mut all = (0, Counts::default());
    for (version, (rooms, counts)) in totals.into_inner().expect("no thread panics with it") {
        line(&version.to_string(), rooms, counts);
        all.0 += rooms;
        all.1.add(counts);
    }
    line("all", all.0, all.1);
    let differences = differences.into_inner();
    outln!(
        "{} rooms from seed {}: {differences} differences, {:.0} s",
        options.dags,
        options.seed,
        started.elapsed().as_secs_f64()
    );
    if differences > 0 {
        std::process::exit(1);
    }
}

fn line(name: &str, rooms: u64, counts: Counts) {
    let Counts { resolutions, keys, with_difference, refused, rounds, letter, thorough } = counts;
    outln!(
        "{name:>7} {rooms:>7} {resolutions:>12} {keys:>7} {with_difference:>21} {refused:>8} {rounds:>7} \
         {letter:>7} of {thorough}"
    );
}

/// Makes a room, comparing each resolution on the way, and then some of states that were never merged.
fn check(shape: Shape) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let thorough = shape.seed.is_multiple_of(8);
    let room = generate::room(shape, &mut |room, states| {
        counts.add(compare::resolution(room, states, thorough)?);
        Ok(())
    })?;
    let mut rng = StdRng::seed_from_u64(shape.seed);
    for _ in 0..4 {
        let states = generate::choose_states(&mut rng, shape, &room);
        counts.add(compare::resolution(&room, &states, thorough)?);
    }
    Ok(counts)
}
