//! Several servers that share a room, each with a world of its own, and events that reach them late and in any order.

use std::collections::{BTreeMap, BTreeSet};

use plexus_events::{Draft, RoomRules, SigningKey, auth, canonical};
use plexus_proto::log::v1::{
    Pdu, PduBatch, SnapshotChunk, StateBefore, input_room_event::Body, output_room_event, pdu::Kind,
};
use proptest::prelude::*;
use ruma::{OwnedEventId, RoomId, ServerName, UserId, events::TimelineEventType};
use serde_json::{Value, json};

use super::{ALICE, Answer, World};
use crate::rooms::{EventNid, Key, Node, NodeNid, Trie, flags};

pub(super) const BOB: &str = "@bob:b.example";
pub(super) const CAROL: &str = "@carol:c.example";

/// A world under another name.
pub(super) fn world_of(server: &str) -> World {
    let mut world = World::new();
    world.env.server_name = ServerName::parse(server).unwrap();
    world.env.signing_key = SigningKey::from_seed("a_test", &[7; 32]).unwrap();
    world
}

pub(super) fn pdu(json: &[u8], kind: Kind) -> Pdu {
    Pdu {
        kind: kind.into(),
        json: json.to_vec().into(),
        origin: "elsewhere.example".to_owned(),
        ..Pdu::default()
    }
}

/// What of an event its maker decides.
pub(super) struct Made<'a> {
    pub(super) sender: &'a str,
    pub(super) event_type: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) content: Value,
    pub(super) prev: Vec<String>,
    pub(super) auth: Vec<String>,
    pub(super) depth: i64,
    pub(super) ts: i64,
}

/// Builds an event as another server would; returns its ID and JSON.
pub(super) fn make(room: &str, version: &str, made: Made<'_>) -> (String, Vec<u8>) {
    let rules = RoomRules::of(version).unwrap();
    let room_id = RoomId::parse(room).unwrap();
    let ids = |ids: Vec<String>| -> Vec<OwnedEventId> {
        ids.into_iter().map(|id| OwnedEventId::try_from(id).unwrap()).collect()
    };
    let (prev_events, auth_events) = (ids(made.prev), ids(made.auth));
    let sender = <&UserId>::try_from(made.sender).unwrap();
    let draft = Draft {
        room_id: Some(&room_id),
        sender,
        event_type: made.event_type,
        state_key: made.state_key,
        content: canonical::parse_object(&serde_json::to_vec(&made.content).unwrap()).unwrap(),
        redacts: None,
        prev_events: &prev_events,
        auth_events: &auth_events,
        depth: made.depth,
        origin_server_ts: made.ts,
    };
    let key = SigningKey::from_seed("a_test", &[7; 32]).unwrap();
    let built = draft.hash(rules).unwrap().sign(sender.server_name(), &key).unwrap();
    (built.event_id.to_string(), built.json)
}

impl World {
    /// A state as a map from keys to event IDs.
    pub(super) fn map(&self, roots: (i64, i64)) -> BTreeMap<Key, String> {
        let nodes: std::collections::HashMap<NodeNid, std::sync::Arc<Node>> =
            self.tables.nodes.keys().map(|nid| (*nid, self.node(*nid).into())).collect();
        let mut map = BTreeMap::new();
        for root in [roots.0, roots.1] {
            let trie = Trie::stored(NodeNid::from_column(root));
            trie.for_each(&nodes, &mut |key, nid: EventNid| {
                map.insert(key, self.tables.events[&nid].event.event_id.to_string());
            })
            .unwrap();
        }
        map
    }

    pub(super) fn current(&self, room: &str) -> BTreeMap<Key, String> {
        let row = self.row(room);
        self.map((row.members_root, row.other_root))
    }

    pub(super) fn after(&self, id: &str) -> BTreeMap<Key, String> {
        let event = self.event(id).unwrap();
        let column = |root: Option<NodeNid>| root.map_or(0, |nid| nid.0);
        self.map((column(event.members_root), column(event.other_root)))
    }

    pub(super) fn extremities(&self, room: &str) -> BTreeSet<String> {
        let nids = self.row(room).latest_nids.iter();
        nids.map(|nid| self.tables.events[nid].event.event_id.to_string()).collect()
    }

    pub(super) fn flags(&self, id: &str) -> i32 {
        self.event(id).unwrap().flags
    }

