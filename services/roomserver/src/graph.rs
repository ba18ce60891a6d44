//! Reads a room's event graph for operators, and resolves states again as they were resolved when the events came.
//!
//! Reads only. What the worker decides with is in [`crate::rooms`]; here the same resolution runs over what is stored.
//! As there, deciding asks only for what is in memory and says what it [lacks](Attempt::Lacking): so many decisions can
//! share a round of loading.

mod projection;
pub(crate) mod verify;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
};

use diesel_async::AsyncPgConnection;
use plexus_events::{
    Pdu, RoomRules,
    resolve::{Citing, Conflict, Explanation, Links, Resolved, Unresolved, resolve},
};
use ruma::OwnedEventId;

use self::projection::Projection;
use crate::{
    rooms::{Counters, EventNid, Key, Missing, NewNodes, Node, NodeNid, Trie, diff, flags},
    store::{
        StoreError, loads,
        reads::{
            state::NodeCache,
            vertices::{self, GraphRoomRow, VertexRow},
        },
    },
};

/// Type of the entries that have a trie of their own.
const MEMBER: &str = "m.room.member";
/// Nodes of tries, parsed events and links that are held at most from one page of events to the next.
const MAX_NODES: usize = 20_000;
const MAX_PARSED: usize = 5_000;
const MAX_LINKS: usize = 100_000;
/// Events asked for in one statement.
const MAX_ASKED: usize = 1024;

/// A state: members and the rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) members: Trie,
    pub(crate) other: Trie,
}

impl State {
    /// The state with these roots.
    pub(crate) fn stored(members_root: i64, other_root: i64) -> Self {
        Self {
            members: Trie::stored(NodeNid::from_column(members_root)),
            other: Trie::stored(NodeNid::from_column(other_root)),
        }
    }

    fn trie(&self, event_type: &str) -> &Trie {
        if event_type == MEMBER { &self.members } else { &self.other }
    }
}

/// Hashes of a state: equal if and only if the states are.
pub(crate) type Hashes = (Option<u128>, Option<u128>);

/// What has to be loaded before something can be decided.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    nodes: BTreeSet<NodeNid>,
    links: BTreeSet<EventNid>,
    events: BTreeSet<EventNid>,
    citing: BTreeSet<EventNid>,
}

impl Lacking {
    /// Adds what something else lacks.
    pub(crate) fn extend(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
        self.links.extend(other.links);
        self.events.extend(other.events);
        self.citing.extend(other.citing);
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Something has to be loaded first.
    Lacking(Lacking),
    /// What is stored makes no sense, or something of it is lost.
    Damaged(String),
}

impl From<Missing> for Attempt {
    fn from(Missing(nid): Missing) -> Self {
        Self::Lacking(Lacking { nodes: BTreeSet::from([nid]), ..Lacking::default() })
    }
}

/// Reads a room's graph.
pub(crate) struct Reader<'a> {
    conn: &'a AsyncPgConnection,
    cache: &'a NodeCache,
    pub(crate) room: GraphRoomRow,
    rules: &'static RoomRules,
    links: HashMap<EventNid, Links<EventNid>>,
    events: HashMap<EventNid, Arc<Pdu>>,
    citing: HashMap<EventNid, Citing<EventNid>>,
    nodes: HashMap<NodeNid, Arc<Node>>,
    /// What was looked for and is not there.
    lost_nodes: HashSet<NodeNid>,
    lost_events: HashSet<EventNid>,
    counters: Counters,
}

/// The result of a resolution, and how it came about.
pub(crate) struct Outcome {
    pub(crate) state: State,
    /// How many different states there were.
    pub(crate) distinct: usize,
    /// Not set if there was nothing to resolve.
    pub(crate) resolved: Option<Resolved<EventNid>>,
}

impl Outcome {
    /// How it was decided.
    pub(crate) fn explanation(&self) -> Option<&Explanation<EventNid>> {
        self.resolved.as_ref().and_then(|resolved| resolved.explanation.as_ref())
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        conn: &'a AsyncPgConnection,
        cache: &'a NodeCache,
        room: GraphRoomRow,
    ) -> Result<Self, StoreError> {
        let rules = RoomRules::of(&room.version).map_err(|error| StoreError::Corrupt {
            what: format!("version of room {} ({error})", room.room_nid),
        })?;
        Ok(Self {
            conn,
            cache,
            room,
            rules,
            links: HashMap::new(),
            events: HashMap::new(),
            citing: HashMap::new(),
            nodes: HashMap::new(),
            lost_nodes: HashSet::new(),
            lost_events: HashSet::new(),
            // Nodes made here are never stored; stored ones have positive numbers.
            counters: Counters { next_nid: i64::MIN, next_seq: 0 },
        })
    }

