//! State resolution, version 2 (room versions 3 to 11) and 2.1 (12), by projection.
//!
//! Only the keys in which the states differ come in, and only these go out; whatever else the algorithm needs is
//! looked up by numeric ID, so that no cost grows with the room. The steps and words are those of the specification:
//! [room version 2](https://spec.matrix.org/v1.19/rooms/v2/#state-resolution),
//! [room version 12](https://spec.matrix.org/v1.19/rooms/v12/#state-resolution).
//!
//! Data may be lacking: a [`Lookup`] says `None` to what is not loaded. Then [`resolve`] gathers all it can find out to
//! be needed, returns [`Unresolved::Lacking`], and is called again when that is loaded.
//!
//! # Why this equals the algorithm over whole states
//!
//! - A key that has the same value in all states is unconflicted and ends with that value (step 5).
//! - The iterative auth checks read the state only at the keys that the auth events selection names.
//! - The auth difference only holds what some state's auth chains reach and another's do not, and all chains of
//!   unconflicted entries belong to every state. So the walk starts at the conflicting entries; what it finds is left
//!   out if an unconflicted entry reaches it too (see `difference`).
//!
//! # Where we differ from the letter of the specification
//!
//! It defines the full auth chain of a state as the union of the auth chains of its events, and the auth chain of an
//! event without the event itself. Taken by the letter, an entry in which all states agree is in the auth difference
//! when a conflicting event of only one of them cites it, and is then checked again in the middle of the resolution.
//! Synapse has always counted a state's own events into its chain (`get_auth_chain_difference`), and with it the rooms
//! of the network have been resolved; so do we, for the purpose of the algorithm is that all servers agree.
//! `docs/adr/0008` has the decision, and the differential tests count how often the letter would give another result.

mod difference;
mod iterate;
mod order;
mod subgraph;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Debug,
    hash::Hash,
    sync::Arc,
};

use ruma::{events::StateEventType, state_res::Event as _};

use crate::{pdu::Pdu, version::RoomRules};

/// Most states that can be resolved at once: an event has at most 20 previous events, a room fewer than this many
/// forward extremities.
pub const MAX_STATES: usize = 128;

/// A numeric ID of an event: only compared, never computed with.
pub trait Nid: Copy + Ord + Hash + Debug {}
impl<T: Copy + Ord + Hash + Debug> Nid for T {}

/// Key of a state entry.
pub type StateKey = (StateEventType, String);

/// Where an event stands in the graph of auth events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links<N> {
    /// Generation: greater than that of each of its auth events. (1 + the greatest of them; for the create event 0 or
    /// whatever else is the least.)
    pub generation: i32,
    /// Its auth events, as far as they are stored; rejected ones too.
    pub auth: Arc<[N]>,
}

/// State events of the room that cite an event as an auth event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Citing<N> {
    /// These, perhaps with ones that are rejected or in no state.
    Known(Arc<[N]>),
    /// They cannot be found. Then an event that only old forks know may count into the auth difference although an
    /// unconflicted entry leads to it: exact for clean forks, nearly so for others.
    Unknown,
}

/// What resolution reads. Each answer of `None` means: not loaded.
pub trait Lookup {
    /// Numeric ID of an event.
    type Nid: Nid;

    /// The auth events of an event, and its generation.
    fn links(&self, nid: Self::Nid) -> Option<Links<Self::Nid>>;

    /// A state event. Each is asked for once in a call of [`resolve`], so that the lookup may parse it then.
    fn event(&self, nid: Self::Nid) -> Option<Arc<Pdu>>;

    /// The entry that all states have at a key, `Some(None)` if they have none. It is only asked for keys in which the
    /// states agree, so that it may be answered from any of them.
    fn state(&self, event_type: &StateEventType, state_key: &str) -> Option<Option<Self::Nid>>;

    /// The state events that cite an event. Only asked for events that are in doubt; that is rare.
    fn citing(&self, nid: Self::Nid) -> Option<Citing<Self::Nid>>;

    /// Called for each thing that the resolution looks at. `false`: it has cost enough, and ends with
    /// [`Unresolved::Exhausted`].
    fn may_go_on(&self) -> bool {
        true
    }
}

/// What is to be resolved.
#[derive(Debug, Clone, Copy)]
pub struct Conflict<'a, N> {
    /// Rules of the room version.
    pub rules: &'a RoomRules,
    /// The create event of the room.
    pub create: N,
    /// For each key in which the states differ, its value in each of the states: all of the same length, at most
    /// [`MAX_STATES`]. A key that some of the states do not have is conflicting, too.
    pub keys: &'a [Vec<Option<N>>],
    /// Whether to return how it was decided.
    pub explain: bool,
}

