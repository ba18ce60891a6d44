use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Intent, UpdateProfile, input_room_event::Body, room_control::Action},
};
use ruma::UserId;
use serde_json::{Value, json};

use super::{ALICE, Answer, BOB, MemberProfile, World, intent};

impl World {
    fn names(&mut self, user: &str, name: Option<&str>, avatar: Option<&str>, version: i64) {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let profile = MemberProfile { displayname: text(name), avatar_url: text(avatar), version };
        self.tables.profiles.insert(UserId::parse(user).unwrap(), profile);
    }

    fn updates(&mut self, room: &str, user: &str) -> Answer {
        self.control(room, Action::UpdateProfile(UpdateProfile { user_id: user.to_owned() }))
    }

    fn joins_with_profile(&mut self, room: &str, user: &str, content: Value) -> Answer {
        let join = intent(user, "m.room.member", Some(user), content);
        self.submit(room, Body::Intent(Intent { with_profile: true, skip_if_unchanged: true, ..join }))
    }

    /// Content of the last member event of a user.
    fn member_content(&self, user: &str) -> Value {
        let rows = self.tables.events.values();
        let members = rows.filter(|row| row.event.state_key.as_deref() == Some(user));
        let last = members.max_by_key(|row| row.event.seq).expect("a member event");
        serde_json::from_slice::<Value>(&last.event.json).unwrap()["content"].clone()
    }

    fn mark(&self, room: &str, user: &str) -> Option<i64> {
        let key = (self.row(room).nid, UserId::parse(user).unwrap());
        self.tables.profile_marks.get(&key).copied()
    }
}

#[test]
fn joins_have_the_profile_of_when_they_are_applied() {
    let mut world = World::new();
    let room = world.public_room();
    world.names(BOB, Some("Bob"), Some("mxc://x/y"), 7);
    let said = json!({ "membership": "join", "displayname": "Mallory", "org.x": 1 });
    world.joins_with_profile(&room, BOB, said).event_id();
    let expected =
        json!({ "membership": "join", "displayname": "Bob", "avatar_url": "mxc://x/y", "org.x": 1 });
    assert_eq!(world.member_content(BOB), expected);
    assert_eq!(world.mark(&room, BOB), Some(7));
    // Who has no profile says nothing, and whoever does not ask for the profile says what they like.
    world
        .joins_with_profile(&room, "@carol:example.org", json!({ "membership": "join", "displayname": "C" }))
        .event_id();
    assert_eq!(world.member_content("@carol:example.org"), json!({ "membership": "join" }));
    let own = json!({ "membership": "join", "displayname": "Dora" });
    world.set(&room, "@dora:example.org", ("m.room.member", "@dora:example.org"), own.clone()).event_id();
    assert_eq!(world.member_content("@dora:example.org"), own);
}

#[test]
fn updates_change_name_and_avatar_alone() {
    let mut world = World::new();
    let room = world.public_room();
    let joined = json!({ "membership": "join", "reason": "curious", "displayname": "old", "org.x": 1 });
    world.set(&room, BOB, ("m.room.member", BOB), joined).event_id();
    world.names(BOB, Some("Bob"), Some("mxc://x/y"), 3);
    world.updates(&room, BOB).event_id();
    let expected =
        json!({ "membership": "join", "displayname": "Bob", "avatar_url": "mxc://x/y", "org.x": 1 });
    assert_eq!(world.member_content(BOB), expected, "and the reason was one for the join");
    assert_eq!(world.mark(&room, BOB), Some(3));
    world.names(BOB, None, None, 4);
    world.updates(&room, BOB).event_id();
    assert_eq!(world.member_content(BOB), json!({ "membership": "join", "org.x": 1 }));
}

