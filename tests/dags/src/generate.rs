//! Random rooms.

use std::rc::Rc;

use plexus_events::RoomRules;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom as _};
use ruma::events::StateEventType;
use serde_json::json;

use crate::{
    actions, compare,
    room::{Intent, Nid, Room, State},
};

/// How a room is to be.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Room version.
    pub version: &'static RoomRules,
    /// Seed: the same one makes the same room.
    pub seed: u64,
    /// How many events to add to those that open the room.
    pub events: usize,
    /// Whether events may cite, and states be, those from before the room had join rules.
    pub bare: bool,
}

impl Shape {
    /// The least event whose state takes part.
    fn least(self, room: &Room) -> Nid {
        if self.bare {
            return 0;
        }
        let opened = (0..=room.last())
            .find(|nid| room.event(*nid).after.contains_key(&(StateEventType::RoomJoinRules, String::new())));
        opened.unwrap_or(room.last())
    }
}

/// Told of each set of states that is resolved while the room grows.
pub type OnMerge<'a> = &'a mut dyn FnMut(&Room, &[&State]) -> Result<(), String>;

/// Makes a room.
///
/// # Errors
///
/// Fails if `on_merge` does.
pub fn room(shape: Shape, on_merge: OnMerge<'_>) -> Result<Room, String> {
    let mut rng = StdRng::seed_from_u64(shape.seed);
    let users = actions::users();
    let mut room = open(shape.version, shape.seed, &mut rng)?;
    let least = shape.least(&room);
    for _ in 0..shape.events {
        let prev = choose_prev(&mut rng, least, room.last());
        let before = merge(&room, &prev, on_merge)?;
        for _ in 0..16 {
            let intent = actions::random(&mut rng, &room, &before, &users);
            // Servers that lag, or lie, cite what authorized them elsewhere.
            let cited = if rng.random_bool(0.15) {
                Rc::clone(&room.event(rng.random_range(least..=room.last())).after)
            } else {
                Rc::clone(&before)
            };
            let Some(candidate) = room.candidate(&intent, &prev, &before, &cited) else { continue };
            // A few of those that only the state before them refuses.
            if candidate.refused.is_none() || rng.random_bool(0.2) {
                room.push(candidate);
                break;
            }
        }
    }
    Ok(room)
}

/// Picks states of the room at random, to be resolved with each other.
pub fn choose_states<'r>(rng: &mut StdRng, shape: Shape, room: &'r Room) -> Vec<&'r State> {
    let count = *[2, 2, 2, 3, 3, 4, 5].choose(rng).expect("not empty");
    let least = shape.least(room);
    (0..count).map(|_| &*room.event(rng.random_range(least..=room.last())).after).collect()
}

fn open(version: &'static RoomRules, seed: u64, rng: &mut StdRng) -> Result<Room, String> {
    let users = actions::users();
    let ts = 1_700_000_000_000;
    let additional = if rng.random_bool(0.3) { &users[1..2] } else { &[] };
    let mut room = Room::new(version, &users[0], additional, &format!("r{seed}"), ts);
    let levels = if version.room_id_is_create_hash() {
        json!({ "users": { users[2].as_str(): 50 } })
    } else {
        json!({ "users": { users[0].as_str(): 100, users[2].as_str(): 50 } })
    };
    let join_rule = *["public", "public", "invite"].choose(rng).expect("not empty");
    let opening = [
        ("m.room.member", users[0].as_str(), json!({ "membership": "join" })),
        ("m.room.power_levels", "", levels),
        ("m.room.join_rules", "", json!({ "join_rule": join_rule })),
    ];
    for (event_type, state_key, content) in opening {
        // Some rooms go without power levels for a while.
        if event_type == "m.room.power_levels" && rng.random_bool(0.1) {
            continue;
        }
        let intent = Intent {
            sender: users[0].clone(),
            event_type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            content,
            origin_server_ts: ts,
        };
        let last = room.last();
        let before = Rc::clone(&room.event(last).after);
        let candidate = room
            .candidate(&intent, &[last], &before, &before)
            .filter(|candidate| candidate.refused.is_none())
            .ok_or("the events that open a room are allowed")?;
        room.push(candidate);
    }
    Ok(room)
}

/// Events to come after: one of the newest mostly, sometimes an old one, sometimes several.
fn choose_prev(rng: &mut StdRng, least: Nid, last: Nid) -> Vec<Nid> {
    let count = *[1, 1, 1, 2, 2, 3].choose(rng).expect("not empty");
    let mut prev: Vec<Nid> = (0..count)
        .map(|_| match rng.random_range(0..10) {
            0..3 => last,
            3..9 => last - rng.random_range(0..=(last - least).min(6)),
            _ => rng.random_range(least..=last),
        })
        .collect();
    prev.sort_unstable();
    prev.dedup();
    prev
}

/// The state before an event.
fn merge(room: &Room, prev: &[Nid], on_merge: OnMerge<'_>) -> Result<Rc<State>, String> {
    let states: Vec<&State> = prev.iter().map(|nid| &*room.event(*nid).after).collect();
    if states.iter().all(|state| *state == states[0]) {
        return Ok(Rc::clone(&room.event(prev[0]).after));
    }
    on_merge(room, &states)?;
    Ok(Rc::new(compare::projected(room, &states).0))
}