    /// An event that follows on the forward extremities here, authorized by the current state.
    pub(super) fn next<'a>(
        &self,
        room: &str,
        sender: &'a str,
        (event_type, state_key): (&'a str, Option<&'a str>),
        content: Value,
    ) -> Made<'a> {
        let prev: Vec<String> = self.extremities(room).into_iter().collect();
        self.made_at(room, prev, &self.current(room), sender, (event_type, state_key), content)
    }

    /// An event after others, authorized by a state.
    pub(super) fn made_at<'a>(
        &self,
        room: &str,
        prev: Vec<String>,
        state: &BTreeMap<Key, String>,
        sender: &'a str,
        (event_type, state_key): (&'a str, Option<&'a str>),
        content: Value,
    ) -> Made<'a> {
        let rules = RoomRules::of(&self.row(room).version).unwrap();
        let raw = serde_json::value::to_raw_value(&content).unwrap();
        let user = <&UserId>::try_from(sender).unwrap();
        let keys = auth::auth_types(&TimelineEventType::from(event_type), user, state_key, &raw, rules);
        let keys = keys.unwrap_or_default().into_iter();
        let auth = keys.filter_map(|(t, k)| state.get(&Key::of(&t.to_string(), &k)).cloned()).collect();
        let depth = prev.iter().map(|id| self.event(id).unwrap().depth).max().unwrap_or(0) + 1;
        Made { sender, event_type, state_key, content, prev, auth, depth, ts: self.now + depth }
    }

    pub(super) fn make(&self, room: &str, made: Made<'_>) -> (String, Vec<u8>) {
        make(room, &self.row(room).version, made)
    }

    pub(super) fn receive(&mut self, room: &str, json: &[u8]) -> Answer {
        self.submit(room, Body::Pdu(pdu(json, Kind::New)))
    }

    /// JSON of the current state's events.
    fn state_events(&self, room: &str) -> Vec<(String, Vec<u8>)> {
        let ids: BTreeSet<String> = self.current(room).into_values().collect();
        let mut events: Vec<_> = ids.iter().map(|id| self.event(id).unwrap()).collect();
        // What is cited goes first.
        events.sort_by_key(|event| (event.auth_generation, event.nid));
        events.iter().map(|event| (event.event_id.to_string(), event.json.to_vec())).collect()
    }

    /// Joins a room that another world has: the state comes ahead, then the join.
    pub(super) fn joins_from(&mut self, other: &mut World, room: &str, user: &str) -> Answer {
        let made = other.next(room, user, ("m.room.member", Some(user)), json!({ "membership": "join" }));
        let (_, join) = other.make(room, made);
        let state = other.state_events(room);
        // The whole of what authorizes the state comes with it, also what is no part of it any more.
        let mut pdus: BTreeMap<(i32, EventNid), Vec<u8>> = BTreeMap::new();
        let mut open: Vec<EventNid> = state.iter().map(|(id, _)| other.event(id).unwrap().nid).collect();
        while let Some(nid) = open.pop() {
            let event = &other.tables.events[&nid].event;
            if pdus.insert((event.auth_generation, nid), event.json.to_vec()).is_none() {
                open.extend(&event.auth_nids);
            }
        }
        let token = vec![9; 16];
        let count = u32::try_from(state.len()).unwrap();
        let halves = state.split_at(state.len() / 2);
        let version = other.row(room).version.clone();
        for (index, part) in [halves.0, halves.1].into_iter().enumerate() {
            let chunk = SnapshotChunk {
                token: token.clone().into(),
                index: u32::try_from(index).unwrap(),
                room_version: version.clone(),
                origin: "elsewhere.example".to_owned(),
                pdus: if index == 0 {
                    pdus.values().map(|json| json.clone().into()).collect()
                } else {
                    vec![]
                },
                state_event_ids: part.iter().map(|(id, _)| id.clone()).collect(),
                // With the join, or ahead of it.
                last: index == 1 && version == "11",
            };
            let answer = self.submit(room, Body::Snapshot(chunk));
            assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        }
        let state_before = StateBefore { snapshot_token: token.into(), chunks: 2, events: count };
        let mut pdu = pdu(&join, Kind::New);
        pdu.state_before = Some(state_before);
        assert!(matches!(other.receive(room, &join), Answer::Accepted { .. }));
        self.submit(room, Body::Pdu(pdu))
    }

    /// Events that were put out since, in order: their IDs and JSON.
    fn new_events(&self, since: usize) -> Vec<(String, Vec<u8>)> {
        let bodies = self.outputs[since..].iter().map(|output| output.record.body.clone().unwrap());
        let events = bodies.filter_map(|body| match body {
            output_room_event::Body::NewEvent(event) => Some((event.event_id, event.json.to_vec())),
            _ => None,
        });
        events.collect()
    }
}

