//! What the checks and the resolution of events cost in CPU time.
//!
//! `cargo bench -p plexus-dags`; figures are the least of several runs, in CPU time of this thread, so that a busy
//! machine matters little.

use std::{
    collections::{BTreeMap, HashMap},
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use plexus_events::{
    Draft, Pdu, RoomRules, SigningKey, auth, canonical, hash, receive,
    resolve::{Citing, Conflict, Links, Lookup, StateKey, resolve},
};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedUserId,
    events::{StateEventType, TimelineEventType},
    state_res::{self, Event as _, StateMap, utils::event_id_set::EventIdSet},
};
use serde_json::{Value, json, value::RawValue};

type Nid = u32;

/// A large room: state events, and one state that all forks start from.
struct Room {
    rules: &'static RoomRules,
    room_id: OwnedRoomId,
    events: Vec<Arc<Pdu>>,
    links: Vec<Links<Nid>>,
    citing: Vec<Vec<Nid>>,
    numbers: HashMap<OwnedEventId, Nid>,
    state: HashMap<StateKey, Nid>,
}

impl Room {
    fn new(version: &str, members: usize, named: usize) -> Self {
        let rules = RoomRules::of(version).expect("it is served");
        let creator = user(0);
        let given: Option<OwnedRoomId> =
            (!rules.room_id_is_create_hash()).then(|| "!room:a.test".try_into().expect("a room ID"));
        let (room_id, json) = plexus_events::create::unsigned_create_event(
            &rules.id,
            &creator,
            given.as_deref(),
            serde_json::Map::new(),
            1000,
        )
        .expect("it can be built");
        let object = canonical::parse_object(&json).expect("canonical");
        let id = hash::event_id(&object, rules).expect("it can be hashed");
        let create = Pdu::from_checked(id.clone(), &json, false).expect("it can be read");
        let mut room = Self {
            rules,
            room_id,
            events: vec![Arc::new(create)],
            links: vec![Links { generation: 0, auth: Arc::from([]) }],
            citing: vec![Vec::new()],
            numbers: HashMap::from([(id, 0)]),
            state: HashMap::from([((StateEventType::RoomCreate, String::new()), 0)]),
        };
        room.add(0, "m.room.member", user(0).as_str(), json!({ "membership": "join" }));
        room.add(0, "m.room.power_levels", "", room.levels(named));
        room.add(0, "m.room.join_rules", "", json!({ "join_rule": "public" }));
        for member in 1..members {
            room.add(member, "m.room.member", user(member).as_str(), json!({ "membership": "join" }));
        }
        room
    }

    fn levels(&self, named: usize) -> Value {
        let mut users: BTreeMap<OwnedUserId, i64> = (1..=named).map(|index| (user(index), 50)).collect();
        if !self.rules.room_id_is_create_hash() {
            users.insert(user(0), 100);
        }
        json!({ "users": users, "events": { "m.room.name": 50, "m.room.power_levels": 100 } })
    }

    /// Makes an event on top of a state, without a check.
    fn make(
        &mut self,
        on: &HashMap<StateKey, Nid>,
        sender: usize,
        kind: &str,
        key: &str,
        content: &Value,
    ) -> Nid {
        let raw = RawValue::from_string(content.to_string()).expect("JSON");
        let event_type = TimelineEventType::from(kind);
        let sender = user(sender);
        let keys = auth::auth_types(&event_type, &sender, Some(key), &raw, self.rules).expect("well formed");
        let found = keys.iter().filter_map(|key| on.get(key).or_else(|| self.state.get(key)));
        let auth: Vec<Nid> = found.copied().collect();
        let ids: Vec<_> = auth.iter().map(|nid| self.events[*nid as usize].event_id().clone()).collect();
        let prev = [self.events[self.events.len() - 1].event_id().clone()];
        let draft = Draft {
            room_id: Some(&self.room_id),
            sender: &sender,
            event_type: kind,
            state_key: Some(key),
            content: canonical::parse_object(content.to_string().as_bytes()).expect("canonical"),
            redacts: None,
            prev_events: &prev,
            auth_events: &ids,
            depth: i64::try_from(self.events.len()).expect("few"),
            origin_server_ts: 1000 + i64::try_from(self.events.len()).expect("few"),
        };
        let hashed = draft.hash(self.rules).expect("it can be built");
        let id = hashed.event_id().to_owned();
        let pdu = Pdu::from_checked(id.clone(), &hashed.unsigned_json(), false).expect("it can be read");
        let nid = Nid::try_from(self.events.len()).expect("few");
        let generation = auth.iter().map(|nid| self.links[*nid as usize].generation).max().unwrap_or(0) + 1;
        for cited in &auth {
            self.citing[*cited as usize].push(nid);
        }
        self.citing.push(Vec::new());
        self.links.push(Links { generation, auth: auth.into() });
        self.events.push(Arc::new(pdu));
        self.numbers.insert(id, nid);
        nid
    }

