//! A request of sliding sync, whichever dialect it came in.

pub(crate) mod deployed;
pub(crate) mod merged;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use plexus_matrix_http::MatrixError;
use ruma::OwnedRoomId;

use super::pos::{Class, scope};
use crate::limits;

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) pos: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) conn_id: String,
    pub(crate) txn_id: Option<String>,
    pub(crate) lists: BTreeMap<String, List>,
    pub(crate) subscriptions: BTreeMap<OwnedRoomId, Wish>,
    pub(crate) extensions: Extensions,
}

/// A list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct List {
    /// From and to, both inclusive.
    pub(crate) ranges: Vec<(usize, usize)>,
    pub(crate) wish: Wish,
    pub(crate) filter: Filter,
}

/// What is wanted of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) limit: u16,
    pub(crate) state: RequiredState,
    /// Extensions in whose scope it is: bits of [`scope`].
    pub(crate) scopes: u8,
}

/// Which state of a room is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequiredState {
    /// Types and state keys; `*` stands for any, and `$ME` for the user.
    pub(crate) include: BTreeSet<(String, String)>,
    /// What is left out of that.
    pub(crate) exclude: BTreeSet<(String, String)>,
    /// Members whom the timeline concerns.
    pub(crate) lazy_members: bool,
}

/// Which rooms a list has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) is_dm: Option<bool>,
    pub(crate) is_encrypted: Option<bool>,
    pub(crate) is_invite: Option<bool>,
    pub(crate) spaces: Option<Vec<OwnedRoomId>>,
    /// `None` within stands for rooms without a type.
    pub(crate) room_types: Option<Vec<Option<String>>>,
    pub(crate) not_room_types: Vec<Option<String>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) not_tags: Vec<String>,
}

/// Extensions that are on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub(crate) to_device: Option<WantedInbox>,
    pub(crate) e2ee: bool,
    pub(crate) account_data: Option<Scope>,
    pub(crate) receipts: Option<Scope>,
    pub(crate) typing: Option<Scope>,
}

/// Which messages to the device are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WantedInbox {
    /// Token up to which they have arrived.
    pub(crate) since: Option<String>,
    /// Most that are told at once.
    pub(crate) limit: u32,
}

/// Which rooms an extension is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Names of lists; `None` for all.
    pub(crate) lists: Option<BTreeSet<String>>,
    /// Subscribed rooms; `None` for all.
    pub(crate) rooms: Option<BTreeSet<String>>,
}

impl Request {
    /// Refuses what is beyond the limits, and notes the extensions in whose scope lists and subscriptions are.
    pub(super) fn checked(mut self) -> Result<Self, MatrixError> {
        let refuse = |what: &str| Err(MatrixError::invalid_param(what.to_owned()));
        let (longest_conn, longest_list) = limits::SLIDING_NAMES;
        if self.conn_id.len() > longest_conn {
            return refuse("The `conn_id` is too long");
        }
        if self.lists.len() > limits::SLIDING_LISTS {
            return refuse("There are too many lists");
        }
        if self.subscriptions.len() > limits::SLIDING_SUBSCRIPTIONS {
            return refuse("There are too many room subscriptions");
        }
        for (name, list) in &self.lists {
            if name.len() > longest_list {
                return refuse("The name of a list is too long");
            }
            if list.ranges.len() > limits::SLIDING_RANGES {
                return refuse("A list has too many ranges");
            }
            if list.ranges.iter().any(|(from, to)| from > to) {
                return refuse("A range ends before it begins");
            }
            list.filter.check()?;
        }
        for wish in self.lists.values().map(|list| &list.wish).chain(self.subscriptions.values()) {
            if wish.limit > limits::SLIDING_TIMELINE.0 {
                return refuse("A `timeline_limit` is too large");
            }
            if wish.state.include.len() + wish.state.exclude.len() > limits::SLIDING_ENTRIES {
                return refuse("A required state has too many entries");
            }
        }
        let extensions = self.extensions.clone();
        for (name, list) in &mut self.lists {
            list.wish.scopes = scope::DIRECT | extensions.bits(|scope| scope.lists.as_ref(), name);
            list.wish.limit = list.wish.limit.min(limits::SLIDING_TIMELINE.1);
        }
        for (room, wish) in &mut self.subscriptions {
            wish.scopes = scope::DIRECT | extensions.bits(|scope| scope.rooms.as_ref(), room.as_str());
            wish.limit = wish.limit.min(limits::SLIDING_TIMELINE.1);
        }
        Ok(self)
    }

