use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        DeleteAlias, Forget, RoomControl, SetAlias, SetVisibility, input_room_event::Body, output_room_event,
        room_control::Action,
    },
};
use ruma::{RoomAliasId, room_id, user_id};
use serde_json::json;

use super::{ALICE, Answer, BOB, CAROL, World};
use crate::rooms::{
    AliasTarget,
    directory::{MAX_ALIASES_OF_ROOM, MAX_ALIASES_OF_USER},
};

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
fn rooms_and_users_have_so_many_aliases_and_no_more() {
    let mut world = World::new();
    let first = world.public_room();
    world.member(&first, BOB, BOB, "join").event_id();
    let set = |number: usize, user: &str| set(&format!("#a{number}:example.org"), user);
    for number in 0..MAX_ALIASES_OF_ROOM {
        world.control(&first, set(number, ALICE)).event_id();
    }
    let more = MAX_ALIASES_OF_USER;
    assert_eq!(world.control(&first, set(more, BOB)).refused(), ErrorReason::Forbidden, "of the room");
    world.control(&first, delete("#a0:example.org", ALICE)).event_id();
    world.control(&first, set(0, BOB)).event_id();
    // Of rooms that are elsewhere, as the database has them.
    let elsewhere = AliasTarget {
        room_id: room_id!("!elsewhere:example.org").to_owned(),
        creator: user_id!("@alice:example.org").to_owned(),
    };
    let own = world.tables.aliases.values().filter(|target| target.creator == ALICE).count();
    for number in own..MAX_ALIASES_OF_USER {
        let alias = RoomAliasId::parse(format!("#b{number}:example.org")).unwrap();
        world.tables.aliases.insert(alias, elsewhere.clone());
    }
    world.control(&first, delete("#a1:example.org", ALICE)).event_id();
    world.control(&first, set(1, ALICE)).event_id();
    world.control(&first, delete("#a0:example.org", BOB)).event_id();
    assert_eq!(world.control(&first, set(0, ALICE)).refused(), ErrorReason::Forbidden, "of the user");
    world.control(&first, set(0, BOB)).event_id();
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