    fn add(&mut self, sender: usize, kind: &str, key: &str, content: Value) {
        let nid = self.make(&HashMap::new(), sender, kind, key, &content);
        self.state.insert((kind.into(), key.to_owned()), nid);
    }

    /// Adds to one side of a fork.
    fn fork(
        &mut self,
        side: &mut HashMap<StateKey, Nid>,
        sender: usize,
        kind: &str,
        key: &str,
        content: Value,
    ) {
        let nid = self.make(side, sender, kind, key, &content);
        side.insert((kind.into(), key.to_owned()), nid);
    }

    /// Two sides that differ in so many keys: power levels, topic, name, a ban, a kick, and profiles.
    fn sides(&mut self, keys: usize) -> [HashMap<StateKey, Nid>; 2] {
        let mut sides = [HashMap::new(), HashMap::new()];
        for (index, side) in sides.iter_mut().enumerate() {
            let mut levels = self.levels(5);
            levels["events"]["m.room.topic"] = json!(index * 50);
            self.fork(side, 0, "m.room.power_levels", "", levels);
            self.fork(side, 1, "m.room.topic", "", json!({ "topic": index }));
            self.fork(side, 1, "m.room.name", "", json!({ "name": index }));
            for (target, membership) in [(10, "ban"), (11, "leave")] {
                let content = if index == 0 {
                    (1, json!({ "membership": membership }))
                } else {
                    (target, json!({ "membership": "join", "displayname": "new" }))
                };
                self.fork(side, content.0, "m.room.member", user(target).as_str(), content.1);
            }
            for member in 0..keys.saturating_sub(5) {
                let member = 20 + member;
                let content = json!({ "membership": "join", "displayname": format!("side {index}") });
                self.fork(side, member, "m.room.member", user(member).as_str(), content);
            }
        }
        sides
    }
}

impl Lookup for Room {
    type Nid = Nid;

    fn links(&self, nid: Nid) -> Option<Links<Nid>> {
        Some(self.links[nid as usize].clone())
    }

    fn event(&self, nid: Nid) -> Option<Arc<Pdu>> {
        Some(Arc::clone(&self.events[nid as usize]))
    }

    fn state(&self, event_type: &StateEventType, state_key: &str) -> Option<Option<Nid>> {
        Some(self.state.get(&(event_type.clone(), state_key.to_owned())).copied())
    }

    fn citing(&self, nid: Nid) -> Option<Citing<Nid>> {
        Some(Citing::Known(self.citing[nid as usize].as_slice().into()))
    }
}

fn user(index: usize) -> OwnedUserId {
    format!("@user{index}:a.test").try_into().expect("a user ID")
}

/// CPU time of this thread, where the system tells; else the time of day.
fn cpu(started: Instant) -> Duration {
    // The account is brought up to date when the thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let spent = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    spent.map_or_else(|| started.elapsed(), Duration::from_nanos)
}

/// Prints the least time of some runs of something.
fn measure<T>(what: &str, runs: u32, each: u32, mut run: impl FnMut() -> T) {
    let started = Instant::now();
    let mut least = Duration::MAX;
    for _ in 0..runs {
        let before = cpu(started);
        for _ in 0..each {
            black_box(run());
        }
        least = least.min((cpu(started) - before) / each);
    }
    println!("{what:<72} {:>12.1} µs", least.as_secs_f64() * 1e6);
}

