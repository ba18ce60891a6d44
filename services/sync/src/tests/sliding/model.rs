//! A client that asks for random windows, subscriptions and filters, of random replicas; that repeats and abandons
//! requests, and goes back to older positions as if it had crashed. In the end it must know of every room what a client
//! knows that begins.

use std::collections::{BTreeMap, BTreeSet};

use plexus_service::config::SyncConfig;
use serde_json::{Value, json};

use super::{super::world::Send, ALICE, BOB};
use crate::{
    endpoint::sliding::{Bounds, random::Random},
    tests::world::{Replica, World},
};

const ROOMS: u64 = 9;
const STEPS: u64 = 60;
/// Runs of all tests together.
const RUNS: u64 = 120;
const STATE: [(&str, &str); 4] =
    [("m.room.name", ""), ("m.room.topic", ""), ("m.room.create", ""), ("m.room.member", "$ME")];

/// What a client knows of a room.
#[derive(Debug, Clone, Default)]
struct KnownRoom {
    /// By type and state key: event IDs.
    state: BTreeMap<(String, String), String>,
    membership: String,
    name: Option<String>,
    joined: u64,
    is_dm: bool,
    unread: u64,
    /// Events since the last gap.
    timeline: Vec<String>,
    /// By type.
    account_data: BTreeMap<String, Value>,
    receipts: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default)]
struct Client {
    pos: Option<String>,
    rooms: BTreeMap<String, KnownRoom>,
    global: BTreeMap<String, Value>,
    inbox: Inbox,
}

/// Messages to the device that have arrived; a client keeps them apart from rooms, and does not lose them by a crash.
#[derive(Debug, Clone, Default)]
struct Inbox {
    since: Option<String>,
    numbers: Vec<u64>,
}

impl Client {
    /// Takes an answer; returns how many rooms it told.
    fn take(&mut self, answer: &Value) -> usize {
        self.pos = answer["pos"].as_str().map(str::to_owned);
        let rooms = answer["rooms"].as_object().unwrap();
        for (id, told) in rooms {
            let known = self.rooms.entry(id.clone()).or_default();
            let kept = (known.account_data.clone(), known.receipts.clone());
            if told["initial"] == true {
                *known = KnownRoom::default();
                (known.account_data, known.receipts) = kept;
            }
            known.take(told);
        }
        let extensions = &answer["extensions"];
        if let Some(next) = extensions["to_device"]["next_batch"].as_str() {
            self.inbox.since = Some(next.to_owned());
        }
        for event in extensions["to_device"]["events"].as_array().into_iter().flatten() {
            self.inbox.numbers.push(event["content"]["number"].as_u64().unwrap());
        }
        for event in extensions["account_data"]["global"].as_array().into_iter().flatten() {
            self.global.insert(event["type"].as_str().unwrap().to_owned(), event["content"].clone());
        }
        for (room, events) in extensions["account_data"]["rooms"].as_object().into_iter().flatten() {
            let known = self.rooms.entry(room.clone()).or_default();
            for event in events.as_array().unwrap() {
                known
                    .account_data
                    .insert(event["type"].as_str().unwrap().to_owned(), event["content"].clone());
            }
        }
        for (room, event) in extensions["receipts"]["rooms"].as_object().into_iter().flatten() {
            let known = self.rooms.entry(room.clone()).or_default();
            for (event_id, kinds) in event["content"].as_object().unwrap() {
                for user in kinds["m.read"].as_object().into_iter().flatten().map(|(user, _)| user) {
                    known.receipts.insert(user.clone(), event_id.clone());
                }
            }
        }
        rooms.len()
    }
}

impl KnownRoom {
    fn take(&mut self, told: &Value) {
        let timeline = told["timeline"].as_array();
        if told["limited"] == true || told["unstable_expanded_timeline"] == true {
            self.timeline.clear();
        }
        let events = timeline.into_iter().chain(told["required_state"].as_array()).flatten();
        for event in events.filter(|event| !event["state_key"].is_null()) {
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            if event["type"] == "m.room.member" && event["state_key"] == ALICE {
                self.membership = event["content"]["membership"].as_str().unwrap().to_owned();
            }
            self.state.insert((text("type"), text("state_key")), text("event_id"));
        }
        for event in timeline.into_iter().flatten() {
            self.timeline.push(event["event_id"].as_str().unwrap().to_owned());
        }
        if told["invite_state"].is_array() {
            let own =
                told["invite_state"].as_array().unwrap().iter().find(|event| event["state_key"] == ALICE);
            self.membership = own.unwrap()["content"]["membership"].as_str().unwrap().to_owned();
        }
        if let Some(name) = told["name"].as_str() {
            self.name = Some(name.to_owned());
        }
        self.joined = told["joined_count"].as_u64().unwrap_or(self.joined);
        self.unread = told["notification_count"].as_u64().unwrap_or(self.unread);
        self.is_dm = told["is_dm"].as_bool().unwrap_or(self.is_dm);
    }
}

