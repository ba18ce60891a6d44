//! Tokens of random connections, made from seeds.

use super::*;
use crate::endpoint::sliding::random::Random;

fn class(random: &mut Random, of: u64) -> Class {
    let number = random.below(of);
    Class {
        limit: u16::try_from(number * 10).unwrap(),
        state: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        scopes: u8::try_from(number % 8).unwrap(),
    }
}

fn told(random: &mut Random, rooms: usize, classes: u64, exceptions: u64) -> Vec<RoomStatus> {
    let one = |random: &mut Random| match random.below(10) {
        0 | 1 => RoomStatus::Never,
        2 => RoomStatus::Lost,
        _ => {
            let is_behind = random.below(100) < exceptions;
            let behind = Behind { rooms: random.below(1 << 20), users: random.below(1 << 10) };
            RoomStatus::Under {
                class: class(random, classes),
                behind: if is_behind { behind } else { Behind::default() },
            }
        }
    };
    (0..rooms).map(|_| one(random)).collect()
}

fn vector(random: &mut Random) -> SyncToken {
    let mut part = || std::array::from_fn(|_| random.below(1 << 30));
    let (rooms, users, live) = (part(), part(), part());
    let at = 1_700_000_000_000;
    SyncToken { generation: Some(3), rooms, users, live, at, ..SyncToken::default() }
}

#[test]
fn what_fits_comes_back() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let rooms = usize::try_from(random.below(300)).unwrap();
        let told = told(&mut random, rooms, 1 + seed % 6, 10);
        let pos = Pos::new((vector(&mut random), 7, 5), 99, &told, (Bounds::default(), |_| true));
        let read: Pos = pos.clone().write((Bounds::default(), |_| true)).parse().unwrap();
        assert_eq!(read, pos, "seed {seed}");
        for (index, told) in told.iter().enumerate() {
            assert_eq!(read.told(index), *told, "seed {seed}, room {index}");
        }
        assert_eq!(read.told(told.len()), RoomStatus::Never);
    }
}

#[test]
fn a_token_can_always_be_written_and_loses_nothing_but_positions() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let most = [100, 3_000, 9_000, 30_000, 80_000][usize::try_from(seed % 5).unwrap()];
        let rooms = usize::try_from(random.below(most)).unwrap();
        let (classes, exceptions) = (1 + random.below(12), random.below(100));
        let told = told(&mut random, rooms, classes, exceptions);
        // A window of the request, without exceptions, under two classes.
        let is_shown = |index: usize| index.is_multiple_of(97);
        let mut told = told;
        for (index, told) in told.iter_mut().enumerate() {
            if is_shown(index) {
                let class = class(&mut random, 2);
                *told = RoomStatus::Under { class, behind: Behind::default() };
            }
        }
        let pos = Pos::new((vector(&mut random), 7, 5), 99, &told, (Bounds::default(), is_shown));
        let text = pos.write((Bounds::default(), is_shown));
        assert!(text.len() <= limits::SLIDING_POS, "seed {seed}: {}", text.len());
        let read: Pos = text.parse().unwrap();
        let mut kept = 0;
        for (index, told) in told.iter().enumerate() {
            let read_told = read.told(index);
            match (told, read_told) {
                (told, read) if *told == read => kept += usize::from(is_shown(index)),
                (RoomStatus::Under { .. }, RoomStatus::Lost) => {
                    assert!(
                        !is_shown(index) || read.exhausted,
                        "seed {seed}: room {index} would be told for ever"
                    );
                }
                (RoomStatus::Never, RoomStatus::Lost) => assert!(read.exhausted, "seed {seed}: room {index}"),
                (told, read) => panic!("seed {seed}: room {index} was {told:?} and is {read:?}"),
            }
        }
        let shown = (0..rooms).filter(|index| is_shown(*index)).count();
        assert!(kept >= shown.min(limits::SLIDING_KEPT), "seed {seed}: {kept} of {shown}");
    }
}

#[test]
fn other_rooms_than_were_counted_have_lost_their_positions() {
    let mut random = Random::new(1);
    let told =
        [RoomStatus::Under { class: class(&mut random, 3), behind: Behind::default() }, RoomStatus::Never];
    let pos = Pos::new((vector(&mut random), 7, 0), 99, &told, (Bounds::default(), |_| true));
    assert_eq!(pos.clone().of_rooms(99).told(1), RoomStatus::Never);
    let other = pos.of_rooms(98);
    assert_eq!(
        (other.told(0), other.told(1), other.told(9)),
        (RoomStatus::Lost, RoomStatus::Lost, RoomStatus::Lost)
    );
    let nothing =
        Pos::new((vector(&mut random), 7, 0), 99, &[RoomStatus::Never], (Bounds::default(), |_| true));
    assert_eq!(nothing.of_rooms(98).told(0), RoomStatus::Never, "nothing was told, whichever the rooms were");
}

#[test]
fn a_token_of_4000_rooms_is_small() {
    let mut random = Random::new(5);
    let one = class(&mut random, 3);
    let told: Vec<RoomStatus> = (0..4_000)
        .map(|index| {
            let scrolled = index % 211 == 0;
            let class = if scrolled { Class { limit: 20, ..one } } else { one };
            RoomStatus::Under { class, behind: Behind::default() }
        })
        .collect();
    let mut part = |most| std::array::from_fn(|_| random.below(most));
    let (rooms, users) = (part(1 << 20), part(1 << 14));
    let vector = SyncToken { generation: Some(3), rooms, users, ..SyncToken::default() };
    let text = Pos::new((vector, 7, 7), 99, &told, (Bounds::default(), |_| false))
        .write((Bounds::default(), |_| false));
    assert!(text.len() < 1_000, "{}", text.len());
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let mut random = Random::new(2);
    let told = told(&mut random, 200, 3, 20);
    let text = Pos::new((vector(&mut random), 7, 5), 99, &told, (Bounds::default(), |_| true))
        .write((Bounds::default(), |_| true));
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=random.below(3) {
            let place = usize::try_from(random.below(bytes.len() as u64)).unwrap();
            bytes[place] = b"AZaz09_-."[usize::try_from(random.below(9)).unwrap()];
        }
        bytes.truncate(usize::try_from(random.below(2 * text.len() as u64)).unwrap().max(1));
        if let Ok(pos) = std::str::from_utf8(&bytes).unwrap().parse::<Pos>() {
            for index in 0..300 {
                let _ = pos.told(index);
            }
            assert!(pos.write((Bounds::default(), |_| true)).len() <= limits::SLIDING_POS);
        }
    }
    for text in ["", "p1_", "p1_.", "s3_AAAA", "p1_s3_AAAA", "p1_s3_AAAA.", "p1_t1_5.AAAA"] {
        assert!(text.parse::<Pos>().is_err(), "{text}");
    }
}
