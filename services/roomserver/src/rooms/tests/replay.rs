//! The input log is all there is: read once more from its beginning, it makes the same database and the same output.

use std::collections::BTreeMap;

use plexus_log::partition_of;
use proptest::prelude::*;

use super::{
    World,
    graphs::{live, steps},
};
use crate::rooms::RoomInput;

/// A world of the same server that reads the inputs of another one, and keeps a room in memory or loads it each time.
fn replayed(original: &World, cold: bool) -> World {
    let mut world = World::new();
    world.env = original.env.clone();
    world.cold = cold;
    for record in &original.journal {
        world.submit_input(RoomInput::new(partition_of(&record.room_id), record.clone()));
    }
    world
}

/// Everything a world has written, in an order of its own, as text.
fn written(world: &World) -> BTreeMap<String, String> {
    let tables = &world.tables;
    let mut all = BTreeMap::new();
    let mut note = |table: &str, key: String, row: String| {
        assert!(all.insert(format!("{table} {key}"), row).is_none());
    };
    for (id, row) in &tables.rooms {
        note("rooms", id.to_string(), format!("{row:?}"));
    }
    for (nid, row) in &tables.events {
        note("events", format!("{nid:?}"), format!("{row:?}"));
    }
    for (nid, body) in &tables.nodes {
        note("state_node", format!("{nid:?}"), format!("{body:?}"));
    }
    for (key, row) in &tables.members {
        note("current_members", format!("{key:?}"), format!("{row:?}"));
    }
    for (nid, row) in &tables.parked {
        note("parked", format!("{nid:?}"), format!("{row:?}"));
    }
    for (id, row) in &tables.decisions {
        note("decisions", id.to_string(), format!("{row:?}"));
    }
    for (seq, roots) in &tables.room_states {
        note("room_states", seq.to_string(), format!("{roots:?}"));
    }
    for (key, entries) in &tables.chunks {
        note("snapshot_chunks", format!("{key:?}"), format!("{entries:?}"));
    }
    for (index, output) in world.outputs.iter().enumerate() {
        note("output", index.to_string(), format!("{output:?}"));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// With forks, states that are told ahead, and events that come before what they cite.
    #[test]
    fn replaying_the_inputs_makes_the_same(
        steps in steps(),
        version in prop::sample::select(vec!["6", "8", "10", "11", "12"]),
        cold in any::<bool>(),
    ) {
        let (worlds, room, _) = live(version, &steps);
        for world in &worlds {
            prop_assert!(world.tables.rooms.contains_key(<&ruma::RoomId>::try_from(room.as_str()).unwrap()));
            prop_assert_eq!(written(&replayed(world, cold)), written(world));
        }
    }
}
