//! Selects rooms: lists with their filters, order and windows, and subscriptions.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use ruma::{OwnedRoomId, RoomId};

use super::{
    pos::Class,
    request::{Filter, List, Request, Wish},
};
use crate::view::{Membership, RoomOfUser, RoomsOfUser};

/// Rooms of the spaces that filters name, as far as the user is in the space.
pub(super) type Spaces = HashMap<OwnedRoomId, HashSet<OwnedRoomId>>;

/// A room that matches.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub(super) wish: Arc<Wish>,
    pub(super) class: Class,
    /// Lists in whose windows it is, by their place in the request.
    pub(super) lists: Vec<usize>,
    /// Its place among all that match: subscriptions first, then by list.
    pub(super) rank: usize,
}

/// What matches.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// By index of the room.
    pub(super) rooms: HashMap<usize, Match>,
    /// By list: how many rooms it has.
    pub(super) counts: BTreeMap<String, usize>,
    /// What is wanted of rooms, each wish once.
    pub(super) wishes: Vec<(Class, Arc<Wish>)>,
}

/// Rules that a room matches.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
struct Rules<'a> {
    subscription: Option<&'a RoomId>,
    lists: Vec<usize>,
}

/// Finds what matches. Where there are more wishes than a token tells apart, all rooms are told by the union of all.
pub(super) fn find(
    rooms: &RoomsOfUser<'_>,
    request: &Request,
    spaces: &Spaces,
    most_classes: usize,
) -> Matches {
    let mut matches = Matches::default();
    let mut rules: HashMap<usize, (Rules<'_>, usize)> = HashMap::new();
    if !request.subscriptions.is_empty() {
        for (index, room) in rooms.rooms.iter().enumerate() {
            if let Some((id, _)) = request.subscriptions.get_key_value(&room.room.id)
                && may_subscribe(rooms, room)
            {
                let rank = rules.len();
                rules.insert(index, (Rules { subscription: Some(id), lists: Vec::new() }, rank));
            }
        }
    }
    let listed: Vec<usize> =
        (0..rooms.rooms.len()).filter(|index| is_listed(rooms, &rooms.rooms[*index])).collect();
    for (place, (name, list)) in request.lists.iter().enumerate() {
        let members = members(rooms, &listed, &list.filter, spaces);
        matches.counts.insert(name.clone(), members.len());
        for index in window(rooms, members, list) {
            let rank = rules.len();
            rules.entry(index).or_insert_with(|| (Rules::default(), rank)).0.lists.push(place);
        }
    }
    let lists: Vec<&List> = request.lists.values().collect();
    let mut wishes: HashMap<Rules<'_>, (Class, Arc<Wish>)> = HashMap::new();
    for (rules, _) in rules.values() {
        if !wishes.contains_key(rules) {
            let wish = rules.wish(request, &lists);
            wishes.insert(rules.clone(), (wish.class(), Arc::new(wish)));
        }
    }
    let distinct: HashMap<Class, Arc<Wish>> = wishes.values().cloned().collect();
    let union = (distinct.len() >= most_classes).then(|| {
        let union = request.union();
        (union.class(), Arc::new(union))
    });
    for (index, (rules, rank)) in rules {
        if let Some((class, wish)) = union.as_ref().or_else(|| wishes.get(&rules)) {
            let (class, wish) = (*class, Arc::clone(wish));
            matches.rooms.insert(index, Match { wish, class, lists: rules.lists, rank });
        }
    }
    matches.wishes = distinct.into_iter().chain(union).collect();
    matches
}

impl Rules<'_> {
    fn wish(&self, request: &Request, lists: &[&List]) -> Wish {
        let subscription = self.subscription.and_then(|room| request.subscriptions.get(room));
        let lists = self.lists.iter().filter_map(|place| lists.get(*place)).map(|list| &list.wish);
        lists.chain(subscription).fold(Wish::default(), |union, wish| union.with(wish))
    }
}