    /// Notes where an event stands.
    pub(crate) fn note(&mut self, row: &VertexRow) {
        let auth = row.auth_nids.iter().copied().map(EventNid).collect();
        self.links.insert(EventNid(row.event_nid), Links { generation: row.auth_generation, auth });
    }

    /// Forgets what was loaded, if it is much.
    pub(crate) fn shrink(&mut self) {
        if self.nodes.len() > MAX_NODES {
            self.nodes.clear();
        }
        if self.events.len() > MAX_PARSED {
            self.events.clear();
        }
        if self.links.len() > MAX_LINKS {
            self.links.clear();
        }
        self.citing.clear();
    }

    /// Computes the hashes of a state.
    pub(crate) fn hashes(&self, state: &State) -> Result<Hashes, Attempt> {
        match (state.members.hash(&self.nodes), state.other.hash(&self.nodes)) {
            (Ok(members), Ok(other)) => Ok((members, other)),
            (members, other) => {
                let lacking = [members.err(), other.err()].into_iter().flatten();
                let nodes = lacking.map(|Missing(nid)| nid).collect();
                Err(Attempt::Lacking(Lacking { nodes, ..Lacking::default() }))
            }
        }
    }

    /// Sets one key of a state.
    pub(crate) fn with_event(
        &mut self,
        state: &State,
        event_type: &str,
        state_key: &str,
        event: EventNid,
    ) -> Result<State, Attempt> {
        let changes = BTreeMap::from([(Key::of(event_type, state_key), Some(event))]);
        let trie = self.changed(state.trie(event_type), &changes)?;
        let mut state = state.clone();
        if event_type == MEMBER {
            state.members = trie;
        } else {
            state.other = trie;
        }
        Ok(state)
    }

    fn changed(&mut self, trie: &Trie, changes: &BTreeMap<Key, Option<EventNid>>) -> Result<Trie, Missing> {
        trie.set_many(changes, &self.nodes, &mut NewNodes::new(&mut self.counters))
    }

    /// Resolves states; equal ones count once. Of no states, the result is the empty one.
    pub(crate) fn resolve(&mut self, states: &[State], explain: bool) -> Result<Outcome, Attempt> {
        let mut distinct: Vec<State> = Vec::new();
        let mut known: BTreeSet<Hashes> = BTreeSet::new();
        let mut lacking = Lacking::default();
        for state in states {
            match self.hashes(state) {
                Ok(hashes) if known.insert(hashes) => distinct.push(state.clone()),
                Ok(_) => {}
                Err(Attempt::Lacking(more)) => lacking.extend(more),
                Err(damaged @ Attempt::Damaged(_)) => return Err(damaged),
            }
        }
        if !lacking.nodes.is_empty() {
            return Err(Attempt::Lacking(lacking));
        }
        let Some(first) = distinct.first().cloned() else {
            return Ok(Outcome { state: State::default(), distinct: 0, resolved: None });
        };
        if distinct.len() == 1 {
            return Ok(Outcome { state: first, distinct: 1, resolved: None });
        }
        let keys = self.conflicting(&distinct)?;
        let create = EventNid(self.room.create_nid);
        let conflict = Conflict { rules: self.rules, create, keys: &keys, explain };
        let lookup = Projection { reader: self, state: &first, lacking: Mutex::default() };
        let resolved = match resolve(&conflict, &lookup) {
            Ok(resolved) => resolved,
            Err(Unresolved::Damaged(what)) => return Err(Attempt::Damaged(what)),
            Err(Unresolved::Exhausted) => {
                return Err(Attempt::Damaged(Unresolved::<EventNid>::Exhausted.to_string()));
            }
            Err(Unresolved::Lacking(lacking)) => {
                return Err(Attempt::Lacking(Lacking {
                    nodes: lookup.lacking.into_inner().unwrap_or_default(),
                    links: lacking.links,
                    events: lacking.events,
                    citing: lacking.citing,
                }));
            }
        };
        let (mut members, mut other) = (BTreeMap::new(), BTreeMap::new());
        for ((event_type, state_key), nid) in &resolved.entries {
            let event_type = event_type.to_string();
            let list = if event_type == MEMBER { &mut members } else { &mut other };
            list.insert(Key::of(&event_type, state_key), *nid);
        }
        let state = State {
            members: self.changed(&first.members, &members)?,
            other: self.changed(&first.other, &other)?,
        };
        Ok(Outcome { state, distinct: distinct.len(), resolved: Some(resolved) })
    }

