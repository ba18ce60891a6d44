//! An event that only an old fork knows, and on which an entry of every state rests all the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    ALICE, Answer, World,
    graphs::{BOB, CAROL, three},
};
use crate::rooms::Key;

const DORA: &str = "@dora:b.example";
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

/// Power levels that let Bob ban count in one fork alone. The topic of that fork, which all states have, cites them: so
/// they are in the auth chain of every state and take no part in a later resolution, where Bob may not ban.
#[test]
fn what_an_entry_of_all_states_rests_on_is_no_difference() {
    for version in ["6", "11"] {
        let (mut worlds, room) = three(version);
        let mut forks = Forks { world: worlds.remove(0), room };
        let front = forks.world.latest(&forks.room).into_iter().next().unwrap();
        let levels = |bob: i64| json!({ "users": { ALICE: 100, BOB: bob } });
        let member = ("m.room.member", Some(DORA));
        let base = forks.send(&[&front], DORA, member, json!({ "membership": "join" }), 1);

        let may = forks.send(&[&base], ALICE, LEVELS, levels(100), 2);
        let topic = ("m.room.topic", Some(""));
        let topic = forks.send(&[&may], ALICE, topic, json!({ "topic": "ours" }), 3);
        let ban = forks.send(&[&topic], BOB, member, json!({ "membership": "ban" }), 4);
        let may_not = forks.send(&[&base], ALICE, LEVELS, levels(0), 10);

        let state = forks.world.after(&may_not);
        let banned = forks.send_by(&state, &[&ban, &may_not], ALICE, MESSAGE, json!({}), 11);
        let joined = forks.send_by(&state, &[&topic, &may_not], ALICE, MESSAGE, json!({}), 12);
        let named = json!({ "membership": "join", "displayname": "Dora" });
        let named = forks.send(&[&joined], DORA, member, named, 13);
        let of_dora = Key::of("m.room.member", DORA);
        assert_eq!(forks.world.after(&banned)[&of_dora], ban);
        assert_eq!(forks.world.after(&named)[&of_dora], named);

        let merge = forks.send(&[&banned, &named], CAROL, MESSAGE, json!({}), 14);
        assert_eq!(forks.world.after(&merge)[&of_dora], named, "version {version}");
    }
}
