//! Decides which rooms an answer tells and how, and what the connection was told after it.
//!
//! News is found by `seq` in each partition, never by time. A room is told if it matches and was never told, or told
//! without anybody knowing up to where, or if something changed since, or if more is wanted of it. That a user is not in
//! a room any more is told in any case, to whom the room was told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use plexus_matrix_http::token::SyncToken;

use super::{
    lists::{self, Match, Spaces},
    pos::{Behind, Bounds, Class, Pos, RoomStatus, scope},
    request::{Request, RequiredState, Wish},
};
use crate::view::{At, Candidate, Membership, RoomOfUser, RoomsOfUser};

/// What an answer is about.
pub(super) struct Plan {
    /// By list: how many rooms it has.
    pub(super) counts: BTreeMap<String, usize>,
    pub(super) chosen: Vec<Chosen>,
    told: Vec<RoomStatus>,
    shown: Vec<bool>,
    /// Whether rooms are left to the next answer.
    pub(super) is_partial: bool,
    /// By index: what is wanted of rooms that match.
    wanted: HashMap<usize, Class>,
    checksum: u32,
    bounds: Bounds,
}

/// A room that an answer tells, unless it turns out that there is nothing to tell.
pub(super) struct Chosen {
    pub(super) index: usize,
    pub(super) candidate: Candidate,
    pub(super) how: How,
    pub(super) wish: Arc<Wish>,
    class: Class,
    /// Lists in whose windows it is.
    pub(super) lists: Vec<String>,
    /// The position in the room's partition up to which the room was told.
    pub(super) since: Option<u64>,
    /// Extensions of which everything is to be told.
    pub(super) grown: u8,
    pub(super) is_direct: bool,
    /// Whether that may have changed.
    pub(super) moved_direct: bool,
    pub(super) bump: i64,
    /// Account data that is to be told.
    pub(super) account_data: Vec<(String, Bytes)>,
    was: Option<Class>,
    is_matching: bool,
}

/// How a room is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// As if the client knew nothing of it.
    Anew,
    /// What changed.
    News {
        /// The newest events again, as more of them are wanted than were told.
        expanded: bool,
        /// All required state again, as other state is wanted than was told.
        all_state: bool,
    },
    /// That the user is not in it any more.
    End,
}

/// What became of a chosen room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) answered: bool,
    /// Whether its state changed, or may have.
    pub(super) state_changed: bool,
}

/// What a plan rests on.
pub(super) struct Basis<'a> {
    pub(super) request: &'a Request,
    pub(super) pos: Option<&'a Pos>,
    /// The token's vector, as far as this process knows the logs it tells of.
    pub(super) since: Option<&'a SyncToken>,
    pub(super) spaces: &'a Spaces,
    pub(super) now: i64,
    /// Whether rooms whose position was lost wait for other news.
    pub(super) patient: bool,
    pub(super) bounds: Bounds,
}

/// Positions up to which a room was told.
#[derive(Debug, Clone, Copy)]
struct Upto {
    rooms: u64,
    users: u64,
}

struct Planner<'a, 'r> {
    basis: &'a Basis<'a>,
    rooms: &'a RoomsOfUser<'r>,
    cut: &'a SyncToken,
    /// Wishes of this request by hash of their state: what was told under one of them is known.
    known: HashMap<u64, RequiredState>,
}

/// Makes the plan.
pub(super) fn plan(rooms: &RoomsOfUser<'_>, cut: &SyncToken, basis: &Basis<'_>) -> Plan {
    let matches = lists::find(rooms, basis.request, basis.spaces, basis.bounds.classes);
    let told = statuses_of(rooms, basis);
    let checksum = checksum(rooms.rooms.iter());
    let mut known = HashMap::new();
    let of_lists = basis.request.lists.values().map(|list| (list.wish.class(), &list.wish));
    for (class, wish) in matches.wishes.iter().map(|(class, wish)| (*class, &**wish)).chain(of_lists) {
        known.entry(class.state).or_insert_with(|| wish.state.clone());
    }
    let planner = Planner { basis, rooms, cut, known };
    let mut plan = Plan {
        counts: matches.counts,
        chosen: Vec::new(),
        is_partial: false,
        told: told.clone(),
        shown: vec![false; told.len()],
        wanted: matches.rooms.iter().map(|(index, matching)| (*index, matching.class)).collect(),
        checksum,
        bounds: basis.bounds,
    };
    let mut chosen = Vec::new();
    for (index, room) in rooms.rooms.iter().enumerate() {
        let matching = matches.rooms.get(&index);
        let was = told[index];
        match planner.choose(index, room, was, matching) {
            Some(room) => chosen.push((matching.map_or(0, |matching| matching.rank), room)),
            None => plan.told[index] = planner.unchosen(room, was, matching.is_some()),
        }
        plan.shown[index] = matching.is_some();
    }
    if chosen.len() > basis.bounds.rooms {
        plan.is_partial = true;
        chosen.sort_by_key(|(rank, _)| *rank);
        for (_, later) in chosen.drain(basis.bounds.rooms..) {
            plan.shown[later.index] = false;
            let room = &rooms.rooms[later.index];
            plan.told[later.index] = planner.unchosen(room, told[later.index], false);
        }
    }
    plan.chosen = chosen.into_iter().map(|(_, room)| room).collect();
    plan
}

