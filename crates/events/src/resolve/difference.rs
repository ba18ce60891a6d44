//! The auth difference: what the auth chains of some states hold and those of others do not.
//!
//! The walk starts at the conflicting entries, each with the set of states that have it, and at those unconflicted
//! entries that are likely to be reached, which all states have. It follows auth events in order of falling generation,
//! so that everything that leads to an event comes before the event, and ends when all that is left is reached from
//! every state: then so is whatever lies behind. Conflicting entries are no difference, whoever has them: they hand on
//! at once what reaches them, so that an old one does not make the walk go down to it.
//!
//! An event that is not reached from all states this way may still be in the auth chain of an unconflicted entry at
//! which the walk did not start, and then belongs to all states. This is looked for in the other direction: through
//! the state events that cite it.

use std::collections::{BinaryHeap, HashMap, HashSet};

use ruma::state_res::Event as _;

use super::{Citing, Conflicted, Lookup, Reader, StateKey, Unresolved, key_of};
use crate::auth;

/// Most events that are looked at above one in doubt. A room that has more of them, none of which leads to the state,
/// was made by hand.
const MAX_ABOVE: usize = 10_000;

type Found<N> = Result<HashSet<N>, Unresolved<N>>;

/// Finds the auth difference. What it returns is of no use if the reader lacks something.
pub(super) fn search<L: Lookup>(reader: &Reader<'_, L>, conflicted: &Conflicted<L::Nid>) -> Found<L::Nid> {
    let mut search = Search {
        reader,
        conflicted,
        reached: HashMap::new(),
        pending: BinaryHeap::new(),
        is_pending: HashSet::new(),
        partial: 0,
        apart: HashSet::new(),
    };
    for (&nid, &states) in &conflicted.events {
        search.reach(nid, states, None)?;
    }
    for nid in likely(reader, conflicted)? {
        search.reach(nid, conflicted.all, None)?;
    }
    search.run()
}

/// Unconflicted entries that authorize the conflicting ones, if they were to be authorized now.
fn likely<L: Lookup>(reader: &Reader<'_, L>, conflicted: &Conflicted<L::Nid>) -> Found<L::Nid> {
    let mut found = HashSet::new();
    let mut asked: HashSet<StateKey> = HashSet::new();
    for &nid in conflicted.events.keys() {
        let Some(event) = reader.event(nid) else { continue };
        let rules = reader.conflict.rules;
        let types =
            auth::auth_types(event.event_type(), event.sender(), event.state_key(), event.content(), rules);
        for key in types.unwrap_or_default() {
            if conflicted.has_key(&key) || asked.contains(&key) {
                continue;
            }
            found.extend(reader.state(&key).flatten());
            asked.insert(key);
        }
    }
    Ok(found)
}

/// Whether an event belongs to the auth chains of all states.
enum ChainMembership {
    /// An unconflicted entry is it or leads to it.
    InAll,
    /// None does.
    Apart,
    /// The walk has to look at something else first.
    Later,
}

struct Search<'a, L: Lookup> {
    reader: &'a Reader<'a, L>,
    conflicted: &'a Conflicted<L::Nid>,
    /// From which states an event is known to be reached.
    reached: HashMap<L::Nid, u128>,
    pending: BinaryHeap<(i32, L::Nid)>,
    is_pending: HashSet<L::Nid>,
    /// How many pending events are not reached from all states.
    partial: usize,
    /// Events that no unconflicted entry leads to.
    apart: HashSet<L::Nid>,
}

