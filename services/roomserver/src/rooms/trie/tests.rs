use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Change, Key, Missing, NewNodes, Node, Nodes, Trie, diff};
use crate::rooms::ids::{Counters, EventNid, NodeNid};

/// Nodes as a database would hold them.
#[derive(Default)]
struct Stored {
    bodies: HashMap<NodeNid, Bytes>,
}

impl Stored {
    /// Keeps nodes. What is read back is what was written.
    fn keep(&mut self, made: Vec<(NodeNid, Arc<Node>)>) {
        for (nid, node) in made {
            self.bodies.insert(nid, node.encode());
            let decoded = self.node(nid).unwrap();
            assert_eq!((decoded.hash(), decoded.len()), (node.hash(), node.len()));
            assert_eq!(decoded.encode(), node.encode());
        }
    }
}

impl Nodes for Stored {
    fn node(&self, nid: NodeNid) -> Option<Arc<Node>> {
        let body = |nid: NodeNid| self.bodies.get(&nid).map(AsRef::as_ref);
        body(nid).map(|found| Arc::new(Node::decode(found, body).unwrap()))
    }
}

struct Nothing;

impl Nodes for Nothing {
    fn node(&self, _: NodeNid) -> Option<Arc<Node>> {
        None
    }
}

struct Maker {
    counters: Counters,
    stored: Stored,
}

impl Maker {
    fn new() -> Self {
        Self { counters: Counters::first(3), stored: Stored::default() }
    }

    fn change(&mut self, trie: &Trie, key: Key, event: Option<EventNid>) -> Trie {
        let mut new = NewNodes::new(&mut self.counters);
        let changed = match event {
            Some(event) => trie.set(key, event, &self.stored, &mut new),
            None => trie.remove(key, &self.stored, &mut new),
        }
        .unwrap();
        self.stored.keep(new.nodes);
        // Start again from the root alone: everything must come from what was stored.
        Trie::stored(changed.root())
    }

    fn change_many(&mut self, trie: &Trie, changes: &BTreeMap<Key, Option<EventNid>>) -> Trie {
        let mut new = NewNodes::new(&mut self.counters);
        let changed = trie.set_many(changes, &self.stored, &mut new).unwrap();
        self.stored.keep(new.nodes);
        Trie::stored(changed.root())
    }

    fn build<'a>(&mut self, entries: impl IntoIterator<Item = (&'a Key, &'a EventNid)>) -> Trie {
        entries.into_iter().fold(Trie::default(), |trie, (key, event)| self.change(&trie, *key, Some(*event)))
    }

    fn hash(&self, trie: &Trie) -> Option<u128> {
        trie.root().map(|root| self.stored.node(root).unwrap().hash())
    }

    fn list(&self, trie: &Trie) -> BTreeMap<Key, EventNid> {
        let mut entries = BTreeMap::new();
        trie.for_each(&self.stored, &mut |key, event| assert_eq!(entries.insert(key, event), None)).unwrap();
        assert_eq!(trie.len(&self.stored).unwrap(), entries.len());
        entries
    }
}

/// Keys that crowd under few branches, so that splits go deep, and keys from all over.
fn keys() -> impl Strategy<Value = Key> {
    prop_oneof![
        (0_u128..400).prop_map(Key),
        (0_u128..400).prop_map(|low| Key(low << 100)),
        (0_u128..100, 0_u128..4).prop_map(|(high, low)| Key(high << 120 | low)),
        any::<u128>().prop_map(Key),
    ]
}

fn maps() -> impl Strategy<Value = BTreeMap<Key, EventNid>> {
    prop::collection::btree_map(keys(), (1_i64..1000).prop_map(EventNid), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shape_depends_on_entries_alone(map in maps(), extra in maps(), seed in any::<u64>()) {
        let mut maker = Maker::new();
        let sorted = maker.build(&map);
        prop_assert_eq!(maker.list(&sorted), map.clone());
        let mut shuffled: Vec<_> = map.iter().collect();
        shuffled.sort_by_key(|(key, _)| key.0.wrapping_mul(u128::from(seed) | 1));
        let mut other = maker.build(shuffled);
        prop_assert_eq!(maker.hash(&sorted), maker.hash(&other));
        // What comes and goes leaves no trace.
        for (key, event) in &extra {
            other = maker.change(&other, *key, Some(*event));
        }
        for key in extra.keys() {
            other = maker.change(&other, *key, map.get(key).copied());
        }
        prop_assert_eq!(maker.hash(&sorted), maker.hash(&other));
        for key in map.keys().chain(extra.keys()) {
            prop_assert_eq!(sorted.get(*key, &maker.stored).unwrap(), map.get(key).copied());
        }
    }

    #[test]
    fn difference_applied_to_the_first_gives_the_second(first in maps(), second in maps()) {
        let mut maker = Maker::new();
        let (a, b) = (maker.build(&first), maker.build(&second));
        let changes = diff(&a, &b, &maker.stored).unwrap();
        let mut patched = first.clone();
        for Change { key, before, after } in changes {
            prop_assert_eq!(patched.get(&key).copied(), before);
            prop_assert_ne!(before, after);
            match after {
                Some(event) => patched.insert(key, event),
                None => patched.remove(&key),
            };
        }
        prop_assert_eq!(patched, second);
    }

    #[test]
    fn changing_many_keys_is_changing_each(first in maps(), second in maps()) {
        let mut maker = Maker::new();
        let a = maker.build(&first);
        let b = maker.build(&second);
        let mut changes: BTreeMap<Key, Option<EventNid>> = first.keys().map(|key| (*key, None)).collect();
        changes.extend(second.iter().map(|(key, event)| (*key, Some(*event))));
        let at_once = maker.change_many(&a, &changes);
        prop_assert_eq!(maker.hash(&at_once), maker.hash(&b));
        prop_assert_eq!(maker.list(&at_once), second.clone());
        let mut new = NewNodes::new(&mut maker.counters);
        let made = Trie::of_entries(&second, &mut new);
        maker.stored.keep(new.nodes);
        prop_assert_eq!(maker.hash(&made), maker.hash(&b));
    }

    #[test]
    fn malformed_nodes_are_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(node) = Node::decode(&body, |_| None) {
            prop_assert_eq!(node.encode().to_vec(), body);
        }
    }
}

