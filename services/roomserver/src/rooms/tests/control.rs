use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        DeleteAlias, Forget, RoomControl, SetAlias, SetVisibility, input_room_event::Body, output_room_event,
        room_control::Action,
    },
};
use serde_json::json;

use super::{ALICE, Answer, BOB, CAROL, World};

fn set(alias: &str, user: &str) -> Action {
    Action::SetAlias(SetAlias { alias: alias.to_owned(), user_id: user.to_owned() })
}

fn delete(alias: &str, user: &str) -> Action {
    Action::DeleteAlias(DeleteAlias { alias: alias.to_owned(), user_id: user.to_owned() })
}

fn list(published: bool, user: &str) -> Action {
    Action::SetVisibility(SetVisibility { published, user_id: user.to_owned() })
}

fn forget(user: &str) -> Action {
    Action::Forget(Forget { user_id: user.to_owned() })
}

#[test]
fn members_set_aliases_and_owners_or_moderators_remove_them() {
    let mut world = World::new();
    let room = world.public_room();
    assert_eq!(world.control(&room, set("#a:example.org", BOB)).refused(), ErrorReason::NotJoined);
    for user in [BOB, CAROL] {
        world.member(&room, user, user, "join").event_id();
    }
    assert!(matches!(world.control(&room, set("#a:example.org", BOB)), Answer::Accepted { seq: 8, .. }));
    assert_eq!(world.control(&room, set("#a:example.org", ALICE)).refused(), ErrorReason::AliasInUse);
    assert_eq!(world.control(&room, set("#a:elsewhere.org", ALICE)).refused(), ErrorReason::InvalidParam);
    assert_eq!(world.control(&room, set("a", ALICE)).refused(), ErrorReason::InvalidParam);
    assert_eq!(world.control(&room, delete("#a:example.org", CAROL)).refused(), ErrorReason::Forbidden);
    assert_eq!(world.control(&room, delete("#b:example.org", ALICE)).refused(), ErrorReason::NotFound);
    let other = world.creates("12", json!({ "join_rule": "invite" }));
    assert_eq!(world.control(&other, delete("#a:example.org", ALICE)).refused(), ErrorReason::NotFound);
    world.control(&room, delete("#a:example.org", BOB)).event_id();
    world.control(&room, set("#a:example.org", BOB)).event_id();
    world.control(&room, delete("#a:example.org", ALICE)).event_id();
    assert!(world.tables.aliases.is_empty());
}

#[test]
fn canonical_alias_must_point_at_the_room() {
    let mut world = World::new();
    let room = world.public_room();
    let other = world.creates("12", json!({ "join_rule": "invite" }));
    let name = |world: &mut World, content| world.set(&room, ALICE, ("m.room.canonical_alias", ""), content);
    let alias = json!({ "alias": "#a:example.org" });
    assert_eq!(name(&mut world, alias.clone()).refused(), ErrorReason::BadAlias);
    world.control(&other, set("#a:example.org", ALICE)).event_id();
    assert_eq!(name(&mut world, alias.clone()).refused(), ErrorReason::BadAlias);
    world.control(&other, delete("#a:example.org", ALICE)).event_id();
    world.control(&room, set("#a:example.org", ALICE)).event_id();
    name(&mut world, alias.clone()).event_id();
    for wrong in
        [json!({ "alias": 5 }), json!({ "alt_aliases": ["x"] }), json!({ "alt_aliases": "#a:example.org" })]
    {
        assert_eq!(name(&mut world, wrong).refused(), ErrorReason::InvalidParam);
    }
    // What was named before may stay, also when it points nowhere by now.
    world.control(&room, delete("#a:example.org", ALICE)).event_id();
    name(&mut world, json!({ "alt_aliases": ["#a:example.org"] })).event_id();
    name(&mut world, json!({})).event_id();
    assert_eq!(name(&mut world, alias).refused(), ErrorReason::BadAlias);
}

#[test]
fn listing_takes_power() {
    let mut world = World::new();
    let room = world.public_room();
    assert_eq!(world.control(&room, list(true, BOB)).refused(), ErrorReason::NotJoined);
    world.member(&room, BOB, BOB, "join").event_id();
    assert_eq!(world.control(&room, list(true, BOB)).refused(), ErrorReason::Forbidden);
    world.control(&room, list(true, ALICE)).event_id();
    assert!(world.row(&room).published);
    let count = world.outputs.len();
    assert!(matches!(world.control(&room, list(true, ALICE)), Answer::Accepted { seq: 0, .. }));
    assert_eq!(world.outputs.len(), count);
    world.control(&room, list(false, ALICE)).event_id();
    assert!(!world.row(&room).published);
}

#[test]
fn only_those_who_left_forget() {
    let mut world = World::new();
    let room = world.public_room();
    assert!(matches!(world.control(&room, forget(BOB)), Answer::Accepted { seq: 0, .. }));
    world.member(&room, BOB, BOB, "join").event_id();
    assert_eq!(world.control(&room, forget(BOB)).refused(), ErrorReason::BadState);
    world.member(&room, BOB, BOB, "leave").event_id();
    world.control(&room, forget(BOB)).event_id();
    assert_eq!(world.membership(&room, BOB), Some(("leave".to_owned(), true)));
    assert!(matches!(world.bodies().pop(), Some(output_room_event::Body::Forgotten(_))));
    world.member(&room, BOB, BOB, "join").event_id();
    assert_eq!(world.membership(&room, BOB), Some(("join".to_owned(), false)));
}

#[test]
fn control_without_an_action_is_poison() {
    let mut world = World::new();
    let room = world.public_room();
    let answer = world.submit(&room, Body::Control(RoomControl { action: None }));
    assert!(matches!(answer, Answer::Poison(_)));
}
