//! Random histories: clients who sync now and then are told what the rules let them see, all of it, once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::world::{Key, Replica, World, token};

const ALICE: &str = "@alice:example.org";
const USERS: [&str; 3] = ["@bob:example.org", "@carol:example.org", "@dave:example.org"];
const ROOM: &str = "!room:example.org";

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// A client: what it was told.
#[derive(Debug, Default)]
struct Client {
    user: &'static str,
    state_after: bool,
    limit: usize,
    since: Option<String>,
    /// Position of the token in the room's partition.
    seen: u64,
    /// The state that it holds, while it is in the room or has just left it: entries by event ID.
    state: BTreeMap<Key, String>,
    /// Events told in timelines without a gap before them.
    told: Vec<String>,
}

fn id(event: &Value) -> String {
    event["event_id"].as_str().unwrap().to_owned()
}

fn entry(event: &Value) -> Option<(Key, String)> {
    let text = |field: &str| event[field].as_str().map(str::to_owned);
    Some(((text("type")?, text("state_key")?), id(event)))
}

impl Client {
    async fn sync(&mut self, world: &World, replica: &Replica, what: &str) {
        let filter = json!({"room": {"timeline": {"limit": self.limit}, "include_leave": true}}).to_string();
        let mut query = vec![("filter", filter.as_str())];
        let since = self.since.clone();
        query.extend(since.as_deref().map(|since| ("since", since)));
        if self.state_after {
            query.push(("use_state_after", "true"));
        }
        let answer = replica.sync(world, self.user, &query).await;
        self.since = Some(token(&answer));
        let what = format!("{what}, {} after {}, limit {}: {answer}", self.user, self.seen, self.limit);
        let facts = world.facts.lock();
        let end = facts.events.iter().map(|stored| stored.event.seq).max().unwrap();
        let membership = |seq| {
            let member =
                facts.state_at(ROOM, seq).remove(&("m.room.member".to_owned(), self.user.to_owned()));
            member.map_or("leave".to_owned(), |member| {
                member.content["membership"].as_str().unwrap().to_owned()
            })
        };
        let (then, now) = (membership(self.seen), membership(end));
        let section = match now.as_str() {
            "join" => &answer["rooms"]["join"][ROOM],
            "leave" | "ban" => &answer["rooms"]["leave"][ROOM],
            _ => {
                self.seen = end;
                return;
            }
        };
        let departure = facts.departure(ROOM, self.user);
        let last = if now == "join" { end } else { departure.unwrap_or(0) };
        let events = section["timeline"]["events"].as_array().cloned().unwrap_or_default();
        let ids: Vec<String> = events.iter().map(id).collect();
        // The timeline: the last of what may be seen and is new. A client that comes in again begins anew.
        let known = then == "join";
        let lower = if now == "join" && !known { 0 } else { self.seen };
        let mut expected: Vec<String> = facts
            .events
            .iter()
            .filter(|stored| stored.event.seq > lower && stored.event.seq <= last)
            .filter(|stored| facts.sees(self.user, stored))
            .map(|stored| stored.event.event_id.clone())
            .collect();
        let limited = expected.len() > self.limit;
        expected.drain(..expected.len().saturating_sub(self.limit));
        let own = facts.state_at(ROOM, end).remove(&("m.room.member".to_owned(), self.user.to_owned()));
        let own = own.filter(|own| now != "join" && own.event.seq > lower);
        if let Some(own) = own.filter(|own| expected.last() != Some(&own.event.event_id)) {
            expected.push(own.event.event_id);
        }
        // It begins later where a state event that may not be seen would else be undone by one before it.
        let cut = !self.state_after && ids.len() < expected.len();
        let limited = limited || cut;
        assert!(expected.ends_with(&ids) && (cut || ids == expected), "expected {expected:?}: {what}");
        if limited {
            assert_eq!(section["timeline"]["limited"], true, "{what}");
        }
        if !limited && known {
            assert!(ids.iter().all(|id| !self.told.contains(id)), "told twice: {what}");
            self.told.extend(ids);
        }
        // The state: what the client holds is the state of the room, now or when it left.
        let is_told = section.is_object();
        if !known && is_told {
            self.state.clear();
        }
        let was_in = known || departure.is_some_and(|departure| departure > self.seen);
        let in_timeline = events.iter().filter(|_| !self.state_after);
        let name = if self.state_after { "state_after" } else { "state" };
        let told_state = section[name]["events"].as_array().cloned().unwrap_or_default();
        self.state.extend(told_state.iter().chain(in_timeline).filter_map(entry));
        if now == "join" || (was_in && is_told) {
            let mut actual = facts.state_at(ROOM, last);
            if now != "join" {
                let key = ("m.room.member".to_owned(), self.user.to_owned());
                actual.extend(facts.state_at(ROOM, end).remove(&key).map(|own| (key, own)));
            }
            let actual: BTreeMap<Key, String> =
                actual.into_iter().map(|(key, stored)| (key, stored.event.event_id)).collect();
            assert_eq!(self.state, actual, "{what}");
        } else if now != "join" {
            // Nothing of the room; but what became of them, where the timeline does not count for the state.
            let is_own = |event: &Value| event["type"] == "m.room.member" && event["state_key"] == self.user;
            let none = told_state.is_empty() || self.state_after && told_state.iter().all(is_own);
            assert!(none, "something of the room is told: {what}");
        }
        self.seen = end;
    }
}

