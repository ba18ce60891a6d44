//! `pos`: what a connection of sliding sync was told, in the token alone, so that any replica answers any token.
//!
//! A token is `p1_`, the sync token of the answer, a dot, and in base64 what was told of each room of the user. Rooms
//! are counted in an order that never changes ([`crate::view::RoomsOfUser`]); the value of a room is one of: never told;
//! told with its position lost; told under a class. A class is what the request wanted of the room.
//! What was told of a room up to an earlier position than the vector's is an exception.
//!
//! A token can always be written. What does not fit has its position lost, and its room is told anew when it next
//! matches; nothing that was told becomes "never told", or else a client would keep rooms that the user has left.

mod coding;

use std::{collections::BTreeMap, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use plexus_matrix_http::token::{POS_PREFIX, SyncToken, TokenError};

use crate::limits;

/// What was wanted of a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class {
    /// `timeline_limit`.
    pub(crate) limit: u16,
    /// Hash of the required state.
    pub(crate) state: u64,
    /// Extensions in whose scope the room was.
    pub(crate) scopes: u8,
}

/// How far behind the vector of the token a room was told: in its own partition, and in the user's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) rooms: u64,
    pub(crate) users: u64,
}

/// What a connection was told of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomStatus {
    Never,
    /// Something, nobody knows up to where: it is told anew when the room next matches, and its end in any case.
    Lost,
    Under {
        class: Class,
        behind: Behind,
    },
}

/// What bounds a token; fixed but for tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) exceptions: usize,
    pub(crate) classes: usize,
    /// Rooms that an answer tells.
    pub(crate) rooms: usize,
    pub(crate) length: usize,
    /// Rooms that keep their position when most are lost.
    pub(crate) kept: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            exceptions: limits::SLIDING_EXCEPTIONS,
            classes: limits::SLIDING_CLASSES,
            rooms: limits::SLIDING_ROOMS,
            length: limits::SLIDING_POS,
            kept: limits::SLIDING_KEPT,
        }
    }
}

/// What a connection was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pos {
    /// The cut of the answer.
    pub(crate) vector: SyncToken,
    /// Tells the connection from others.
    pub(crate) tag: u32,
    /// Extensions that were on.
    pub(crate) extensions: u8,
    /// Too much was lost for the lost to be told at once: they wait until there is other news.
    pub(crate) exhausted: bool,
    /// Of the rooms that are counted.
    checksum: u32,
    classes: Vec<Class>,
    /// By index: 0 for never told, 1 for lost, and above the index of a class.
    marks: Vec<u8>,
    /// What counts for rooms beyond the marks.
    rest: u8,
    behind: BTreeMap<usize, Behind>,
}

const NEVER: u8 = 0;
const LOST: u8 = 1;
const FIRST_CLASS: u8 = 2;

/// Bits of [`Pos::extensions`] and [`Class::scopes`].
pub(crate) mod scope {
    pub(crate) const ACCOUNT_DATA: u8 = 1;
    pub(crate) const RECEIPTS: u8 = 2;
    pub(crate) const TYPING: u8 = 4;
    /// No extension: whether the room is direct. It is always wanted; a class that lacks it is of rooms whose flag may
    /// have changed out of sight.
    pub(crate) const DIRECT: u8 = 8;
    /// No rooms are in the scope of this extension.
    pub(crate) const E2EE: u8 = 16;
}

impl Pos {
    /// What a connection is to be told it was told. `shown` says which rooms match the request: these keep their
    /// position, whatever else has to go, or else they would be told for ever.
    pub(crate) fn new(
        (vector, tag, extensions): (SyncToken, u32, u8),
        checksum: u32,
        told: &[RoomStatus],
        (bounds, shown): (Bounds, impl Fn(usize) -> bool),
    ) -> Self {
        let mut pos = Self {
            vector,
            tag,
            extensions,
            exhausted: false,
            checksum,
            classes: Vec::new(),
            marks: Vec::with_capacity(told.len()),
            rest: NEVER,
            behind: BTreeMap::new(),
        };
        let classes = Self::choose_classes(told, bounds.classes, &shown);
        for (index, told) in told.iter().enumerate() {
            let mark = match told {
                RoomStatus::Never => NEVER,
                RoomStatus::Lost => LOST,
                RoomStatus::Under { class, behind } => {
                    match classes.iter().position(|known| known == class) {
                        Some(place) => {
                            if *behind != Behind::default() {
                                pos.behind.insert(index, *behind);
                            }
                            FIRST_CLASS + u8::try_from(place).unwrap_or_default()
                        }
                        None => LOST,
                    }
                }
            };
            pos.marks.push(mark);
        }
        pos.classes = classes;
        pos.bound_exceptions(bounds.exceptions);
        pos.normalize();
        pos
    }