impl<L: Lookup> Search<'_, L> {
    fn run(mut self) -> Found<L::Nid> {
        let mut difference = HashSet::new();
        while self.partial > 0
            && let Some((generation, nid)) = self.pending.pop()
        {
            let mut states = self.reached[&nid];
            if states != self.conflicted.all {
                match self.chain_membership(nid, generation)? {
                    ChainMembership::InAll => states = self.conflicted.all,
                    ChainMembership::Apart => {}
                    ChainMembership::Later => {
                        self.pending.push((generation, nid));
                        continue;
                    }
                }
            }
            self.is_pending.remove(&nid);
            self.partial -= usize::from(self.reached[&nid] != self.conflicted.all);
            self.reached.insert(nid, states);
            if states == self.conflicted.all {
                difference.remove(&nid);
            } else {
                difference.insert(nid);
            }
            let Some(links) = self.reader.links(nid) else { continue };
            for &auth in &*links.auth {
                self.reach(auth, states, Some(generation))?;
            }
        }
        Ok(difference)
    }

    /// Notes that an event is reached from states, and what conflicting entries on the way lead to.
    fn reach(&mut self, nid: L::Nid, states: u128, below: Option<i32>) -> Result<(), Unresolved<L::Nid>> {
        let all = self.conflicted.all;
        let mut open = vec![(nid, states, below)];
        while let Some((nid, states, below)) = open.pop() {
            let before = self.reached.get(&nid).copied().unwrap_or(0);
            let after = before | states;
            if before == after {
                continue;
            }
            let Some(links) = self.reader.links(nid) else { continue };
            if below.is_some_and(|below| links.generation >= below) {
                let why = format!("the generation of {nid:?} is not below that of an event citing it");
                return Err(Unresolved::Damaged(why));
            }
            self.reached.insert(nid, after);
            if self.conflicted.events.contains_key(&nid) {
                open.extend(links.auth.iter().map(|auth| (*auth, after, Some(links.generation))));
            } else if self.is_pending.insert(nid) {
                // It is new, or the walk has been here before it came upon an unconflicted entry that leads here.
                self.pending.push((links.generation, nid));
                self.partial += usize::from(after != all);
            } else {
                self.partial -= usize::from(after == all);
            }
        }
        Ok(())
    }

    fn chain_membership(
        &mut self,
        nid: L::Nid,
        generation: i32,
    ) -> Result<ChainMembership, Unresolved<L::Nid>> {
        let Some(event) = self.reader.event(nid) else { return Ok(ChainMembership::Apart) };
        let key = key_of(&event)?;
        match self.unconflicted(&key) {
            Some(entry) if entry == nid => return Ok(ChainMembership::InAll),
            // What replaced it most likely cites it.
            Some(entry) if !self.reached.contains_key(&entry) => {
                let Some(links) = self.reader.links(entry) else { return Ok(ChainMembership::Apart) };
                if links.generation > generation {
                    self.reach(entry, self.conflicted.all, None)?;
                    return Ok(ChainMembership::Later);
                }
            }
            Some(_) | None => {}
        }
        self.look_above(nid)
    }

    /// The entry in which all states agree.
    fn unconflicted(&self, key: &StateKey) -> Option<L::Nid> {
        if self.conflicted.has_key(key) {
            return None;
        }
        self.reader.state(key).flatten()
    }

    /// Looks for an unconflicted entry among the events that cite this one, those that cite them, and so on.
    fn look_above(&mut self, nid: L::Nid) -> Result<ChainMembership, Unresolved<L::Nid>> {
        let mut seen = HashSet::from([nid]);
        let mut next = vec![nid];
        while let Some(below) = next.pop() {
            let Some(Citing::Known(citing)) = self.reader.citing(below) else { continue };
            for &above in &*citing {
                if self.apart.contains(&above) || seen.len() >= MAX_ABOVE || !seen.insert(above) {
                    continue;
                }
                let Some(event) = self.reader.event(above) else { continue };
                if event.rejected() {
                    continue;
                }
                let key = key_of(&event)?;
                if self.unconflicted(&key) == Some(above) {
                    return Ok(ChainMembership::InAll);
                }
                next.push(above);
            }
        }
        self.apart.extend(seen);
        Ok(ChainMembership::Apart)
    }
}