#[test]
fn difference_reads_only_what_differs() {
    let mut maker = Maker::new();
    let keys: Vec<_> = (0..5000).map(|n| Key::of("m.room.member", &format!("@u{n}:x"))).collect();
    let mut trie = Trie::default();
    for (key, nid) in keys.iter().zip(1..) {
        trie = maker.change(&trie, *key, Some(EventNid(nid)));
    }
    let changed = maker.change(&trie, keys[77], Some(EventNid(9999)));
    let reads = std::cell::Cell::new(0);
    struct Counting<'a>(&'a Stored, &'a std::cell::Cell<usize>);
    impl Nodes for Counting<'_> {
        fn node(&self, nid: NodeNid) -> Option<Arc<Node>> {
            self.1.set(self.1.get() + 1);
            self.0.node(nid)
        }
    }
    let (a, b) = (Trie::stored(trie.root()), Trie::stored(changed.root()));
    let changes = diff(&a, &b, &Counting(&maker.stored, &reads)).unwrap();
    assert_eq!(changes.len(), 1);
    assert!(reads.get() <= 8, "{} nodes read", reads.get());
}

#[test]
fn small_changes_of_large_nodes_are_stored_as_changes() {
    let mut maker = Maker::new();
    let keys: Vec<_> = (0..50_000).map(|n| Key::of("m.room.member", &format!("@u{n}:x"))).collect();
    let entries: BTreeMap<Key, EventNid> = keys.iter().copied().zip((1..).map(EventNid)).collect();
    let mut new = NewNodes::new(&mut maker.counters);
    let mut trie = Trie::of_entries(&entries, &mut new);
    let made = new.nodes;
    maker.stored.keep(made);
    let before: usize = maker.stored.bodies.values().map(Bytes::len).sum();
    for (n, key) in keys[..1000].iter().enumerate() {
        trie = maker.change(&trie, *key, Some(EventNid(100_000 + i64::try_from(n).unwrap())));
    }
    let after: usize = maker.stored.bodies.values().map(Bytes::len).sum();
    assert!((after - before) / 1000 < 1200, "{} bytes for each change", (after - before) / 1000);
    let whole = maker.stored.bodies.values().filter(|body| Node::base_of(body).is_none()).count();
    assert!(whole < maker.stored.bodies.len());
    // A change without what it is a change of cannot be read.
    let body = maker.stored.bodies.values().find(|body| Node::base_of(body).is_some()).unwrap();
    assert!(Node::decode(body, |_| None).is_err());
    assert!(Node::decode(body, |_| Some(body.as_ref())).is_err());
}

#[test]
fn missing_node_is_named() {
    let trie = Trie::stored(Some(NodeNid(17)));
    assert_eq!(trie.get(Key(1), &Nothing), Err(Missing(NodeNid(17))));
    let mut counters = Counters::first(0);
    let mut new = NewNodes::new(&mut counters);
    assert_eq!(trie.set(Key(1), EventNid(1), &Nothing, &mut new).unwrap_err(), Missing(NodeNid(17)));
    assert_eq!(trie.remove(Key(1), &Nothing, &mut new).unwrap_err(), Missing(NodeNid(17)));
    assert!(new.nodes.is_empty());
}

#[test]
fn keys_do_not_run_together() {
    assert_ne!(Key::of("ab", "c"), Key::of("a", "bc"));
    assert_ne!(Key::of("a", ""), Key::of("", "a"));
}

#[test]
fn bytes_count_what_is_in_memory() {
    let entries: BTreeMap<Key, Option<EventNid>> =
        (0..5000).map(|n| (Key::of("m.room.member", &format!("@user{n}:x")), Some(EventNid(n)))).collect();
    let mut maker = Maker::new();
    let trie = maker.change_many(&Trie::default(), &entries);
    assert_eq!(trie.loaded_bytes(), 0);
    let mut before = 0;
    for key in entries.keys() {
        trie.get(*key, &maker.stored).unwrap();
        assert!(trie.loaded_bytes() >= before);
        before = trie.loaded_bytes();
    }
    // An entry takes 32 bytes in its leaf; here a leaf of one or two takes as much again, and as much in its parent.
    assert!((5000 * 64..5000 * 256).contains(&before), "{before}");
}