fn room(number: u64) -> String {
    format!("!{number}:test")
}

/// What happens in the world.
async fn happen(world: &World, random: &mut Random) {
    let room = room(random.below(ROOMS));
    let room = room.as_str();
    let membership = {
        let facts = world.facts.lock();
        let state = facts.state_at(room, u64::MAX);
        let own = state.get(&("m.room.member".to_owned(), ALICE.to_owned()));
        own.map_or_else(String::new, |own| own.content["membership"].as_str().unwrap().to_owned())
    };
    if random.percent(20) {
        // A partition that stalled tells old times late.
        world.facts.lock().late_by = i64::try_from(random.below(40)).unwrap();
    }
    match (random.below(16), membership.as_str()) {
        (0..=4, _) => drop(world.say(room, BOB, "x").await),
        (5, _) => {
            let content = json!({ "name": random.next().to_string() });
            world.set(room, BOB, "m.room.name", "", content).await;
        }
        (6, _) => {
            let content = json!({ "topic": random.next().to_string() });
            world.set(room, BOB, "m.room.topic", "", content).await;
        }
        (7, "join") => {
            drop(world.member(room, if random.percent(50) { ALICE } else { BOB }, ALICE, "leave").await)
        }
        (7 | 8, "invite") => {
            let membership = if random.percent(70) { "join" } else { "leave" };
            world.member(room, ALICE, ALICE, membership).await;
        }
        (7 | 8, "" | "leave") => {
            let invited = random.percent(60);
            let (sender, membership) = if invited { (BOB, "invite") } else { (ALICE, "join") };
            world.member(room, sender, ALICE, membership).await;
        }
        (9, "leave" | "ban") => world.forget(room, ALICE).await,
        (9, "join") => {
            let content = json!({ "membership": "join", "displayname": random.next().to_string() });
            world.set(room, ALICE, "m.room.member", ALICE, content).await;
        }
        (10, "ban") => drop(world.member(room, BOB, ALICE, "leave").await),
        (10, "leave" | "join") if random.percent(30) => drop(world.member(room, BOB, ALICE, "ban").await),
        (11, _) => {
            let rooms: Vec<String> =
                (0..ROOMS).filter(|_| random.percent(30)).map(super::model::room).collect();
            world.set_account_data(ALICE, "", "m.direct", json!({ BOB: rooms })).await;
        }
        (12, _) => {
            let content = json!({"tags": { (random.next().to_string()): {} }});
            world.set_account_data(ALICE, room, "m.tag", content).await;
        }
        (13, _) => {
            let user = format!("@m{}:test", random.below(4));
            let membership = if random.percent(60) { "join" } else { "leave" };
            world.member(room, &user, &user, membership).await;
        }
        (15, _) => {
            let number = world.facts.lock().messages.len();
            world.send_to_device(ALICE, "D", json!({ "number": number })).await;
        }
        (14, "join") => {
            let event = world.say(room, BOB, "read").await;
            world.receipt(room, if random.percent(50) { ALICE } else { BOB }, "m.read", &event, "").await;
        }
        _ => {
            let content = json!({"body": "x", "msgtype": "m.text"});
            world
                .send(Send { room, sender: BOB, kind: "m.room.message", state_key: None, content, txn: None })
                .await;
        }
    }
}

/// What the client wants in the end, and what a client that begins wants.
fn everything() -> Value {
    json!({
        "lists": {"all": {"ranges": [[0, 999]], "timeline_limit": 4, "required_state": STATE}},
        "extensions": {
            "account_data": {"enabled": true}, "receipts": {"enabled": true}, "to_device": {"enabled": true},
        },
    })
}

fn wish(random: &mut Random) -> Value {
    let limit = [0, 1, 2, 4, 7][usize::try_from(random.below(5)).unwrap()];
    let state: Vec<Value> = match random.below(6) {
        0 => vec![],
        1 => vec![json!(["m.room.member", "$LAZY"]), json!(["m.room.member", "$ME"])],
        2 => vec![json!(["*", "*"])],
        3 => vec![json!(["m.room.topic", ""])],
        _ => STATE.iter().map(|(kind, key)| json!([kind, key])).collect(),
    };
    json!({ "timeline_limit": limit, "required_state": state })
}