    /// The values of the keys in which states differ.
    fn conflicting(&self, states: &[State]) -> Result<Vec<Vec<Option<EventNid>>>, Attempt> {
        let mut values = Vec::new();
        let mut nodes = BTreeSet::new();
        for members in [true, false] {
            let tries: Vec<&Trie> =
                states.iter().map(|state| if members { &state.members } else { &state.other }).collect();
            let mut keys: BTreeSet<Key> = BTreeSet::new();
            for trie in &tries[1..] {
                match diff(tries[0], trie, &self.nodes) {
                    Ok(changes) => keys.extend(changes.into_iter().map(|change| change.key)),
                    Err(lacking) => nodes.extend(lacking),
                }
            }
            for key in keys {
                let mut row = Vec::with_capacity(tries.len());
                for trie in &tries {
                    match trie.get(key, &self.nodes) {
                        Ok(value) => row.push(value),
                        Err(Missing(nid)) => drop(nodes.insert(nid)),
                    }
                }
                values.push(row);
            }
        }
        if nodes.is_empty() {
            Ok(values)
        } else {
            Err(Attempt::Lacking(Lacking { nodes, ..Lacking::default() }))
        }
    }

    /// Decides something, loading what it lacks; fails if what is stored makes no sense.
    pub(crate) async fn decide<T>(
        &mut self,
        mut decide: impl FnMut(&mut Self) -> Result<T, Attempt>,
    ) -> Result<T, StoreError> {
        let corrupt = |room: i64, what: String| StoreError::Corrupt { what: format!("room {room}: {what}") };
        loop {
            match decide(self) {
                Ok(decided) => return Ok(decided),
                Err(Attempt::Lacking(lacking)) => {
                    if let Some(what) = self.lost(&lacking) {
                        return Err(corrupt(self.room.room_nid, what));
                    }
                    self.load(lacking).await?;
                }
                Err(Attempt::Damaged(what)) => return Err(corrupt(self.room.room_nid, what)),
            }
        }
    }

    /// What of this was looked for before and is not there.
    pub(crate) fn lost(&self, lacking: &Lacking) -> Option<String> {
        let node = lacking.nodes.iter().find(|nid| self.lost_nodes.contains(nid));
        let mut events = lacking.links.iter().chain(&lacking.events);
        node.map(|nid| format!("state node {nid} is lost or damaged")).or_else(|| {
            events
                .find(|nid| self.lost_events.contains(nid))
                .map(|nid| format!("event {nid}, which others cite, is lost or damaged"))
        })
    }

    /// Loads what is lacking, all of a kind in one statement. What is not there is noted as lost.
    pub(crate) async fn load(&mut self, lacking: Lacking) -> Result<(), StoreError> {
        let Lacking { nodes, links, events, citing } = lacking;
        let citing: Vec<EventNid> = citing.into_iter().collect();
        self.citing.extend(loads::find_citing(self.conn, &citing).await?);
        self.load_nodes(nodes).await?;
        self.load_links(&links).await?;
        self.load_events(&events).await
    }

    async fn load_nodes(&mut self, nids: BTreeSet<NodeNid>) -> Result<(), StoreError> {
        if nids.is_empty() {
            return Ok(());
        }
        let room = self.room.room_nid;
        match self.cache.load(self.conn, room, nids.iter().copied()).await {
            Ok(found) => self.nodes.extend(found.into_iter().map(|(nid, node)| (nid, Arc::new(node)))),
            // One of them is lost or damaged: which one, each has to be asked.
            Err(StoreError::Corrupt { .. }) => {
                for nid in nids {
                    match self.cache.load(self.conn, room, std::iter::once(nid)).await {
                        Ok(found) => {
                            self.nodes.extend(found.into_iter().map(|(nid, node)| (nid, Arc::new(node))));
                        }
                        Err(StoreError::Corrupt { .. }) => drop(self.lost_nodes.insert(nid)),
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn load_links(&mut self, nids: &BTreeSet<EventNid>) -> Result<(), StoreError> {
        let columns: Vec<i64> = nids.iter().map(|nid| nid.0).collect();
        for columns in columns.chunks(MAX_ASKED) {
            for row in vertices::list_vertices(self.conn, columns).await? {
                self.note(&row);
            }
        }
        self.lost_events.extend(nids.iter().filter(|nid| !self.links.contains_key(nid)));
        Ok(())
    }

    async fn load_events(&mut self, nids: &BTreeSet<EventNid>) -> Result<(), StoreError> {
        let columns: Vec<i64> = nids.iter().map(|nid| nid.0).collect();
        for columns in columns.chunks(MAX_ASKED) {
            for row in vertices::list_json(self.conn, columns).await? {
                let Ok(id) = OwnedEventId::try_from(row.event_id) else { continue };
                if let Ok(pdu) = Pdu::from_checked(id, &row.json, row.flags & flags::REJECTED != 0) {
                    self.events.insert(EventNid(row.event_nid), Arc::new(pdu));
                }
            }
        }
        self.lost_events.extend(nids.iter().filter(|nid| !self.events.contains_key(nid)));
        Ok(())
    }
}
