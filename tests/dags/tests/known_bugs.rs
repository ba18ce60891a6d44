//! Mistakes that others have made in state resolution and authorization, each told as a small room.

use std::{collections::BTreeSet, rc::Rc};

use plexus_dags::{
    actions, compare,
    reference::{self, Chain},
    room::{Intent, Nid, Room, State},
};
use plexus_events::{RoomRules, resolve::Round};
use ruma::OwnedUserId;
use serde_json::{Value, json};

/// A room in the making.
struct Story {
    room: Room,
    users: Vec<OwnedUserId>,
}

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;

impl Story {
    /// A room whose creator, Alice, has joined; `additional` also are its creators.
    fn begin(version: &str, additional: &[usize]) -> Self {
        let users = actions::users();
        let additional: Vec<_> = additional.iter().map(|user| users[*user].clone()).collect();
        let room = Room::new(
            RoomRules::of(version).expect("it is served"),
            &users[ALICE],
            &additional,
            "room",
            1000,
        );
        let mut story = Self { room, users };
        story.member(ALICE, ALICE, "join", &[0]);
        story
    }

    /// The same with power levels (Bob 50) and a join rule.
    fn open(version: &str, join_rule: &str) -> Self {
        let mut story = Self::begin(version, &[]);
        let mut users = json!({ story.users[BOB].as_str(): 50 });
        if version != "12" {
            users[story.users[ALICE].as_str()] = json!(100);
        }
        let levels = story.send(ALICE, "m.room.power_levels", "", json!({ "users": users }), 1000, &[1]);
        story.send(ALICE, "m.room.join_rules", "", json!({ "join_rule": join_rule }), 1000, &[levels]);
        story
    }

    fn before(&self, prev: &[Nid]) -> Rc<State> {
        let states: Vec<&State> = prev.iter().map(|nid| &*self.room.event(*nid).after).collect();
        Rc::new(compare::projected(&self.room, &states).0)
    }

    fn intent(&self, sender: usize, event_type: &str, state_key: &str, content: Value, ts: i64) -> Intent {
        Intent {
            sender: self.users[sender].clone(),
            event_type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            content,
            origin_server_ts: ts,
        }
    }

    /// Sends an event that must be allowed.
    fn send(
        &mut self,
        sender: usize,
        event_type: &str,
        key: &str,
        content: Value,
        ts: i64,
        prev: &[Nid],
    ) -> Nid {
        let before = self.before(prev);
        let intent = self.intent(sender, event_type, key, content, ts);
        let candidate = self.room.candidate(&intent, prev, &before, &before).expect("it is allowed");
        assert_eq!(candidate.refused, None);
        self.room.push(candidate)
    }

    fn member(&mut self, sender: usize, target: usize, membership: &str, prev: &[Nid]) -> Nid {
        let target = self.users[target].to_string();
        self.send(sender, "m.room.member", &target, json!({ "membership": membership }), 1000, prev)
    }

    /// Whether somebody may do that after these events.
    fn may(&self, sender: usize, target: usize, content: Value, prev: &[Nid]) -> bool {
        let before = self.before(prev);
        let target = self.users[target].to_string();
        let intent = self.intent(sender, "m.room.member", &target, content, 1000);
        let (pdu, ..) = self.room.draft(&intent, prev, &before).expect("it can be built");
        self.room.check(&pdu, &before).is_ok()
    }

    fn states(&self, nids: &[Nid]) -> Vec<&State> {
        nids.iter().map(|nid| &*self.room.event(*nid).after).collect()
    }
}