#[test]
fn updates_that_change_nothing_make_no_event() {
    let mut world = World::new();
    let room = world.public_room();
    world.names(BOB, Some("Bob"), None, 1);
    let joined = json!({ "membership": "join", "reason": "curious" });
    world.joins_with_profile(&room, BOB, joined.clone()).event_id();
    let count = world.outputs.len();
    world.names(BOB, Some("Bob"), None, 2);
    assert!(matches!(world.updates(&room, BOB), Answer::Accepted { seq: 0, .. }));
    assert_eq!(world.outputs.len(), count);
    assert_eq!(world.member_content(BOB)["reason"], "curious");
    assert_eq!(world.mark(&room, BOB), Some(2), "the room is done all the same");
}

#[test]
fn updates_bring_nobody_back() {
    for membership in ["leave", "ban", "invite"] {
        let mut world = World::new();
        let room = world.public_room();
        world.names(BOB, Some("Bob"), None, 1);
        if membership != "invite" {
            world.member(&room, BOB, BOB, "join").event_id();
        }
        let sender = if membership == "leave" { BOB } else { ALICE };
        world.member(&room, sender, BOB, membership).event_id();
        let count = world.outputs.len();
        assert!(matches!(world.updates(&room, BOB), Answer::Accepted { seq: 0, .. }));
        assert_eq!(world.membership(&room, BOB), Some((membership.to_owned(), false)));
        assert_eq!(world.outputs.len(), count);
    }
    let mut world = World::new();
    let room = world.public_room();
    world.updates(&room, BOB);
    assert_eq!(world.membership(&room, BOB), None);
    let remote = world.updates(&room, "@bob:b.example");
    assert_eq!(remote.refused(), ErrorReason::InvalidParam);
}

#[test]
fn a_room_that_refuses_keeps_the_old_name() {
    let mut world = World::new();
    let room = world.public_room();
    world.member(&room, BOB, BOB, "join").event_id();
    // Too large for an event.
    world.names(BOB, Some(&"x".repeat(70_000)), None, 9);
    assert!(matches!(world.updates(&room, BOB), Answer::Accepted { seq: 0, .. }));
    assert_eq!(world.member_content(BOB), json!({ "membership": "join" }));
    assert_eq!(world.mark(&room, BOB), Some(9), "and is not asked again");
}

#[test]
fn kicks_and_unbans_end_what_they_mean_to() {
    let mut world = World::new();
    let room = world.public_room();
    let end = |world: &mut World, from: &[&str]| {
        let leave = intent(ALICE, "m.room.member", Some(BOB), json!({ "membership": "leave" }));
        let from_memberships = from.iter().map(|&from| from.to_owned()).collect();
        world.submit(&room, Body::Intent(Intent { from_memberships, ..leave }))
    };
    let kick = ["join", "invite", "knock"];
    assert_eq!(end(&mut world, &kick).refused(), ErrorReason::BadState);
    world.member(&room, BOB, BOB, "join").event_id();
    assert_eq!(end(&mut world, &["ban"]).refused(), ErrorReason::BadState);
    end(&mut world, &kick).event_id();
    // A ban that comes between who is kicked and the kick stays.
    world.member(&room, ALICE, BOB, "ban").event_id();
    assert_eq!(end(&mut world, &kick).refused(), ErrorReason::BadState);
    assert_eq!(world.membership(&room, BOB), Some(("ban".to_owned(), false)));
    end(&mut world, &["ban"]).event_id();
}

#[test]
fn state_that_was_made_of_other_state_does_not_go_over_it() {
    let mut world = World::new();
    let room = world.public_room();
    let topic = ("m.room.topic", "");
    let first = world.set(&room, ALICE, topic, json!({ "topic": "a" })).event_id();
    let over = |world: &mut World, replaces: &str| {
        let next = intent(ALICE, "m.room.topic", Some(""), json!({ "topic": "b" }));
        world.submit(&room, Body::Intent(Intent { replaces_event_id: replaces.to_owned(), ..next }))
    };
    over(&mut world, &first).event_id();
    assert_eq!(over(&mut world, &first).refused(), ErrorReason::BadState);
}