/// Whether lists have the room at all. Rooms that the user left by themselves are told of once, and are in no list.
fn is_listed(rooms: &RoomsOfUser<'_>, room: &RoomOfUser<'_>) -> bool {
    if room.forgotten {
        return false;
    }
    match room.now.membership {
        Membership::Join | Membership::Knock => true,
        Membership::Invite => rooms.shows_invite(room),
        // Who was banned or refused before they had anything to do with the room still has not.
        Membership::Ban => room.first < room.now.seq,
        Membership::Leave => room.first < room.now.seq && room.now.sender != *rooms.user,
    }
}

fn may_subscribe(rooms: &RoomsOfUser<'_>, room: &RoomOfUser<'_>) -> bool {
    let has_left = matches!(room.now.membership, Membership::Leave | Membership::Ban);
    is_listed(rooms, room) || !room.forgotten && has_left && room.first < room.now.seq
}

fn members(
    rooms: &RoomsOfUser<'_>,
    listed: &[usize],
    filter: &Filter,
    spaces: &Spaces,
) -> Vec<(Reverse<i64>, usize)> {
    if *filter == Filter::default() {
        return listed.iter().map(|index| (Reverse(rooms.rooms[*index].activity()), *index)).collect();
    }
    let wanted = filter.spaces.as_ref().map(|wanted| {
        let known = wanted.iter().filter_map(|space| spaces.get(space));
        known.flatten().map(|room| &**room).collect::<HashSet<&RoomId>>()
    });
    let matching = listed.iter().filter(|index| {
        let room = &rooms.rooms[**index];
        wanted.as_ref().is_none_or(|wanted| wanted.contains(&*room.room.id)) && matches(rooms, room, filter)
    });
    matching.map(|index| (Reverse(rooms.rooms[*index].activity()), *index)).collect()
}

fn matches(rooms: &RoomsOfUser<'_>, room: &RoomOfUser<'_>, filter: &Filter) -> bool {
    let id = &room.room.id;
    let is = |wanted: Option<bool>, value: &dyn Fn() -> bool| wanted.is_none_or(|wanted| wanted == value());
    let is_of = |types: &[Option<String>]| {
        let room_type = room.room.traits.room_type();
        types.iter().any(|wanted| wanted.as_deref() == room_type)
    };
    is(filter.is_dm, &|| rooms.direct.contains(id))
        && is(filter.is_encrypted, &|| room.room.traits.is_encrypted())
        && is(filter.is_invite, &|| room.now.membership == Membership::Invite)
        && !is_of(&filter.not_room_types)
        && filter.room_types.as_ref().is_none_or(|types| is_of(types))
        && filter.tags.as_ref().is_none_or(|tags| rooms.has_tag(id, tags))
        && (filter.not_tags.is_empty() || !rooms.has_tag(id, &filter.not_tags))
}

/// The rooms in the windows of a list, in its order: newest first.
fn window(rooms: &RoomsOfUser<'_>, mut members: Vec<(Reverse<i64>, usize)>, list: &List) -> Vec<usize> {
    let Some(end) = list.ranges.iter().map(|(_, to)| to.saturating_add(1)).max() else {
        return Vec::new();
    };
    let order = |one: &(Reverse<i64>, usize), other: &(Reverse<i64>, usize)| {
        one.0.cmp(&other.0).then_with(|| rooms.rooms[one.1].room.id.cmp(&rooms.rooms[other.1].room.id))
    };
    // Windows are small, and lists are not.
    if end < members.len() {
        members.select_nth_unstable_by(end, order);
        members.truncate(end);
    }
    members.sort_unstable_by(order);
    let is_in = |place: usize| list.ranges.iter().any(|(from, to)| (*from..=*to).contains(&place));
    let in_windows = members.into_iter().enumerate().filter(|(place, _)| is_in(*place));
    in_windows.map(|(_, (_, index))| index).collect()
}