/// Three servers in a room.
pub(super) fn three(version: &str) -> (Vec<World>, String) {
    let mut worlds = vec![World::new(), world_of("b.example"), world_of("c.example")];
    let room = worlds[0].creates(version, json!({ "join_rule": "public" }));
    let levels = json!({ "users": { BOB: 60, ALICE: 100 }, "invite": 0 });
    let levels = if version == "12" { json!({ "users": { BOB: 60 }, "invite": 0 }) } else { levels };
    worlds[0].set(&room, ALICE, ("m.room.power_levels", ""), levels).event_id();
    for (index, user) in [(1, BOB), (2, CAROL)] {
        let mut first = worlds.remove(0);
        let answer = worlds[index - 1].joins_from(&mut first, &room, user);
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        worlds.insert(0, first);
    }
    // Bob's server learns of Carol's join.
    let (_, join) = {
        let id = worlds[0].extremities(&room).into_iter().next().unwrap();
        let json = worlds[0].event(&id).unwrap().json.to_vec();
        (id, json)
    };
    assert!(matches!(worlds[1].receive(&room, &join), Answer::Accepted { .. }));
    (worlds, room)
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    Says,
    Topic,
    Member(usize, &'static str),
    Levels(i64, i64),
    Rule(&'static str),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Says),
        3 => Just(Act::Topic),
        3 => (0..4_usize, prop::sample::select(vec!["join", "invite", "leave", "ban", "leave"]))
            .prop_map(|(user, membership)| Act::Member(user, membership)),
        2 => (0..101_i64, 0..60_i64).prop_map(|(bob, state)| Act::Levels(bob, state)),
        1 => prop::sample::select(vec!["public", "invite"]).prop_map(Act::Rule),
    ]
}

const USERS: [&str; 4] = [ALICE, BOB, CAROL, "@dora:b.example"];

pub(super) fn perform(world: &mut World, room: &str, user: &str, act: &Act, n: usize) {
    // Clocks run alike everywhere: an older topic wins against a newer one if it claims to be younger.
    world.clock = 1_700_000_000_000 + i64::try_from(n + 1).unwrap() * 1000;
    match act {
        Act::Says => world.says(room, user, "x"),
        Act::Topic => world.set(room, user, ("m.room.topic", ""), json!({ "topic": format!("{n}") })),
        Act::Member(target, membership) => world.member(room, user, USERS[*target], membership),
        Act::Levels(bob, state) => {
            let alice = world.row(room).version != "12";
            let mut users = json!({ BOB: bob });
            if alice {
                users[ALICE] = json!(100);
            }
            let levels = json!({ "users": users, "state_default": state, "invite": 0 });
            world.set(room, user, ("m.room.power_levels", ""), levels)
        }
        Act::Rule(rule) => world.set(room, user, ("m.room.join_rules", ""), json!({ "join_rule": rule })),
    };
}

/// Something that happens among three servers.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A user of a server does something.
    Act(usize, Act),
    /// A server receives one of the events on their way to it, whichever.
    Deliver(usize, usize),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..3_usize, acts()).prop_map(|(server, act)| Step::Act(server, act)),
        2 => (0..3_usize, 0..8_usize).prop_map(|(server, which)| Step::Deliver(server, which)),
    ];
    prop::collection::vec(step, 1..30)
}

/// Event IDs with JSON.
pub(super) type Events = Vec<(String, Vec<u8>)>;