/// A sum over all rooms that are counted: rooms that come or go change it.
fn checksum<'a>(rooms: impl Iterator<Item = &'a RoomOfUser<'a>>) -> u32 {
    rooms.fold(0, |sum: u32, room| sum.wrapping_add(room.place))
}

fn statuses_of(rooms: &RoomsOfUser<'_>, basis: &Basis<'_>) -> Vec<RoomStatus> {
    let Some(pos) = basis.pos else { return vec![RoomStatus::Never; rooms.rooms.len()] };
    let is_counted = |room: &&RoomOfUser<'_>| {
        pos.vector.rooms.get(room.room.partition).is_some_and(|position| room.first <= *position)
    };
    let pos = pos.clone().of_rooms(checksum(rooms.rooms.iter().filter(is_counted)));
    let mut next = 0;
    let told = rooms.rooms.iter().map(|room| {
        if !is_counted(&room) {
            return RoomStatus::Never;
        }
        next += 1;
        pos.told(next - 1)
    });
    told.collect()
}

impl Planner<'_, '_> {
    /// Up to where a room was told.
    fn upto(&self, room: &RoomOfUser<'_>, behind: Behind) -> Upto {
        let at = |vector: &[u64], partition: usize| vector.get(partition).copied().unwrap_or_default();
        let (rooms, users) = match self.basis.since {
            Some(since) => (at(&since.rooms, room.room.partition), at(&since.users, self.rooms.partition)),
            None => (0, 0),
        };
        Upto { rooms: rooms.saturating_sub(behind.rooms), users: users.saturating_sub(behind.users) }
    }

    fn choose(
        &self,
        index: usize,
        room: &RoomOfUser<'_>,
        was: RoomStatus,
        matching: Option<&Match>,
    ) -> Option<Chosen> {
        let has_ended = room.forgotten || matches!(room.now.membership, Membership::Leave | Membership::Ban);
        let (upto, class, how) = match was {
            RoomStatus::Never => {
                matching?;
                (None, None, if has_ended { How::End } else { How::Anew })
            }
            RoomStatus::Lost if self.basis.patient => return None,
            RoomStatus::Lost if has_ended => (None, None, How::End),
            RoomStatus::Lost => {
                matching?;
                (None, None, How::Anew)
            }
            RoomStatus::Under { class, behind } => {
                let upto = self.upto(room, behind);
                let how = if has_ended {
                    self.end_of(room, upto, class, matching)?
                } else {
                    self.news_of(room, upto, class, matching?)?
                };
                (Some(upto), Some(class), how)
            }
        };
        let wish = matching.map_or_else(Arc::default, |matching| Arc::clone(&matching.wish));
        let upto = upto.filter(|_| how != How::Anew);
        let grown = wish.scopes & !class.filter(|_| how != How::Anew).map_or(0, |class| class.scopes);
        let data_since = upto.filter(|_| grown & scope::ACCOUNT_DATA == 0).map_or(0, |upto| upto.users);
        let account_data = if wish.scopes & scope::ACCOUNT_DATA == 0 {
            Vec::new()
        } else {
            self.rooms.data_since(room.room.id.as_str(), data_since)
        };
        let moved_direct = upto
            .is_some_and(|upto| grown & scope::DIRECT != 0 || self.moved_direct(room, upto).unwrap_or(true));
        let mut candidate = self.rooms.candidate(room);
        if how == (How::News { expanded: false, all_state: false }) {
            candidate.then = At::Known(candidate.now.clone());
        }
        Some(Chosen {
            index,
            candidate,
            how,
            wish,
            class: matching.map(|matching| matching.class).unwrap_or_default(),
            lists: matching.map_or_else(Vec::new, |matching| {
                let names = self.basis.request.lists.keys().enumerate();
                let names = names.filter(|(place, _)| matching.lists.contains(place));
                names.map(|(_, name)| name.clone()).collect()
            }),
            since: upto.map(|upto| upto.rooms),
            grown,
            is_direct: self.rooms.direct.contains(&room.room.id),
            moved_direct,
            bump: room.bump(),
            account_data,
            was: class,
            is_matching: matching.is_some(),
        })
    }

    fn end_of(
        &self,
        room: &RoomOfUser<'_>,
        upto: Upto,
        class: Class,
        matching: Option<&Match>,
    ) -> Option<How> {
        let is_news = room.now.seq > upto.rooms;
        let is_more = matching.is_some_and(|matching| {
            self.is_other_state(class, matching)
                || matching.wish.limit > class.limit
                || self.may_have_moved_direct(room, upto, class)
        });
        (is_news || is_more).then_some(How::End)
    }