/// The auth difference is union minus intersection; the symmetric difference is something else for three sets.
#[test]
fn auth_difference_of_three_states_is_no_symmetric_difference() {
    for version in ["6", "11", "12"] {
        let mut story = Story::open(version, "public");
        let bob = story.member(BOB, BOB, "join", &[3]);
        let carol = story.member(CAROL, CAROL, "join", &[bob]);
        // Bob leaves and joins again, unseen by the third branch; the first two know it and differ in the topic.
        let left = story.member(BOB, BOB, "leave", &[carol]);
        let back = story.member(BOB, BOB, "join", &[left]);
        let one = story.send(BOB, "m.room.topic", "", json!({ "topic": "one" }), 1000, &[back]);
        let two = story.send(BOB, "m.room.topic", "", json!({ "topic": "two" }), 1001, &[back]);
        let three = story.send(BOB, "m.room.topic", "", json!({ "topic": "three" }), 1002, &[carol]);
        let states = story.states(&[one, two, three]);
        let (_, explanation) = compare::projected(&story.room, &states);
        // The leave is in two of three chains: the symmetric difference would leave it out. Alice's join is in all
        // three: it would be let in.
        assert_eq!(explanation.auth_difference, [left], "version {version}");
        compare::resolution(&story.room, &states, true).unwrap();
        // One state alone has nothing to resolve.
        let (same, explanation) = compare::projected(&story.room, &states[..1]);
        assert_eq!((&same, explanation.steps.len()), (states[0], 0));
    }
}

/// Events that cite no power levels are not the same as those that cite the oldest ones: they come first.
#[test]
fn events_without_power_levels_come_before_those_of_the_oldest() {
    for version in ["6", "11", "12"] {
        let mut story = Story::begin(version, &[]);
        // A topic from before there were power levels, later than all others by its clock.
        let without = story.send(ALICE, "m.room.topic", "", json!({ "topic": "old" }), 9000, &[1]);
        let mut users = json!({});
        if version != "12" {
            users[story.users[ALICE].as_str()] = json!(100);
        }
        let levels = story.send(ALICE, "m.room.power_levels", "", json!({ "users": users }), 1000, &[1]);
        let with = story.send(ALICE, "m.room.topic", "", json!({ "topic": "new" }), 2000, &[levels]);
        let states = story.states(&[without, with]);
        let (resolved, explanation) = compare::projected(&story.room, &states);
        let order: Vec<Nid> = explanation
            .steps
            .iter()
            .filter(|step| step.round == Round::Mainline)
            .map(|step| step.event)
            .filter(|event| [without, with].contains(event))
            .collect();
        assert_eq!(order, [without, with], "version {version}");
        assert!(resolved.values().any(|nid| *nid == with));
        compare::resolution(&story.room, &states, true).unwrap();
    }
}

/// Knocking exists from version 7 on, restricted knocking from 10 on; a knock can be taken back.
#[test]
fn knocks_are_allowed_where_the_version_has_them() {
    for rules in RoomRules::served() {
        let number: u8 = rules.id.as_str().parse().unwrap();
        for (join_rule, since) in [("knock", 7), ("knock_restricted", 10)] {
            let mut story = Story::open(rules.id.as_str(), join_rule);
            let knock = json!({ "membership": "knock" });
            assert_eq!(story.may(DAVE, DAVE, knock, &[3]), number >= since, "version {number}, {join_rule}");
            if number < since {
                continue;
            }
            let knocked = story.member(DAVE, DAVE, "knock", &[3]);
            assert!(story.may(DAVE, DAVE, json!({ "membership": "leave" }), &[knocked]));
            assert!(!story.may(DAVE, DAVE, json!({ "membership": "join" }), &[knocked]));
            assert!(story.may(ALICE, DAVE, json!({ "membership": "invite" }), &[knocked]));
            let invited = story.member(ALICE, DAVE, "invite", &[knocked]);
            assert!(story.may(DAVE, DAVE, json!({ "membership": "join" }), &[invited]));
            assert!(!story.may(DAVE, DAVE, json!({ "membership": "knock" }), &[invited]));
        }
    }
}

/// Only the sender of the create event may join right after it; additional creators need the join rules like others.
#[test]
fn additional_creators_do_not_join_by_the_rule_of_the_first_join() {
    let mut story = Story::begin("12", &[BOB]);
    let join = json!({ "membership": "join" });
    assert!(story.may(ALICE, ALICE, join.clone(), &[0]));
    assert!(!story.may(BOB, BOB, join.clone(), &[0]));
    let public = story.send(ALICE, "m.room.join_rules", "", json!({ "join_rule": "public" }), 1000, &[1]);
    assert!(story.may(BOB, BOB, join, &[public]));
    // Once joined, they stand above all power levels.
    let joined = story.member(BOB, BOB, "join", &[public]);
    let levels = json!({ "events": { "m.room.topic": 9_007_199_254_740_991_i64 } });
    let levels = story.send(ALICE, "m.room.power_levels", "", levels, 1000, &[joined]);
    story.send(BOB, "m.room.topic", "", json!({ "topic": "above all" }), 1000, &[levels]);
}