/// Lets three servers live; returns them, and all events with their JSON in the order of their making.
pub(super) fn live(version: &str, steps: &[Step]) -> (Vec<World>, String, Events) {
    let (mut worlds, room) = three(version);
    let mut queues: [Events; 3] = Default::default();
    let mut all = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Act(server, act) => {
                let since = worlds[*server].outputs.len();
                perform(&mut worlds[*server], &room, USERS[*server], act, n);
                for event in worlds[*server].new_events(since) {
                    all.push(event.clone());
                    for (other, queue) in queues.iter_mut().enumerate() {
                        if other != *server {
                            queue.push(event.clone());
                        }
                    }
                }
            }
            Step::Deliver(server, which) => {
                let queue = &mut queues[*server];
                if !queue.is_empty() {
                    let (_, json) = queue.remove(which % queue.len());
                    let answer = worlds[*server].receive(&room, &json);
                    assert!(!matches!(answer, Answer::Poison(_)), "{answer:?}");
                }
            }
        }
    }
    for (server, queue) in queues.into_iter().enumerate() {
        for (_, json) in queue {
            let answer = worlds[server].receive(&room, &json);
            assert!(!matches!(answer, Answer::Poison(_)), "{answer:?}");
        }
    }
    (worlds, room, all)
}

/// What must be equal wherever an event has arrived.
fn seen(world: &World, events: &[(String, Vec<u8>)]) -> BTreeMap<String, (bool, BTreeMap<Key, String>)> {
    events
        .iter()
        .map(|(id, _)| {
            let rejected = world.flags(id) & flags::REJECTED != 0;
            (id.clone(), (rejected, world.after(id)))
        })
        .collect()
}

fn soft_failed(world: &World) -> BTreeSet<String> {
    let rows = world.tables.events.values().filter(|row| row.event.flags & flags::SOFT_FAILED != 0);
    rows.map(|row| row.event.event_id.to_string()).collect()
}

