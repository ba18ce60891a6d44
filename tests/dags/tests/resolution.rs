//! Resolution by projection against ruma's over whole states, and the searches of the graph against naive ones.

use plexus_dags::{
    compare::{self, Counts},
    generate::{self, Shape},
};
use plexus_events::RoomRules;
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};

fn versions() -> impl Strategy<Value = &'static RoomRules> {
    prop::sample::select(RoomRules::served().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Projected resolve == ruma's `resolve` with whole maps and full auth chains; auth difference == union minus
    /// intersection; subgraph == naive search; loading step by step == having everything.
    #[test]
    fn projection_changes_nothing(version in versions(), seed: u64, events in 5_usize..45, bare: bool) {
        let shape = Shape { version, seed, events, bare };
        let mut counts = Counts::default();
        let room = generate::room(shape, &mut |room, states| {
            counts.add(compare::resolution(room, states, true)?);
            Ok(())
        });
        let room = room.map_err(TestCaseError::fail)?;
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..6 {
            let states = generate::choose_states(&mut rng, shape, &room);
            counts.add(compare::resolution(&room, &states, true).map_err(TestCaseError::fail)?);
        }
    }

    /// The order of the states, and of the keys, does not matter; neither does a state that comes twice.
    #[test]
    fn order_of_states_does_not_matter(version in versions(), seed: u64) {
        let shape = Shape { version, seed, events: 25, bare: false };
        let room = generate::room(shape, &mut |_, _| Ok(())).map_err(TestCaseError::fail)?;
        let mut states = generate::choose_states(&mut StdRng::seed_from_u64(seed), shape, &room);
        let (resolved, _) = compare::projected(&room, &states);
        states.reverse();
        prop_assert_eq!(&compare::projected(&room, &states).0, &resolved);
        states.push(states[0]);
        prop_assert_eq!(&compare::projected(&room, &states).0, &resolved);
    }
}

/// The random rooms are of use: all that is to be compared does occur in them.
#[test]
fn random_rooms_hold_what_is_compared() {
    let mut counts = Counts::default();
    for seed in 0..60 {
        let versions: Vec<_> = RoomRules::served().collect();
        let version = versions[usize::try_from(seed).unwrap() % versions.len()];
        let shape = Shape { version, seed, events: 30, bare: seed.is_multiple_of(2) };
        generate::room(shape, &mut |room, states| {
            counts.add(compare::resolution(room, states, true)?);
            Ok(())
        })
        .unwrap();
    }
    assert!(counts.resolutions > 300, "{counts:?}");
    assert!(counts.with_difference > 60, "{counts:?}");
    assert!(counts.refused > 60, "{counts:?}");
    assert!(counts.letter > 0, "{counts:?}");
    // Each round asks for all that can be known to be needed; the longest chains of auth events take the most.
    assert!(counts.rounds <= 24, "{counts:?}");
}

/// Rooms in which the comparison once found a difference.
#[test]
fn rooms_that_were_resolved_wrongly_once() {
    // The walk of the auth difference came upon an unconflicted entry after it had passed what that entry leads to.
    for (version, seed) in [("11", 1965)] {
        let version = RoomRules::of(version).unwrap();
        let shape = Shape { version, seed, events: 43, bare: true };
        let mut counts = Counts::default();
        let room = generate::room(shape, &mut |room, states| {
            counts.add(compare::resolution(room, states, true)?);
            Ok(())
        });
        let room = room.unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..4 {
            let states = generate::choose_states(&mut rng, shape, &room);
            counts.add(compare::resolution(&room, &states, true).unwrap());
        }
        assert!(counts.resolutions > 0);
    }
}