    /// Chooses the classes to be kept: those of rooms that are shown first, then those of most rooms.
    fn choose_classes(told: &[RoomStatus], most: usize, shown: impl Fn(usize) -> bool) -> Vec<Class> {
        let mut counts: BTreeMap<Class, (usize, usize)> = BTreeMap::new();
        for (index, told) in told.iter().enumerate() {
            if let RoomStatus::Under { class, .. } = told {
                let (shown_rooms, rooms) = counts.entry(*class).or_default();
                *shown_rooms += usize::from(shown(index));
                *rooms += 1;
            }
        }
        let mut classes: Vec<_> = counts.into_iter().collect();
        classes.sort_by_key(|(class, counts)| (std::cmp::Reverse(*counts), *class));
        classes.truncate(most);
        classes.into_iter().map(|(class, _)| class).collect()
    }

    /// Loses the positions of the rooms that are furthest behind.
    fn bound_exceptions(&mut self, most: usize) {
        if self.behind.len() <= most {
            return;
        }
        let mut by_distance: Vec<(u64, usize)> =
            self.behind.iter().map(|(index, behind)| (behind.rooms, *index)).collect();
        by_distance.sort_unstable();
        for (_, index) in by_distance.split_off(most) {
            self.behind.remove(&index);
            self.marks[index] = LOST;
        }
    }

    /// Leaves out what tells nothing.
    fn normalize(&mut self) {
        while self.marks.last() == Some(&self.rest) {
            self.marks.pop();
        }
        let used: Vec<bool> = (0..self.classes.len())
            .map(|place| self.marks.iter().any(|mark| usize::from(*mark) == place + usize::from(FIRST_CLASS)))
            .collect();
        if used.iter().all(|used| *used) {
            return;
        }
        let mut renamed = vec![NEVER, LOST];
        let mut next = FIRST_CLASS;
        for used in &used {
            renamed.push(next);
            next += u8::from(*used);
        }
        for mark in &mut self.marks {
            *mark = renamed[usize::from(*mark)];
        }
        let mut used = used.into_iter();
        self.classes.retain(|_| used.next().unwrap_or_default());
    }

    /// What was told of a room.
    pub(crate) fn told(&self, index: usize) -> RoomStatus {
        match self.marks.get(index).copied().unwrap_or(self.rest) {
            NEVER => RoomStatus::Never,
            LOST => RoomStatus::Lost,
            mark => match self.classes.get(usize::from(mark - FIRST_CLASS)) {
                Some(class) => {
                    let behind = self.behind.get(&index).copied().unwrap_or_default();
                    RoomStatus::Under { class: *class, behind }
                }
                None => RoomStatus::Lost,
            },
        }
    }

    /// The same for rooms that have this checksum: if they are others than those that were counted, nobody knows what
    /// was told of which.
    pub(crate) fn of_rooms(mut self, checksum: u32) -> Self {
        let tells_nothing = self.marks.is_empty() && self.rest == NEVER;
        if self.checksum != checksum && !tells_nothing {
            self.marks.clear();
            self.behind.clear();
            self.classes.clear();
            self.rest = LOST;
        }
        self
    }

    /// The token. `shown` as in [`Pos::new`].
    pub(crate) fn write(mut self, (bounds, shown): (Bounds, impl Fn(usize) -> bool)) -> String {
        let steps =
            [Step::Nothing, Step::Exceptions(64), Step::Exceptions(0), Step::Hidden, Step::Most(bounds.kept)];
        for step in steps {
            self.lose(step, &shown);
            let text = self.encode();
            if text.len() <= bounds.length {
                return text;
            }
        }
        // Only the vector is left, which always fits.
        self.marks.clear();
        self.encode()
    }

    fn lose(&mut self, step: Step, shown: impl Fn(usize) -> bool) {
        match step {
            Step::Nothing => {}
            Step::Exceptions(most) => self.bound_exceptions(most),
            Step::Hidden => {
                for (index, mark) in self.marks.iter_mut().enumerate() {
                    if *mark >= FIRST_CLASS && !shown(index) {
                        *mark = LOST;
                    }
                }
            }
            Step::Most(most) => {
                self.exhausted = true;
                self.rest = LOST;
                let mut kept = 0;
                for mark in &mut self.marks {
                    kept += usize::from(*mark >= FIRST_CLASS);
                    if *mark < FIRST_CLASS || kept > most {
                        *mark = LOST;
                    }
                }
            }
        }
        self.normalize();
    }

    fn encode(&self) -> String {
        format!("{POS_PREFIX}{}.{}", self.vector, URL_SAFE_NO_PAD.encode(coding::write(self)))
    }
}

/// What is lost to make room, one after the other.
#[derive(Debug, Clone, Copy)]
enum Step {
    Nothing,
    /// All but so many exceptions.
    Exceptions(usize),
    /// Positions of rooms that do not match.
    Hidden,
    /// All but so many.
    Most(usize),
}

impl FromStr for Pos {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > limits::SLIDING_POS {
            return Err(TokenError);
        }
        let (vector, told) =
            text.strip_prefix(POS_PREFIX).and_then(|pos| pos.split_once('.')).ok_or(TokenError)?;
        let bytes = URL_SAFE_NO_PAD.decode(told).map_err(|_| TokenError)?;
        coding::read(vector.parse()?, &bytes)
    }
}

#[cfg(test)]
mod tests;