fn check_room(world: &World, room: &str) {
    let row = world.row(room);
    assert!(!row.latest_nids.is_empty(), "no extremities");
    assert!(row.latest_nids.len() <= 60);
    for nid in &row.latest_nids {
        let event = &world.tables.events[nid].event;
        assert!(event.lacks(flags::REJECTED | flags::SOFT_FAILED | flags::OUTLIER), "{event:?}");
    }
    // Members and counts are those of the current state.
    let mut joined = 0;
    let current = world.current(room);
    for ((_, user), (membership, _)) in &world.tables.members {
        let held = current.get(&Key::of("m.room.member", user.as_str())).map(|id| world.json(id));
        let held = held.map_or(json!("leave"), |event| event["content"]["membership"].clone());
        assert_eq!(json!(membership), held, "{user}");
        joined += i32::from(membership == "join");
    }
    assert_eq!(row.joined_members, joined);
    // A reader who applies the deltas has the current state.
    let mut read: BTreeMap<Key, String> = BTreeMap::new();
    let mut last = 0;
    for output in &world.outputs {
        assert_eq!(output.record.prev_room_seq, last);
        last = output.record.seq;
        if let Some(output_room_event::Body::NewEvent(event)) = &output.record.body {
            let delta = event.delta.as_ref().unwrap();
            assert!(!delta.truncated);
            for change in &delta.changes {
                let key = Key::of(&change.r#type, &change.state_key);
                if change.event_id.is_empty() {
                    read.remove(&key);
                } else {
                    read.insert(key, change.event_id.clone());
                }
            }
        }
        if matches!(output.record.body, Some(output_room_event::Body::StateRewritten(_))) {
            read = world.snapshot_before(output.seq + 1);
        }
    }
    assert_eq!(read, current, "deltas");
}

impl World {
    /// The state before the event that was put out with a `seq`.
    fn snapshot_before(&self, seq: i64) -> BTreeMap<Key, String> {
        let row = self.tables.events.values().find(|row| row.event.seq == Some(seq)).unwrap();
        let mut state = self.after(row.event.event_id.as_str());
        state.retain(|_, id| *id != row.event.event_id.as_str());
        state
    }
}

/// A topic is left out where its sender lacks the power, and stays out although they get it back meanwhile: the event
/// that comes from there says so.
#[test]
fn what_an_event_left_out_is_no_reset() {
    let acts = |server, act| Step::Act(server, act);
    let steps = [
        acts(1, Act::Says),
        acts(1, Act::Topic),
        Step::Deliver(0, 0),
        acts(0, Act::Levels(0, 1)),
        Step::Deliver(1, 0),
        acts(0, Act::Levels(59, 0)),
        acts(1, Act::Says),
        acts(0, Act::Says),
        acts(0, Act::Says),
    ];
    raises_no_alarm(&steps);
}

/// Of two join rules the older one wins, although the newer one had replaced it: an event that still has the older one
/// contests it.
#[test]
fn what_an_event_contests_is_no_reset() {
    let acts = |server, act| Step::Act(server, act);
    raises_no_alarm(&[
        acts(1, Act::Rule("public")),
        acts(1, Act::Says),
        Step::Deliver(0, 6),
        acts(0, Act::Rule("public")),
        acts(0, Act::Says),
    ]);
}

/// A topic loses against another one, whose sender is then made to leave: what is left of both is none.
#[test]
fn what_an_event_replaced_in_vain_is_no_reset() {
    let acts = |server, act| Step::Act(server, act);
    raises_no_alarm(&[
        acts(0, Act::Says),
        acts(0, Act::Topic),
        acts(0, Act::Says),
        acts(1, Act::Topic),
        acts(1, Act::Levels(0, 1)),
        acts(2, Act::Says),
        Step::Deliver(0, 0),
        acts(0, Act::Member(1, "leave")),
    ]);
}

fn raises_no_alarm(steps: &[Step]) {
    for version in ["6", "11", "12"] {
        let (worlds, room, _) = live(version, steps);
        for world in &worlds {
            check_room(world, &room);
            assert!(world.tables.resets.is_empty(), "{:?}", world.tables.resets);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the order in which events reach them, servers agree on every event and on the state at it.
    #[test]
    fn servers_agree(steps in steps(), version in prop::sample::select(vec!["6", "8", "10", "11", "12"])) {
        let (worlds, room, events) = live(version, &steps);
        let first = seen(&worlds[0], &events);
        for world in &worlds {
            check_room(world, &room);
            prop_assert_eq!(&seen(world, &events), &first);
            prop_assert!(world.tables.parked.is_empty());
            prop_assert!(world.tables.resets.is_empty(), "{:?}", world.tables.resets);
            if soft_failed(world).is_empty() && soft_failed(&worlds[0]).is_empty() {
                prop_assert_eq!(world.extremities(&room), worlds[0].extremities(&room));
                prop_assert_eq!(world.current(&room), worlds[0].current(&room));
            }
        }
    }

    /// One server is handed the same events in two orders, alone and in batches, kept in memory and loaded afresh.
    #[test]
    fn order_of_arrival_does_not_matter(
        steps in steps(),
        seed in any::<u64>(),
        size in 1..6_usize,
    ) {
        let (_, room, events) = live("11", &steps);
        let ordered = |order: &[(String, Vec<u8>)], size: usize, cold: bool| {
            let (mut worlds, _) = three("11");
            let mut world = worlds.remove(2);
            world.cold = cold;
            for batch in order.chunks(size) {
                let pdus = batch.iter().map(|(_, json)| pdu(json, Kind::New)).collect();
                let answer = world.submit(&room, Body::Pdus(PduBatch { pdus }));
                assert!(matches!(answer, Answer::Parts(_)));
            }
            check_room(&world, &room);
            world
        };
        let straight = ordered(&events, 1, false);
        let mut shuffled = events.clone();
        shuffled.sort_by_key(|(id, _)| {
            let mut hash = seed;
            for byte in id.bytes() {
                hash = hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte);
            }
            hash
        });
        let late = ordered(&shuffled, size, true);
        prop_assert!(late.tables.parked.is_empty());
        prop_assert_eq!(seen(&straight, &events), seen(&late, &events));
        if soft_failed(&straight).is_empty() && soft_failed(&late).is_empty() {
            prop_assert_eq!(straight.extremities(&room), late.extremities(&room));
            prop_assert_eq!(straight.current(&room), late.current(&room));
        }
    }
}

impl World {
    /// Tells this world the state before an event of another one; returns token, number of chunks and of events.
    pub(super) fn told_state(&mut self, other: &mut World, room: &str, id: &str) -> (Vec<u8>, u32, u32) {
        let ids: BTreeSet<String> = other.after(id).into_values().collect();
        let mut events: Vec<_> = ids.iter().map(|id| other.event(id).unwrap()).collect();
        events.sort_by_key(|event| (event.auth_generation, event.nid));
        let chunk = SnapshotChunk {
            token: vec![5; 16].into(),
            index: 0,
            room_version: other.row(room).version.clone(),
            origin: "elsewhere.example".to_owned(),
            pdus: events.iter().map(|event| event.json.clone()).collect(),
            state_event_ids: events.iter().map(|event| event.event_id.to_string()).collect(),
            last: false,
        };
        let count = u32::try_from(events.len()).unwrap();
        let answer = self.submit(room, Body::Snapshot(chunk));
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        (vec![5; 16], 1, count)
    }
}