/// What must be loaded before resolution can go on. Everything exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking<N> {
    /// Events whose links are lacking.
    pub links: BTreeSet<N>,
    /// Events whose JSON is lacking.
    pub events: BTreeSet<N>,
    /// Keys of the state that are lacking.
    pub state: BTreeSet<StateKey>,
    /// Events of which it is lacking what cites them.
    pub citing: BTreeSet<N>,
}

impl<N> Default for Lacking<N> {
    fn default() -> Self {
        let (links, events, state, citing) = Default::default();
        Self { links, events, state, citing }
    }
}

impl<N> Lacking<N> {
    /// Whether nothing is lacking.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { links, events, state, citing } = self;
        links.is_empty() && events.is_empty() && state.is_empty() && citing.is_empty()
    }
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved<N: Nid> {
    /// Something has to be loaded first.
    #[error("something must be loaded first")]
    Lacking(Lacking<N>),
    /// What was looked up cannot be: an event without a state key in a state, a generation that is not greater than
    /// that of an auth event, states of different counts.
    #[error("the room's data is damaged: {0}")]
    Damaged(String),
    /// The lookup has put an end to it.
    #[error("it has cost too much")]
    Exhausted,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved<N> {
    /// The value of each conflicting key, `None` if it resolves to nothing, and of any other key that none of the
    /// states had and that has come up from the auth events. All other keys keep the value they have in all states.
    pub entries: BTreeMap<StateKey, Option<N>>,
    /// How it was decided, if that was asked for.
    pub explanation: Option<Explanation<N>>,
}

/// How a resolution was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation<N> {
    /// Events of the conflicted state set, by key.
    pub conflicting: BTreeMap<StateKey, Vec<N>>,
    /// Events of the auth difference that are not in the conflicted state set.
    pub auth_difference: Vec<N>,
    /// Events of the conflicted state subgraph that are in neither (version 2.1).
    pub subgraph: Vec<N>,
    /// Events in the order in which they were applied, with what became of them: power events and what authorizes
    /// them, then the others.
    pub steps: Vec<Step<N>>,
}

/// One event of the iterative auth checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<N> {
    /// Event.
    pub event: N,
    /// Key.
    pub key: StateKey,
    /// In which of the two rounds it was applied.
    pub round: Round,
    /// The rule that refused it; `None` if it was allowed.
    pub refused: Option<String>,
}

/// A round of the iterative auth checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Power events, in reverse topological power ordering.
    Power,
    /// All others, in mainline ordering.
    Mainline,
}

/// Resolves the states.
///
/// # Errors
///
/// Fails if something must be loaded first, or what was loaded cannot be.
pub fn resolve<L: Lookup>(
    conflict: &Conflict<'_, L::Nid>,
    lookup: &L,
) -> Result<Resolved<L::Nid>, Unresolved<L::Nid>> {
    let reader = Reader::new(conflict, lookup);
    let conflicted = Conflicted::read(&reader)?;
    // Both searches go on as far as they can, so that one round of loading serves both.
    let difference = difference::search(&reader, &conflicted)?;
    let subgraph = if conflict.rules.state_resolution().consider_conflicted_state_subgraph {
        subgraph::search(&reader, &conflicted)?
    } else {
        HashSet::new()
    };
    let mut full: BTreeSet<L::Nid> = conflicted.events.keys().copied().collect();
    full.extend(difference.iter().chain(&subgraph));
    iterate::preload(&reader, &conflicted, &full)?;
    reader.settle()?;

    let mut iteration = iterate::Iteration::new(&reader, &conflicted);
    let power = order::power(&reader, &full)?;
    iteration.run(&power, Round::Power)?;
    let picked: HashSet<_> = power.into_iter().collect();
    let rest: Vec<_> = full.iter().filter(|nid| !picked.contains(nid)).copied().collect();
    let mainline = order::mainline(&reader, iteration.power_levels()?, &rest)?;
    reader.settle()?;
    iteration.run(&mainline, Round::Mainline)?;
    let (entries, steps) = iteration.finish()?;
    let explanation = conflict.explain.then(|| {
        let new = |found: &HashSet<L::Nid>| -> BTreeSet<L::Nid> {
            found.iter().filter(|nid| !conflicted.events.contains_key(nid)).copied().collect()
        };
        Explanation {
            conflicting: conflicted.by_key.clone(),
            subgraph: new(&subgraph).into_iter().filter(|nid| !difference.contains(nid)).collect(),
            auth_difference: new(&difference).into_iter().collect(),
            steps,
        }
    });
    Ok(Resolved { entries, explanation })
}

/// Asks the lookup, once for each event, and notes what it lacks.
struct Reader<'a, L: Lookup> {
    conflict: &'a Conflict<'a, L::Nid>,
    lookup: &'a L,
    lacking: RefCell<Lacking<L::Nid>>,
    events: RefCell<HashMap<L::Nid, Arc<Pdu>>>,
    exhausted: Cell<bool>,
}