fn checks() {
    for named in [0, 20, 200] {
        let room = Room::new("11", 10, named);
        let (rules, pdu) = (room.rules, &room.events[5]);
        let find = |event_type: &StateEventType, state_key: &str| {
            let nid = room.state.get(&(event_type.clone(), state_key.to_owned()))?;
            Some(&*room.events[*nid as usize])
        };
        let by_id = |id: &EventId| room.numbers.get(id).map(|nid| &*room.events[*nid as usize]);
        measure(
            &format!("auth check of a join against a state, power levels of {named} users"),
            20,
            200,
            || {
                auth::check_dependent(pdu, rules, find).expect("allowed");
            },
        );
        measure(&format!("auth check of its auth events, power levels of {named} users"), 20, 200, || {
            auth::check_independent(pdu, rules, by_id).expect("allowed");
        });
        let levels = &room.events[2];
        measure(&format!("auth check of power levels of {named} users"), 20, 100, || {
            auth::check_dependent(levels, rules, find).expect("allowed");
        });
    }

    let rules = RoomRules::of("11").expect("it is served");
    let key = SigningKey::from_seed("1", &[7; 32]).expect("a version");
    let room_id = "!room:a.test".try_into().expect("a room ID");
    let ids: Vec<OwnedEventId> =
        (0..3).map(|index| format!("${index:043}").try_into().expect("an event ID")).collect();
    let sender = user(1);
    let draft = || Draft {
        room_id: Some(room_id),
        sender: &sender,
        event_type: "m.room.message",
        state_key: None,
        content: canonical::parse_object(
            br#"{"body":"Where the time of a short message goes.","msgtype":"m.text"}"#,
        )
        .expect("canonical"),
        redacts: None,
        prev_events: &ids[..1],
        auth_events: &ids,
        depth: 100,
        origin_server_ts: 1_700_000_000_000,
    };
    let server = "a.test".try_into().expect("a server name");
    let built = draft().hash(rules).and_then(|hashed| hashed.sign(server, &key)).expect("it can be built");
    let keys =
        BTreeMap::from([(server.to_owned(), BTreeMap::from([(key.key_id().to_owned(), key.public_key())]))]);
    measure("build and hash a message", 20, 500, || draft().hash(rules).expect("it can be built"));
    measure("build, hash and sign a message", 20, 500, || {
        draft().hash(rules).and_then(|hashed| hashed.sign(server, &key)).expect("it can be built")
    });
    let parsed = receive::parse(&built.json, rules).expect("well formed");
    measure("parse a message, check its format, compute its event ID", 20, 500, || {
        receive::parse(&built.json, rules).expect("well formed")
    });
    measure("check its content hash, without its signature", 20, 500, || {
        parsed.clone().trust_signatures().expect("well formed")
    });
    measure("verify its signature and content hash", 20, 500, || {
        parsed.clone().verify(&keys).expect("signed")
    });
}

fn resolutions(version: &str) {
    for members in [100, 1_000, 10_000, 100_000] {
        let mut room = Room::new(version, members, 5);
        for count in [5, 1_000] {
            if count > members {
                continue;
            }
            let sides = room.sides(count);
            let mut keys: Vec<&StateKey> = sides[0].keys().collect();
            keys.sort();
            let values: Vec<Vec<Option<Nid>>> =
                keys.iter().map(|key| sides.iter().map(|side| side.get(*key).copied()).collect()).collect();
            assert_eq!(values.len(), count);
            let what = format!("version {version}: resolve {count} conflicting keys, {members} members");
            let runs = if count == 5 { (20, 20) } else { (10, 1) };
            for explain in [false, true] {
                let what = if explain { format!("{what}, explained") } else { what.clone() };
                if explain && members != 1_000 {
                    continue;
                }
                measure(&what, runs.0, runs.1, || {
                    let conflict = Conflict { rules: room.rules, create: 0, keys: &values, explain };
                    resolve(&conflict, &room).expect("nothing is lacking")
                });
            }
            if count == 5 {
                whole(&room, &sides, &what);
            }
        }
    }
}

/// The same as others do it: ruma over whole states, the full auth chains built before.
fn whole(room: &Room, sides: &[HashMap<StateKey, Nid>; 2], what: &str) {
    let id = |nid: Nid| room.events[nid as usize].event_id().clone();
    let chain = |state: &StateMap<OwnedEventId>| {
        let mut found: EventIdSet<OwnedEventId> = state.values().cloned().collect();
        let mut next: Vec<Nid> = state.values().map(|id| room.numbers[id]).collect();
        while let Some(nid) = next.pop() {
            next.extend(room.links[nid as usize].auth.iter().filter(|auth| found.insert(id(**auth))));
        }
        found
    };
    let maps: Vec<StateMap<OwnedEventId>> = sides
        .iter()
        .map(|side| room.state.iter().chain(side).map(|(key, nid)| (key.clone(), id(*nid))).collect())
        .collect();
    let chains: Vec<_> = maps.iter().map(chain).collect();
    measure(&format!("{what}, by ruma over whole states"), 2, 1, || {
        state_res::resolve(
            &room.rules.rules.authorization,
            &room.rules.state_resolution(),
            &maps,
            chains.clone(),
            |id: &EventId| room.numbers.get(id).map(|nid| &*room.events[*nid as usize]),
            |_| Some(EventIdSet::new()),
        )
        .expect("ruma resolves")
    });
}

fn main() {
    checks();
    resolutions("11");
    resolutions("12");
}
