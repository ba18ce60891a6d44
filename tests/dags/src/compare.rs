//! Our resolution against the reference.

use std::collections::BTreeSet;

use plexus_events::resolve::{Conflict, Explanation, resolve};

use crate::{
    lookup::{Complete, resolve_gradually},
    reference::{self, Chain},
    room::{Nid, Room, State},
};

/// What was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Resolutions with at least one conflict.
    pub resolutions: u64,
    /// Conflicting keys in them.
    pub keys: u64,
    /// Resolutions whose full conflicted set held more than the conflicting entries.
    pub with_difference: u64,
    /// Resolutions that were compared thoroughly.
    pub thorough: u64,
    /// Resolutions of these that would end otherwise by the letter of the specification (see `plexus_events::resolve`).
    pub letter: u64,
    /// Events that were refused in the course of them.
    pub refused: u64,
    /// Most rounds of loading that one needed.
    pub rounds: u64,
}

impl Counts {
    /// Adds what was seen elsewhere.
    pub fn add(&mut self, other: Self) {
        self.resolutions += other.resolutions;
        self.keys += other.keys;
        self.with_difference += other.with_difference;
        self.thorough += other.thorough;
        self.letter += other.letter;
        self.refused += other.refused;
        self.rounds = self.rounds.max(other.rounds);
    }
}

/// Resolves by projection and returns the whole state.
///
/// # Panics
///
/// Panics if the room is damaged.
#[must_use]
pub fn projected(room: &Room, states: &[&State]) -> (State, Explanation<Nid>) {
    let conflicts = reference::conflicts(states);
    let keys: Vec<Vec<Option<Nid>>> = conflicts.values().cloned().collect();
    let conflict = Conflict { rules: room.rules, create: 0, keys: &keys, explain: true };
    let resolved =
        resolve(&conflict, &Complete { room, state: states[0] }).expect("a complete lookup lacks nothing");
    let mut state = states[0].clone();
    for (key, nid) in resolved.entries {
        match nid {
            Some(nid) => state.insert(key, nid),
            None => state.remove(&key),
        };
    }
    (state, resolved.explanation.unwrap_or_default())
}

/// Compares one resolution with the reference; if `thorough`, also with itself while everything is loaded step by step,
/// and with the letter of the specification.
///
/// # Errors
///
/// Fails with what differs.
pub fn resolution(room: &Room, states: &[&State], thorough: bool) -> Result<Counts, String> {
    let conflicts = reference::conflicts(states);
    if conflicts.is_empty() {
        return Ok(Counts::default());
    }
    let (ours, explanation) = projected(room, states);
    let expected = reference::resolve(room, states, Chain::OwnEvents);
    if ours != expected {
        return Err(format!("the result differs: ours {ours:?}, ruma's {expected:?}; {explanation:?}"));
    }

    let conflicting: BTreeSet<Nid> = conflicts.values().flatten().flatten().copied().collect();
    let difference = reference::auth_difference(room, states, Chain::OwnEvents);
    let found: BTreeSet<Nid> = explanation.auth_difference.iter().copied().collect();
    let expected: BTreeSet<Nid> = difference.difference(&conflicting).copied().collect();
    if found != expected {
        return Err(format!("the auth difference differs: ours {found:?}, expected {expected:?}"));
    }
    if room.rules.state_resolution().consider_conflicted_state_subgraph {
        let mut found: BTreeSet<Nid> = explanation.subgraph.iter().copied().collect();
        found.extend(&found.clone() | &expected);
        let mut expected = reference::subgraph(room, &conflicting);
        expected.extend(&difference);
        let expected: BTreeSet<Nid> = expected.difference(&conflicting).copied().collect();
        if found != expected {
            return Err(format!("the subgraph differs: ours {found:?}, expected {expected:?}"));
        }
    }

    let refused = explanation.steps.iter().filter(|step| step.refused.is_some()).count();
    let mut counts = Counts {
        resolutions: 1,
        keys: conflicts.len() as u64,
        with_difference: u64::from(explanation.steps.len() > conflicting.len()),
        refused: refused as u64,
        ..Counts::default()
    };
    if thorough {
        counts.thorough = 1;
        counts.letter = u64::from(reference::resolve(room, states, Chain::Letter) != ours);
        let keys: Vec<Vec<Option<Nid>>> = conflicts.values().cloned().collect();
        let conflict = Conflict { rules: room.rules, create: 0, keys: &keys, explain: false };
        let (gradual, rounds, _) =
            resolve_gradually(&conflict, room, states[0]).map_err(|error| error.to_string())?;
        let differs = gradual.entries.iter().any(|(key, nid)| ours.get(key) != nid.as_ref());
        if differs || gradual.explanation.is_some() {
            return Err(format!("loading step by step changes the result: {gradual:?}, {ours:?}"));
        }
        counts.rounds = rounds as u64;
    }
    Ok(counts)
}
