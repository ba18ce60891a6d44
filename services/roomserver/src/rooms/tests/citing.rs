//! An event that only an old fork knows, and on which an entry of every state rests all the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    ALICE, Answer, World,
    graphs::{BOB, CAROL, three},
};
use crate::rooms::Key;

const LEVELS: (&str, Option<&str>) = ("m.room.power_levels", Some(""));
const MESSAGE: (&str, Option<&str>) = ("m.room.message", None);

struct Forks {
    world: World,
    room: String,
}

impl Forks {
    /// Sends an event after others, authorized by the state after the first of them.
    fn send(
        &mut self,
        prev: &[&String],
        sender: &str,
        key: (&str, Option<&str>),
        content: Value,
        ts: i64,
    ) -> String {
        let state = self.world.after(prev[0]);
        self.send_by(&state, prev, sender, key, content, ts)
    }

    fn send_by(
        &mut self,
        state: &BTreeMap<Key, String>,
        prev: &[&String],
        sender: &str,
        key: (&str, Option<&str>),
        content: Value,
        ts: i64,
    ) -> String {
        let prev = prev.iter().map(|id| (*id).clone()).collect();
        let mut made = self.world.made_at(&self.room, prev, state, sender, key, content);
        made.ts = 1_700_000_000_000 + ts;
        let (id, json) = self.world.make(&self.room, made);
        let answer = self.world.receive(&self.room, &json);
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        id
    }
}

/// Power levels that count in one fork alone. The topic of that fork, which all states have, cites them: so they are in the
/// auth chain of every state and take no part in a later resolution, where they would silence Carol.
#[test]
fn what_an_entry_of_all_states_rests_on_is_no_difference() {
    for version in ["6", "11"] {
        let (mut worlds, room) = three(version);
        let mut forks = Forks { world: worlds.remove(0), room };
        let base = forks.world.extremities(&forks.room).into_iter().next().unwrap();
        let levels = |carol: i64| json!({ "users": { ALICE: 100, BOB: 60, CAROL: carol } });
        let name = |name: &str| json!({ "name": name });
        let named = ("m.room.name", Some(""));

        let old = forks.send(&[&base], ALICE, LEVELS, levels(0), 2);
        let topic = ("m.room.topic", Some(""));
        let topic = forks.send(&[&old], ALICE, topic, json!({ "topic": "ours" }), 3);
        let new = forks.send(&[&base], ALICE, LEVELS, levels(60), 10);
        let merged = forks.send(&[&topic, &new], ALICE, MESSAGE, json!({}), 11);
        assert_eq!(forks.world.after(&merged)[&Key::of("m.room.power_levels", "")], new);

        // It cites the old power levels, which let it pass as well.
        let state = forks.world.after(&topic);
        let one = forks.send_by(&state, &[&merged], ALICE, named, name("one"), 12);
        let avatar = ("m.room.avatar", Some(""));
        let avatar = forks.send(&[&one], CAROL, avatar, json!({ "url": "mxc://a.example/a" }), 13);
        let other = forks.send(&[&merged], ALICE, named, name("other"), 14);

        let last = forks.send(&[&avatar, &other], BOB, MESSAGE, json!({}), 15);
        let after = forks.world.after(&last);
        assert_eq!(after.get(&Key::of("m.room.avatar", "")), Some(&avatar), "version {version}");
        assert_eq!(after[&Key::of("m.room.name", "")], other);
    }
}