    /// What all lists and subscriptions together want.
    pub(super) fn union(&self) -> Wish {
        let wishes = self.lists.values().map(|list| &list.wish).chain(self.subscriptions.values());
        wishes.fold(Wish::default(), |union, wish| union.with(wish))
    }
}

impl Filter {
    fn check(&self) -> Result<(), MatrixError> {
        let counts = [
            self.spaces.as_ref().map_or(0, Vec::len),
            self.room_types.as_ref().map_or(0, Vec::len),
            self.not_room_types.len(),
            self.tags.as_ref().map_or(0, Vec::len),
            self.not_tags.len(),
        ];
        if counts.iter().sum::<usize>() > limits::SLIDING_LISTS {
            return Err(MatrixError::invalid_param("A filter has too many entries"));
        }
        Ok(())
    }
}

impl Extensions {
    /// Extensions that are on and tell what changed since the position, as bits of [`scope`].
    pub(super) fn on(&self) -> u8 {
        self.bits(|_| None, "") | if self.e2ee { scope::E2EE } else { 0 }
    }

    /// Extensions in whose scope something of this name is.
    fn bits(&self, names: impl Fn(&Scope) -> Option<&BTreeSet<String>>, name: &str) -> u8 {
        let of = [
            (scope::ACCOUNT_DATA, &self.account_data),
            (scope::RECEIPTS, &self.receipts),
            (scope::TYPING, &self.typing),
        ];
        let is_in =
            |scope: &Scope| names(scope).is_none_or(|names| names.contains("*") || names.contains(name));
        of.into_iter()
            .filter(|(_, scope)| scope.as_ref().is_some_and(is_in))
            .fold(0, |bits, (bit, _)| bits | bit)
    }
}

impl Wish {
    /// Both wishes together.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self {
            limit: self.limit.max(other.limit),
            state: self.state.with(&other.state),
            scopes: self.scopes | other.scopes,
        }
    }

    /// The class of rooms that are told by this wish.
    pub(super) fn class(&self) -> Class {
        Class { limit: self.limit, state: self.state.hash(), scopes: self.scopes }
    }
}

impl RequiredState {
    fn with(&self, other: &Self) -> Self {
        // What only one of both leaves out is wanted by the other.
        let exclude = match (self.include.is_empty(), other.include.is_empty()) {
            (_, true) => self.exclude.clone(),
            (true, _) => other.exclude.clone(),
            (false, false) => self.exclude.intersection(&other.exclude).cloned().collect(),
        };
        Self {
            include: self.include.union(&other.include).cloned().collect(),
            exclude,
            lazy_members: self.lazy_members || other.lazy_members,
        }
    }

    /// Whether all that the other wants is wanted.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.include.is_superset(&other.include)
            && self.exclude.is_subset(&other.exclude)
            && (self.lazy_members || !other.lazy_members)
    }

    /// The same on every replica and in every version, as tokens outlive both.
    fn hash(&self) -> u64 {
        let mut text = String::new();
        for (part, entries) in [("+", &self.include), ("-", &self.exclude)] {
            for (kind, key) in entries {
                text.extend([part, kind, "\u{0}", key, "\u{0}"]);
            }
        }
        text.push(if self.lazy_members { 'l' } else { 'n' });
        hash(&text)
    }

    /// Whether an entry of the state is wanted, but for members whom the timeline concerns.
    pub(super) fn wants(&self, kind: &str, state_key: &str, me: &str) -> bool {
        let is_in = |entries: &BTreeSet<(String, String)>| {
            entries.iter().any(|(of, key)| {
                (of == "*" || of == kind)
                    && (key == "*" || key == state_key || key == "$ME" && state_key == me)
            })
        };
        is_in(&self.include) && !is_in(&self.exclude)
    }

    /// Whether entries are wanted that are not named one by one.
    pub(super) fn has_wildcards(&self) -> bool {
        self.include.iter().any(|(kind, key)| kind == "*" || key == "*")
    }

    /// Whether members may be wanted whom nobody names.
    pub(super) fn wants_all_members(&self) -> bool {
        self.include.iter().any(|(kind, key)| (kind == "*" || kind == "m.room.member") && key == "*")
    }

    /// Entries that are named.
    pub(super) fn named<'a>(&'a self, me: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.include
            .iter()
            .map(move |(kind, key)| (kind.as_str(), if key == "$ME" { me } else { key.as_str() }))
    }
}

/// Eight bytes of a hash that does not change.
pub(super) fn hash(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = plexus_matrix_http::hash_token(text);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