fn body(random: &mut Random) -> Value {
    if random.percent(25) {
        return everything();
    }
    let mut lists = serde_json::Map::new();
    for number in 0..random.below(4) {
        let mut list = wish(random);
        let from = random.below(4);
        list["ranges"] = json!([[from, from + random.below(5)]]);
        match random.below(5) {
            0 => list["filters"] = json!({ "is_dm": random.percent(50) }),
            1 => list["filters"] = json!({ "is_invite": random.percent(50) }),
            _ => {}
        }
        lists.insert(number.to_string(), list);
    }
    let mut subscriptions = serde_json::Map::new();
    for _ in 0..random.below(3) {
        subscriptions.insert(room(random.below(ROOMS)), wish(random));
    }
    let mut body = json!({ "lists": lists, "room_subscriptions": subscriptions });
    if random.percent(50) {
        body["extensions"] =
            json!({"account_data": {"enabled": random.percent(70)}, "receipts": {"enabled": true}});
    }
    if random.percent(30) {
        body["extensions"]["to_device"] = json!({"enabled": true, "limit": 1 + random.below(3)});
    }
    body
}

async fn ask(replica: &Replica, token: &str, client: &Client, body: &Value) -> Value {
    let query: Vec<_> = client.pos.iter().map(|pos| ("pos", pos.as_str())).collect();
    let mut body = body.clone();
    if body["extensions"]["to_device"].is_object() {
        body["extensions"]["to_device"]["since"] = json!(client.inbox.since);
    }
    let (status, answer) = replica.sliding(token, &query, &body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Asks on until there is nothing to be told any more.
async fn until_quiet(
    client: &mut Client,
    replicas: &[Replica],
    token: &str,
    body: &Value,
) -> Result<(), String> {
    let (mut answers, mut quiet) = (0, 0);
    // Rooms of which there is nothing to tell may fill an answer that others have to wait for.
    while quiet < 6 {
        let answer = ask(&replicas[(answers + quiet) % replicas.len()], token, client, body).await;
        if client.take(&answer) == 0 {
            quiet += 1;
            continue;
        }
        (answers, quiet) = (answers + 1, 0);
        if answers > 12 {
            return Err(format!("a busy loop, still with {} by {body}", answer["rooms"]));
        }
    }
    Ok(())
}

/// What differs between a client and one that has just begun.
fn differences(client: &Client, fresh: &Client, world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let rooms: BTreeSet<&String> = client.rooms.keys().chain(fresh.rooms.keys()).collect();
    for id in rooms {
        let Some(right) = fresh.rooms.get(id) else {
            let known = &client.rooms[id].membership;
            if matches!(known.as_str(), "join" | "invite" | "knock") {
                found.push(format!("{id} is a ghost: {known}"));
            }
            continue;
        };
        let Some(known) = client.rooms.get(id) else {
            found.push(format!("{id} is missing"));
            continue;
        };
        let mut differ = |what: &str, known: String, right: String| {
            if known != right {
                found.push(format!("{id}: {what} is {known} and should be {right}"));
            }
        };
        differ("membership", known.membership.clone(), right.membership.clone());
        differ("direct", known.is_dm.to_string(), right.is_dm.to_string());
        if right.membership != "join" {
            continue;
        }
        differ("name", format!("{:?}", known.name), format!("{:?}", right.name));
        differ("joined", known.joined.to_string(), right.joined.to_string());
        differ("unread", known.unread.to_string(), right.unread.to_string());
        differ("data", format!("{:?}", known.account_data), format!("{:?}", right.account_data));
        differ(
            "receipt",
            format!("{:?}", known.receipts.get(ALICE)),
            format!("{:?}", right.receipts.get(ALICE)),
        );
        for (kind, key) in STATE {
            let key = (kind.to_owned(), key.replace("$ME", ALICE));
            differ(kind, format!("{:?}", known.state.get(&key)), format!("{:?}", right.state.get(&key)));
        }
        let facts = world.facts.lock();
        let of_room = facts.events.iter().filter(|stored| stored.event.room_id == *id);
        let all: Vec<&str> = of_room.map(|stored| stored.event.event_id.as_str()).collect();
        let begin = known.timeline.first().and_then(|first| all.iter().position(|event| event == first));
        let right = begin.map(|begin| all[begin..].join(" "));
        differ("timeline", known.timeline.join(" "), right.unwrap_or_else(|| "something".to_owned()));
    }
    let data = |client: &Client| format!("{:?}", client.global);
    let sent = world.facts.lock().messages.len();
    if !client.inbox.numbers.iter().copied().eq(0..u64::try_from(sent).unwrap()) {
        found.push(format!("of {sent} messages these came: {:?}", client.inbox.numbers));
    }
    if data(client) != data(fresh) {
        found.push(format!("global data is {} and should be {}", data(client), data(fresh)));
    }
    found
}

async fn run(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut world = World::new();
    if random.percent(60) {
        // Little fits: positions get lost, wishes become one, answers are cut.
        world.bounds = Bounds {
            exceptions: usize::try_from(random.below(3)).unwrap(),
            classes: usize::try_from(1 + random.below(3)).unwrap(),
            rooms: usize::try_from(2 + random.below(6)).unwrap(),
            ..Bounds::default()
        };
    }
    for number in 0..ROOMS {
        world.create(&room(number), BOB).await;
        if random.percent(60) {
            world.member(&room(number), ALICE, ALICE, "join").await;
        }
    }
    // One may have memory for hardly any room.
    let max_cached_bytes = if random.percent(20) { 20_000 } else { u64::MAX };
    let cramped = SyncConfig { max_cached_bytes, ..SyncConfig::default() };
    let mut replicas = vec![world.replica().await, world.replica_with(cramped).await];
    let token = world.login(ALICE, "D");
    let mut client = Client::default();
    let mut saved = vec![client.clone()];
    let mut wanted = body(&mut random);
    for _ in 0..STEPS {
        for _ in 0..random.below(4) {
            happen(&world, &mut random).await;
        }
        if random.percent(4) {
            replicas[0].shutdown.request();
            replicas[0] = world.replica().await;
        }
        if random.percent(50) {
            wanted = body(&mut random);
        }
        let replica = &replicas[usize::try_from(random.below(2)).unwrap()];
        if random.percent(70) {
            replica.settle(&world).await;
        }
        let answer = ask(replica, &token, &client, &wanted).await;
        match random.below(10) {
            // The answer was lost.
            0 => {}
            1 => {
                let again = ask(&replicas[1], &token, &client, &body(&mut random)).await;
                client.take(&again);
            }
            2 => {
                let index = usize::try_from(random.below(saved.len() as u64)).unwrap();
                let inbox = std::mem::take(&mut client.inbox);
                client = Client { inbox, ..saved[index].clone() };
            }
            _ => drop(client.take(&answer)),
        }
        if random.percent(20) && client.pos.is_some() {
            saved.push(client.clone());
        }
    }
    for replica in &replicas {
        replica.settle(&world).await;
    }
    // Whatever is wanted, there is an end of telling it.
    for body in [&wanted, &everything()] {
        until_quiet(&mut client, &replicas, &token, body)
            .await
            .map_err(|what| format!("seed {seed}: {what}"))?;
    }
    let mut fresh = Client::default();
    while fresh.take(&ask(&replicas[0], &token, &fresh, &everything()).await) > 0 {}
    let found = differences(&client, &fresh, &world);
    for replica in replicas {
        replica.shutdown.request();
    }
    if found.is_empty() { Ok(()) } else { Err(format!("seed {seed}: {}", found.join("; "))) }
}

/// Makes a quarter of the runs. `SLIDING_RUNS` says how many there are, and `SLIDING_SEED` which is the first.
async fn runs(quarter: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let (runs, first) = (number("SLIDING_RUNS").unwrap_or(RUNS), number("SLIDING_SEED").unwrap_or(0));
    let (mut wrong, mut made) = (Vec::new(), 0);
    for seed in (first..first + runs).filter(|seed| seed % 4 == quarter) {
        made += 1;
        if let Err(what) = run(seed).await {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "{} of {made} wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[tokio::test]
async fn a_client_ends_with_what_one_that_begins_is_told_one() {
    runs(0).await;
}

#[tokio::test]
async fn a_client_ends_with_what_one_that_begins_is_told_two() {
    runs(1).await;
}

#[tokio::test]
async fn a_client_ends_with_what_one_that_begins_is_told_three() {
    runs(2).await;
}

#[tokio::test]
async fn a_client_ends_with_what_one_that_begins_is_told_four() {
    runs(3).await;
}