    fn news_of(&self, room: &RoomOfUser<'_>, upto: Upto, class: Class, matching: &Match) -> Option<How> {
        if room.since > upto.rooms {
            return Some(How::Anew);
        }
        let may_be_direct = self.may_have_moved_direct(room, upto, class);
        if room.now.membership != Membership::Join {
            return (room.now.seq > upto.rooms || may_be_direct).then_some(How::Anew);
        }
        let wish = &matching.wish;
        let expanded = wish.limit > class.limit;
        let all_state = self.is_other_state(class, matching);
        let id = &room.room.id;
        let types = || {
            let since = self.basis.since.filter(|_| wish.scopes & scope::TYPING != 0)?;
            let position = since.live.get(room.room.partition).copied().unwrap_or_default();
            let then = i64::try_from(since.at).unwrap_or(i64::MAX);
            Some(room.room.typing.changed_since(position, then, self.basis.now))
        };
        let is_news = expanded
            || all_state
            || wish.scopes & !class.scopes != 0
            || room.room.moved_since(upto.rooms)
            || self.rooms.data_moved_since(id, upto.users)
            || may_be_direct
            || types().unwrap_or_default();
        is_news.then_some(How::News { expanded, all_state })
    }

    /// Whether a room became direct or ceased to be; `None` if nobody knows.
    fn moved_direct(&self, room: &RoomOfUser<'_>, upto: Upto) -> Option<bool> {
        self.rooms.direct.changed(&room.room.id, upto.users)
    }

    fn may_have_moved_direct(&self, room: &RoomOfUser<'_>, upto: Upto, class: Class) -> bool {
        class.scopes & scope::DIRECT == 0 || self.moved_direct(room, upto).unwrap_or(true)
    }

    /// Whether state is wanted that was not, as far as anybody knows.
    fn is_other_state(&self, class: Class, matching: &Match) -> bool {
        if class.state == matching.class.state {
            return false;
        }
        self.known.get(&class.state).is_none_or(|told| !told.covers(&matching.wish.state))
    }

    /// What counts after the answer for a room that it does not tell.
    fn unchosen(&self, room: &RoomOfUser<'_>, was: RoomStatus, is_matching: bool) -> RoomStatus {
        let RoomStatus::Under { mut class, behind } = was else { return was };
        let has_ended = room.forgotten || matches!(room.now.membership, Membership::Leave | Membership::Ban);
        let upto = self.upto(room, behind);
        // Its end was told, and nothing is left of it to be told.
        if has_ended && room.now.seq <= upto.rooms && !is_matching {
            return RoomStatus::Never;
        }
        let moved_direct = self.moved_direct(room, upto);
        if moved_direct.is_none() {
            class.scopes &= !scope::DIRECT;
        }
        let is_joined = room.now.membership == Membership::Join;
        let has_news = room.now.seq > upto.rooms
            || moved_direct.unwrap_or_default()
            || is_joined
                && (room.room.moved_since(upto.rooms)
                    || self.rooms.data_moved_since(&room.room.id, upto.users));
        if !has_news || is_matching {
            return RoomStatus::Under { class, behind: Behind::default() };
        }
        let at = |vector: &[u64], partition: usize| vector.get(partition).copied().unwrap_or_default();
        let behind = Behind {
            rooms: at(&self.cut.rooms, room.room.partition).saturating_sub(upto.rooms),
            users: at(&self.cut.users, self.rooms.partition).saturating_sub(upto.users),
        };
        RoomStatus::Under { class, behind }
    }
}

impl Plan {
    /// Notes what became of a chosen room.
    pub(super) fn settle(&mut self, chosen: &Chosen, outcome: Outcome) {
        let wanted = chosen.class;
        let class = match chosen.was {
            // Its timeline is as it was told, and so is its state, unless that changed.
            Some(was) if !outcome.answered => Class {
                limit: was.limit.max(wanted.limit),
                state: if outcome.state_changed { wanted.state } else { was.state },
                scopes: wanted.scopes,
            },
            Some(_) | None => wanted,
        };
        // A room of which only the end was left to tell takes no class: it might lose it, and be told for ever.
        let is_over = chosen.how == How::End && !chosen.is_matching;
        self.told[chosen.index] =
            if is_over { RoomStatus::Never } else { RoomStatus::Under { class, behind: Behind::default() } };
    }

    /// The token of the answer.
    pub(super) fn write(mut self, header: (SyncToken, u32, u8)) -> String {
        let shown = |told: &[RoomStatus], shown: &[bool]| {
            let classes = told.iter().zip(shown).filter_map(|(told, shown)| match told {
                RoomStatus::Under { class, .. } if *shown => Some(*class),
                RoomStatus::Under { .. } | RoomStatus::Lost | RoomStatus::Never => None,
            });
            classes.collect::<BTreeSet<_>>().len()
        };
        if shown(&self.told, &self.shown) > self.bounds.classes {
            // Less than what was told is right, too.
            for (index, (told, shown)) in self.told.iter_mut().zip(&self.shown).enumerate() {
                if let (true, RoomStatus::Under { class, .. }, Some(wanted)) =
                    (*shown, told, self.wanted.get(&index))
                {
                    *class = *wanted;
                }
            }
        }
        let is_shown = |index: usize| self.shown.get(index).copied().unwrap_or_default();
        let bounds = self.bounds;
        Pos::new(header, self.checksum, &self.told, (bounds, is_shown)).write((bounds, is_shown))
    }
}
