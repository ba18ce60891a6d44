//! Writes random rooms as JSON lines, with what we make of them, for `tests/oracle/check.py` to check.
//!
//! Each line is a room: its events, resolutions, verdicts on events against states, and events with their hashes and
//! redacted forms. States are lists of event IDs.

use std::io::Write as _;

use clap::Parser;
use plexus_dags::{
    actions, compare,
    generate::{self, Shape},
    odd, reference,
    room::{Room, State},
};
use plexus_events::RoomRules;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

#[derive(Parser)]
struct Options {
    /// How many rooms.
    #[arg(long, default_value_t = 100)]
    dags: u64,
    /// Seed of the first one; each has the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Least room version.
    #[arg(long, default_value_t = 3)]
    from_version: u64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let versions: Vec<&'static RoomRules> = RoomRules::served()
        .filter(|rules| rules.id.as_str().parse::<u64>().is_ok_and(|version| version >= options.from_version))
        .collect();
    let mut out = std::io::stdout().lock();
    for seed in options.seed..options.seed + options.dags {
        let version = versions[usize::try_from(seed)? % versions.len()];
        let events = usize::try_from(8 + seed * 7 % 32)?;
        let line = describe(Shape { version, seed, events, bare: false }).map_err(anyhow::Error::msg)?;
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn describe(shape: Shape) -> Result<Value, String> {
    let mut resolutions = Vec::new();
    let room = generate::room(shape, &mut |room, states| {
        resolutions.push(resolution(room, states));
        Ok(())
    })?;
    let mut rng = StdRng::seed_from_u64(shape.seed);
    for _ in 0..4 {
        let states = generate::choose_states(&mut rng, shape, &room);
        if !reference::conflicts(&states).is_empty() {
            resolutions.push(resolution(&room, &states));
        }
    }
    let events: Vec<Value> = room
        .events
        .iter()
        .map(|event| {
            json!({
                "id": event.pdu.id(),
                "rejected": ruma::state_res::Event::rejected(&*event.pdu),
                "json": parse(&event.json),
            })
        })
        .collect();
    Ok(json!({
        "seed": shape.seed,
        "version": shape.version.id,
        "room_id": room.room_id,
        "events": events,
        "resolutions": resolutions,
        "verdicts": verdicts(&mut rng, shape, &room),
        "hashes": odd::events(&mut rng, &room),
    }))
}

fn parse(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("we wrote it")
}

fn ids(room: &Room, state: &State) -> Vec<String> {
    state.values().map(|nid| room.event(*nid).pdu.id().to_string()).collect()
}

fn resolution(room: &Room, states: &[&State]) -> Value {
    let states_ids: Vec<_> = states.iter().map(|state| ids(room, state)).collect();
    json!({ "states": states_ids, "result": ids(room, &compare::projected(room, states).0) })
}

/// Verdicts on events of the room against other states than they were made for, and on new ones.
fn verdicts(rng: &mut StdRng, shape: Shape, room: &Room) -> Vec<Value> {
    let users = actions::users();
    let mut verdicts = Vec::new();
    for _ in 0..room.events.len() {
        let Some(state) = generate::choose_states(rng, shape, room).pop() else { continue };
        let (pdu, json) = if rng.random_bool(0.4) {
            let event = room.event(rng.random_range(1..=room.last()));
            ((*event.pdu).clone(), parse(&event.json))
        } else {
            let intent = actions::random(rng, room, state, &users);
            let prev = [rng.random_range(0..=room.last())];
            let Some((pdu, json, _)) = room.draft(&intent, &prev, state) else { continue };
            (pdu, parse(&json))
        };
        let verdict = room.check(&pdu, state);
        verdicts.push(json!({
            "event": json,
            "state": ids(room, state),
            "allowed": verdict.is_ok(),
            "why": verdict.err().map(|refused| refused.0),
        }));
    }
    verdicts
}
