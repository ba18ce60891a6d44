use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        AtomicBatch, ExpectedState, InputRoomEvent, SetAlias, SetVisibility, UpgradeRoom,
        input_room_event::Body, room_control::Action,
    },
};
use prost::Message as _;
use ruma::RoomAliasId;
use serde_json::{Value, json};

use super::{ALICE, Answer, BOB, RoomInput, World, intent, new_room};

/// A public room of version 10 with Bob as moderator, who may end it.
fn old_room(world: &mut World) -> String {
    let room = world.creates("10", json!({ "join_rule": "public" }));
    world.member(&room, BOB, BOB, "join").event_id();
    let levels = json!({ "users": { ALICE: 100, BOB: 50 }, "events": { "m.room.tombstone": 50 } });
    world.set(&room, ALICE, ("m.room.power_levels", ""), levels).event_id();
    room
}

/// What Bob begins the new room with: he has the same power there.
fn successor(salt: &str) -> (String, AtomicBatch) {
    let (new_id, mut batch) = new_room("12", BOB, json!({ "join_rule": "public", "salt": salt }));
    batch.intents.retain(|intent| intent.r#type != "m.room.power_levels");
    let levels = json!({ "users": { ALICE: 100 }, "events": { "m.room.tombstone": 50 } });
    batch.intents.push(intent(BOB, "m.room.power_levels", Some(""), levels));
    (new_id, batch)
}

fn request(user: &str, salt: &str) -> UpgradeRoom {
    let (new_room_id, batch) = successor(salt);
    UpgradeRoom { user_id: user.to_owned(), new_room_id, batch: Some(batch), ..UpgradeRoom::default() }
}

impl World {
    fn upgrades(&mut self, room: &str, request: UpgradeRoom) -> Answer {
        self.control(room, Action::Upgrade(request))
    }

    fn alias_target(&self, alias: &str) -> String {
        self.tables.aliases[&RoomAliasId::parse(alias).unwrap()].room_id.to_string()
    }

    fn state_content(&self, room: &str, event_type: &str) -> Option<Value> {
        let nid = self.row(room).nid;
        let rows = self.tables.events.values();
        let found = rows.filter(|row| row.event.room_nid == nid && row.event.event_type == event_type);
        let last = found.max_by_key(|row| row.event.seq)?;
        Some(serde_json::from_slice::<Value>(&last.event.json).unwrap()["content"].clone())
    }
}

#[test]
fn one_upgrade_wins() {
    let mut world = World::new();
    let room = old_room(&mut world);
    let first = request(BOB, "a");
    world.upgrades(&room, first.clone()).event_id();
    let tombstone = world.state_content(&room, "m.room.tombstone").unwrap();
    assert_eq!(tombstone["replacement_room"], first.new_room_id);
    for second in [request(BOB, "b"), first.clone()] {
        assert_eq!(world.upgrades(&room, second).refused(), ErrorReason::BadState);
    }
    assert_eq!(world.tables.upgrades.len(), 1);
    // What is kept makes the room that the tombstone names, whoever writes it how often.
    let row = world.tables.upgrades[0].clone();
    assert_eq!((row.new_room_id.as_str(), row.old_room_id.as_str()), (&*first.new_room_id, &*room));
    let record = InputRoomEvent::decode(row.record).unwrap();
    let input = || RoomInput::new(partition_of(&record.room_id), record.clone());
    world.submit_input(input()).event_id();
    assert_eq!(world.submit_input(input()).refused(), ErrorReason::RoomInUse);
    let own = world.submit(&first.new_room_id, Body::Batch(first.batch.unwrap()));
    assert_eq!(own.refused(), ErrorReason::RoomInUse);
}

#[test]
fn aliases_and_the_directory_change_with_the_tombstone() {
    let mut world = World::new();
    let room = old_room(&mut world);
    for (user, alias) in [(ALICE, "#a:example.org"), (BOB, "#b:example.org")] {
        let alias = SetAlias { alias: alias.to_owned(), user_id: user.to_owned() };
        assert!(matches!(world.control(&room, Action::SetAlias(alias)), Answer::Accepted { .. }));
    }
    let publish = SetVisibility { published: true, user_id: ALICE.to_owned() };
    world.control(&room, Action::SetVisibility(publish));
    world.set(&room, ALICE, ("m.room.canonical_alias", ""), json!({ "alias": "#a:example.org" })).event_id();
    let mut upgrade = request(BOB, "a");
    upgrade.aliases = vec!["#a:example.org".to_owned(), "#b:example.org".to_owned()];
    upgrade.closing = vec![
        intent(BOB, "m.room.canonical_alias", Some(""), json!({})),
        // He may not.
        intent(BOB, "m.room.power_levels", Some(""), json!({ "users": { ALICE: 0 } })),
    ];
    let batch = upgrade.batch.as_mut().unwrap();
    let alias = intent(BOB, "m.room.canonical_alias", Some(""), json!({ "alias": "#a:example.org" }));
    batch.intents.insert(1, alias);
    assert_eq!(world.upgrades(&room, upgrade.clone()).refused(), ErrorReason::BadState, "it is published");
    upgrade.published = true;
    world.upgrades(&room, upgrade.clone()).event_id();
    assert!(!world.row(&room).published);
    assert_eq!(world.alias_target("#a:example.org"), upgrade.new_room_id);
    assert_eq!(world.alias_target("#b:example.org"), upgrade.new_room_id);
    assert_eq!(world.state_content(&room, "m.room.canonical_alias"), Some(json!({})));
    let levels = world.state_content(&room, "m.room.power_levels").unwrap();
    assert_eq!(levels["users"][ALICE], 100);
    let made = world.submit(&upgrade.new_room_id, Body::Batch(upgrade.batch.unwrap()));
    made.event_id();
}

#[test]
fn aliases_that_one_may_not_remove_stay() {
    let mut world = World::new();
    let room = old_room(&mut world);
    let levels = json!({
        "users": { ALICE: 100, BOB: 50 },
        "events": { "m.room.tombstone": 50, "m.room.canonical_alias": 100 },
    });
    world.set(&room, ALICE, ("m.room.power_levels", ""), levels).event_id();
    for (user, alias) in [(ALICE, "#a:example.org"), (BOB, "#b:example.org")] {
        let alias = SetAlias { alias: alias.to_owned(), user_id: user.to_owned() };
        world.control(&room, Action::SetAlias(alias));
    }
    world.control(&room, Action::SetVisibility(SetVisibility { published: true, user_id: ALICE.to_owned() }));
    let aliases = vec!["#a:example.org".to_owned(), "#b:example.org".to_owned()];
    let upgrade = UpgradeRoom { aliases, published: true, ..request(BOB, "a") };
    world.upgrades(&room, upgrade.clone()).event_id();
    assert_eq!(world.alias_target("#a:example.org"), room);
    assert_eq!(world.alias_target("#b:example.org"), upgrade.new_room_id);
    assert!(world.row(&room).published);
}

#[test]
fn an_upgrade_that_cannot_be_changes_nothing() {
    let mut world = World::new();
    let room = old_room(&mut world);
    let count = world.outputs.len();
    assert_eq!(world.upgrades(&room, request("@carol:example.org", "a")).refused(), ErrorReason::NotJoined);
    // A new room that the rules refuse.
    let mut refused = request(BOB, "a");
    let batch = refused.batch.as_mut().unwrap();
    batch.intents.push(intent(ALICE, "m.room.name", Some(""), json!({ "name": "x" })));
    assert_eq!(world.upgrades(&room, refused).refused(), ErrorReason::InvalidRoomState);
    // One that names an alias which does not come with it.
    let mut refused = request(BOB, "a");
    let batch = refused.batch.as_mut().unwrap();
    let alias = intent(BOB, "m.room.canonical_alias", Some(""), json!({ "alias": "#a:example.org" }));
    batch.intents.insert(1, alias);
    assert_eq!(world.upgrades(&room, refused).refused(), ErrorReason::BadAlias);
    let mut gone = request(BOB, "a");
    gone.aliases = vec!["#a:example.org".to_owned()];
    assert_eq!(world.upgrades(&room, gone).refused(), ErrorReason::BadState);
    // A room ID that is not that of the create event.
    let other = UpgradeRoom { new_room_id: room.clone(), ..request(BOB, "a") };
    assert_eq!(world.upgrades(&room, other).refused(), ErrorReason::InvalidRoomState);
    assert_eq!(world.outputs.len(), count);
    assert!(world.tables.upgrades.is_empty());
}

#[test]
fn an_upgrade_is_made_of_what_the_room_is() {
    let mut world = World::new();
    let room = old_room(&mut world);
    let expecting = |event_id: &str| UpgradeRoom {
        expected: vec![ExpectedState {
            r#type: "m.room.name".to_owned(),
            state_key: String::new(),
            event_id: event_id.to_owned(),
        }],
        ..request(BOB, "a")
    };
    let name = world.set(&room, ALICE, ("m.room.name", ""), json!({ "name": "a" })).event_id();
    assert_eq!(world.upgrades(&room, expecting("")).refused(), ErrorReason::BadState);
    let renamed = world.set(&room, ALICE, ("m.room.name", ""), json!({ "name": "b" })).event_id();
    assert_eq!(world.upgrades(&room, expecting(&name)).refused(), ErrorReason::BadState);
    // Who was demoted meanwhile ends no room.
    let demoted = json!({ "users": { ALICE: 100 }, "events": { "m.room.tombstone": 50 } });
    world.set(&room, ALICE, ("m.room.power_levels", ""), demoted).event_id();
    assert_eq!(world.upgrades(&room, expecting(&renamed)).refused(), ErrorReason::Forbidden);
    assert_eq!(world.state_content(&room, "m.room.tombstone"), None);
}