async fn happens(world: &World, dice: &mut Dice, number: usize) {
    match dice.roll(10) {
        0 => {
            let value = ["joined", "invited", "shared"][dice.roll(3)];
            let content = json!({"history_visibility": value});
            world.set(ROOM, ALICE, "m.room.history_visibility", "", content).await;
        }
        1 | 2 => {
            world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": number})).await;
        }
        3..=6 => {
            let membership = ["join", "join", "join", "invite", "knock", "leave", "ban"][dice.roll(7)];
            world.member(ROOM, ALICE, USERS[dice.roll(USERS.len())], membership).await;
        }
        _ => {
            world.say(ROOM, ALICE, &number.to_string()).await;
        }
    }
}

#[tokio::test]
async fn clients_are_told_what_they_may_see_and_hold_the_right_state() {
    for seed in 0..8 {
        let mut dice = Dice(seed);
        let world = World::new();
        world.create(ROOM, ALICE).await;
        let replica = world.replica().await;
        let mut clients = Vec::new();
        for user in USERS {
            for (limit, state_after) in [(100, false), (100, true), (2, false), (2, true)] {
                clients.push(Client { user, limit, state_after, ..Client::default() });
            }
        }
        for number in 0..40 {
            for _ in 0..=dice.roll(3) {
                happens(&world, &mut dice, number).await;
            }
            replica.settle(&world).await;
            // Another process, with nothing in memory, must tell the same.
            let fresh = if dice.roll(10) == 0 { Some(world.replica().await) } else { None };
            for client in &mut clients {
                if dice.roll(3) == 0 {
                    let what = format!("seed {seed}, step {number}");
                    client.sync(&world, fresh.as_ref().unwrap_or(&replica), &what).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_change_that_one_may_not_see_is_not_undone_by_one_before_it() {
    let (world, bob) = (World::new(), USERS[0]);
    world.create(ROOM, ALICE).await;
    world.member(ROOM, bob, bob, "join").await;
    world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "seen"})).await;
    let visibility = json!({"history_visibility": "joined"});
    world.set(ROOM, ALICE, "m.room.history_visibility", "", visibility).await;
    let left = world.member(ROOM, bob, bob, "leave").await;
    let unseen = world.set(ROOM, ALICE, "m.room.topic", "", json!({"topic": "unseen"})).await;
    let back = world.member(ROOM, bob, bob, "join").await;
    let answer = world.replica().await.sync(&world, bob, &[]).await;
    let room = &answer["rooms"]["join"][ROOM];
    let topic =
        room["state"]["events"].as_array().unwrap().iter().find(|event| event["type"] == "m.room.topic");
    assert_eq!(topic.map(id), Some(unseen));
    let timeline = room["timeline"]["events"].as_array().unwrap();
    assert!(timeline.iter().all(|event| event["type"] != "m.room.topic"), "{room}");
    assert!(timeline.iter().map(id).collect::<Vec<_>>().ends_with(&[left, back]), "{room}");
    assert_eq!(room["timeline"]["limited"], true);
    // Nobody need cut anything where the state is told as it is after the timeline.
    let whole = world.replica().await.sync(&world, bob, &[("use_state_after", "true")]).await;
    let events = &whole["rooms"]["join"][ROOM]["timeline"]["events"];
    assert!(events.as_array().unwrap().len() > timeline.len(), "{whole}");
}