impl<'a, L: Lookup> Reader<'a, L> {
    fn new(conflict: &'a Conflict<'a, L::Nid>, lookup: &'a L) -> Self {
        Self {
            conflict,
            lookup,
            lacking: RefCell::default(),
            events: RefCell::default(),
            exhausted: Cell::new(false),
        }
    }

    /// Counts a step. Once the end is reached nothing is found any more, so that all searches end soon.
    fn is_exhausted(&self) -> bool {
        if !self.exhausted.get() && !self.lookup.may_go_on() {
            self.exhausted.set(true);
        }
        self.exhausted.get()
    }

    fn links(&self, nid: L::Nid) -> Option<Links<L::Nid>> {
        if self.is_exhausted() {
            return None;
        }
        let links = self.lookup.links(nid);
        if links.is_none() {
            self.lacking.borrow_mut().links.insert(nid);
        }
        links
    }

    fn event(&self, nid: L::Nid) -> Option<Arc<Pdu>> {
        // What has been read costs nothing any more.
        if let Some(event) = self.events.borrow().get(&nid) {
            return Some(Arc::clone(event));
        }
        if self.is_exhausted() {
            return None;
        }
        match self.lookup.event(nid) {
            Some(event) => {
                self.events.borrow_mut().insert(nid, Arc::clone(&event));
                Some(event)
            }
            None => {
                self.lacking.borrow_mut().events.insert(nid);
                None
            }
        }
    }

    fn state(&self, key: &StateKey) -> Option<Option<L::Nid>> {
        if self.is_exhausted() {
            return None;
        }
        let entry = self.lookup.state(&key.0, &key.1);
        if entry.is_none() {
            self.lacking.borrow_mut().state.insert(key.clone());
        }
        entry
    }

    fn citing(&self, nid: L::Nid) -> Option<Citing<L::Nid>> {
        if self.is_exhausted() {
            return None;
        }
        let citing = self.lookup.citing(nid);
        if citing.is_none() {
            self.lacking.borrow_mut().citing.insert(nid);
        }
        citing
    }

    /// An event that was loaded before.
    fn loaded(&self, nid: L::Nid) -> Result<Arc<Pdu>, Unresolved<L::Nid>> {
        self.event(nid).ok_or_else(|| self.stop())
    }

    fn stop(&self) -> Unresolved<L::Nid> {
        if self.exhausted.get() {
            return Unresolved::Exhausted;
        }
        Unresolved::Lacking(self.lacking.borrow().clone())
    }

    /// Stops if anything is lacking.
    fn settle(&self) -> Result<(), Unresolved<L::Nid>> {
        if self.lacking.borrow().is_empty() && !self.exhausted.get() { Ok(()) } else { Err(self.stop()) }
    }
}

/// The conflicted state set.
struct Conflicted<N> {
    /// Which states have an event as an entry: one bit for each.
    events: HashMap<N, u128>,
    by_key: BTreeMap<StateKey, Vec<N>>,
    /// One bit for each of the states.
    all: u128,
}

impl<N: Nid> Conflicted<N> {
    fn read<L: Lookup<Nid = N>>(reader: &Reader<'_, L>) -> Result<Self, Unresolved<N>> {
        let keys = reader.conflict.keys;
        let states = keys.first().map_or(0, Vec::len);
        if states > MAX_STATES || keys.iter().any(|values| values.len() != states) {
            return Err(Unresolved::Damaged(format!("{states} states, or keys of different states")));
        }
        let all = u128::MAX.checked_shr(128 - u32::try_from(states).unwrap_or(128)).unwrap_or(0);
        let mut conflicted = Self { events: HashMap::new(), by_key: BTreeMap::new(), all };
        for values in keys.iter().filter(|values| values.iter().any(|value| *value != values[0])) {
            for (state, nid) in values.iter().enumerate() {
                let Some(nid) = *nid else { continue };
                let mask = conflicted.events.entry(nid).or_insert(0);
                let is_new = *mask == 0;
                *mask |= 1 << state;
                if is_new && let Some(event) = reader.event(nid) {
                    conflicted.by_key.entry(key_of(&event)?).or_default().push(nid);
                }
            }
        }
        if conflicted.by_key.len() > keys.len() {
            return Err(Unresolved::Damaged("a key of the conflict has events of different keys".to_owned()));
        }
        // Whatever else is needed depends on these.
        reader.settle()?;
        Ok(conflicted)
    }

    fn has_key(&self, key: &StateKey) -> bool {
        self.by_key.contains_key(key)
    }
}

/// Key of a state event.
fn key_of<N: Nid>(event: &Pdu) -> Result<StateKey, Unresolved<N>> {
    let state_key = event
        .state_key()
        .ok_or_else(|| Unresolved::Damaged(format!("{} has no state key", event.event_id())))?;
    Ok((event.event_type().to_string().into(), state_key.to_owned()))
}