/// The conflicted state subgraph holds what lies on a path between two conflicting events, and no side path.
#[test]
fn subgraph_has_no_side_paths() {
    let mut story = Story::open("12", "public");
    let bob = story.member(BOB, BOB, "join", &[3]);
    let old = story.send(
        ALICE,
        "m.room.power_levels",
        "",
        json!({ "users": { story.users[BOB].as_str(): 75 } }),
        1000,
        &[bob],
    );
    // Between the old power levels and the new ones: Carol is invited by Bob, and becomes somebody.
    let invited = story.member(BOB, CAROL, "invite", &[old]);
    let carol = story.member(CAROL, CAROL, "join", &[invited]);
    let users = json!({ story.users[BOB].as_str(): 50, story.users[CAROL].as_str(): 50 });
    let new = story.send(ALICE, "m.room.power_levels", "", json!({ "users": users }), 1000, &[carol]);
    let topic = story.send(CAROL, "m.room.topic", "", json!({ "topic": "hers" }), 1000, &[new]);
    let states = story.states(&[old, topic]);
    let (_, explanation) = compare::projected(&story.room, &states);
    let conflicting: BTreeSet<Nid> = explanation.conflicting.values().flatten().copied().collect();
    assert!(conflicting.is_superset(&BTreeSet::from([old, carol, new, topic])));
    // Carol's invite lies between her join and the old power levels; Bob's join and the join rules lie behind her
    // join and lead to nothing in conflict.
    let subgraph = reference::subgraph(&story.room, &conflicting);
    assert!(subgraph.contains(&invited));
    assert!(!subgraph.contains(&bob) && !subgraph.contains(&3));
    let mut found: BTreeSet<Nid> =
        explanation.subgraph.iter().chain(&explanation.auth_difference).copied().collect();
    found.extend(&conflicting);
    let mut expected = reference::auth_difference(&story.room, &states, Chain::OwnEvents);
    expected.extend(&subgraph);
    expected.extend(&conflicting);
    assert_eq!(found, expected);
    compare::resolution(&story.room, &states, true).unwrap();
}

/// Third-party invites need a signature by a key of the event whose token they bear, and its sender.
#[test]
fn third_party_invites_need_their_signature() {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    use plexus_events::{SigningKey, canonical};
    for rules in RoomRules::served() {
        let mut story = Story::open(rules.id.as_str(), "invite");
        let key = SigningKey::from_seed("0", &[5; 32]).unwrap();
        let public = STANDARD_NO_PAD.encode(key.public_key());
        let content =
            json!({ "display_name": "d", "key_validity_url": "https://id.test", "public_key": public });
        let offered = story.send(ALICE, "m.room.third_party_invite", "token", content, 1000, &[3]);
        let signed = |mxid: &str, token: &str, key: &SigningKey| {
            let mut signed = json!({ "mxid": mxid, "token": token });
            let object = canonical::parse_object(signed.to_string().as_bytes()).unwrap();
            let signature = key.sign(&canonical::object_to_vec(&object));
            signed["signatures"] = json!({ "id.test": { "ed25519:0": signature } });
            json!({ "membership": "invite", "third_party_invite": { "display_name": "d", "signed": signed } })
        };
        let dave = story.users[DAVE].to_string();
        let other = SigningKey::from_seed("0", &[6; 32]).unwrap();
        assert!(story.may(ALICE, DAVE, signed(&dave, "token", &key), &[offered]));
        assert!(!story.may(ALICE, DAVE, signed(&dave, "token", &other), &[offered]), "another key");
        assert!(!story.may(ALICE, DAVE, signed(&dave, "other", &key), &[offered]), "another token");
        assert!(!story.may(ALICE, CAROL, signed(&dave, "token", &key), &[offered]), "another user");
        assert!(!story.may(BOB, DAVE, signed(&dave, "token", &key), &[offered]), "another sender");
        let banned = story.member(ALICE, DAVE, "ban", &[offered]);
        assert!(!story.may(ALICE, DAVE, signed(&dave, "token", &key), &[banned]), "banned");
    }
}
