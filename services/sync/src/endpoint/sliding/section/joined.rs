//! Rooms that the user is in.

use std::{collections::HashSet, sync::Arc};

use ruma::{OwnedEventId, OwnedUserId, UserId};
use serde::Deserialize;

use super::{
    super::{
        plan::{Chosen, How, Outcome},
        request::RequiredState,
        response::{Hero, Room, Timeline as ShownTimeline},
    },
    Section, live_events,
};
use crate::{
    endpoint::{
        context::{Context, Problem},
        erasure, timeline,
        timeline::Timeline,
        unread::unread,
    },
    view::{Event, MEMBER, RoomView},
};

const NAME: &str = "m.room.name";
const AVATAR: &str = "m.room.avatar";
const ALIAS: &str = "m.room.canonical_alias";

/// What is told of a room, read at once.
struct Read {
    anew: bool,
    state_changed: bool,
    members_changed: bool,
    name: Option<Option<String>>,
    avatar: Option<Option<String>>,
    heroes: Option<Vec<Hero>>,
    joined: u64,
    invited: u64,
    own_receipts: bool,
}

#[derive(Deserialize)]
struct Content {
    name: Option<String>,
    url: Option<String>,
    displayname: Option<String>,
    avatar_url: Option<String>,
}

/// Makes the section of a room that is loaded.
pub(super) async fn joined(
    context: &Context<'_>,
    chosen: &Chosen,
    live: Option<u64>,
) -> Result<Section, Problem> {
    let room = &chosen.candidate.room;
    let end = context.upto(room);
    let read = room.read(|view| read(context, chosen, view, end)).flatten().ok_or(Problem::Gone)?;
    let (expanded, all_state) = match chosen.how {
        How::News { expanded, all_state } if !read.anew => (expanded, all_state),
        How::News { .. } | How::Anew | How::End => (false, true),
    };
    let since = chosen.since.filter(|_| !read.anew);
    let lower = since.filter(|_| !expanded).unwrap_or(0);
    let mut timeline = timeline::of_member(context, room, lower, end).await?;
    let state = room.read(|view| {
        let me = context.user_id();
        let mut events = match since {
            Some(since) if !all_state => changed(view, &chosen.wish.state, me, (since, end)),
            Some(_) | None => all(view, &chosen.wish.state, me, end),
        };
        if chosen.wish.state.lazy_members {
            lazy_members(context, view, &mut events, &timeline, (since, end));
        }
        events
    });
    let mut state = state.ok_or(Problem::Gone)?;
    erasure::serve(context, &mut timeline, &mut state).await?;
    let answered = read.anew
        || expanded
        || all_state
        || read.members_changed
        || read.name.is_some()
        || read.avatar.is_some()
        || read.own_receipts
        || chosen.moved_direct
        || timeline.limited
        || !timeline.events.is_empty()
        || !state.is_empty();
    let outcome = Outcome { answered, state_changed: read.state_changed };
    let (room_id, anew) = (room.id.clone(), read.anew);
    if !answered {
        return Ok(Section { room_id, room: None, timeline, end, anew, outcome });
    }
    let unread = unread(context, &chosen.candidate).await?;
    let with_counts = read.anew || read.members_changed;
    let shown = Room {
        initial: read.anew,
        membership: chosen.candidate.now.membership,
        lists: chosen.lists.clone(),
        name: read.name,
        avatar: read.avatar,
        heroes: read.heroes,
        is_dm: chosen.is_direct,
        bump_stamp: chosen.bump,
        joined_count: with_counts.then_some(read.joined),
        invited_count: with_counts.then_some(read.invited),
        counts: unread.map(|unread| unread.total()),
        required_state: state.iter().filter_map(|event| context.show(&room.id, event, None, None)).collect(),
        timeline: Some(ShownTimeline {
            events: Vec::new(),
            limited: timeline.limited,
            expanded,
            prev_batch: timeline.frame(end).prev_batch,
            live: live_events(&timeline, live),
        }),
        stripped_state: None,
    };
    Ok(Section { room_id, room: Some(shown), timeline, end, anew, outcome })
}

/// Reads what is told beside state and timeline; `None` if memory does not reach back to the cut any more.
fn read(context: &Context<'_>, chosen: &Chosen, view: &RoomView, end: u64) -> Option<Read> {
    if !view.knows(end) {
        return None;
    }
    let me = context.user_id();
    // What happened since a point that memory does not reach back to is told by telling everything.
    let since = chosen.since.filter(|since| view.knows(*since));
    let changes = since.map(|since| view.changed(since, end));
    // That something is gone cannot be said.
    let has_lost = changes.iter().flatten().any(|((kind, key), changed)| {
        changed.new.is_none() && changed.old.is_some() && chosen.wish.state.wants(kind, key, me.as_str())
    });
    let anew = since.is_none() || has_lost;
    let moved = |kinds: &[&str]| {
        anew || changes.iter().flatten().any(|((kind, _), changed)| {
            kinds.contains(kind)
                && changed.old.as_ref().map(|event| &event.id) != changed.new.as_ref().map(|event| &event.id)
        })
    };
    let summary = view.summary_at(end, me);
    let heroes = summary.heroes.filter(|_| moved(&[MEMBER, NAME, ALIAS]));
    let content = |kind: &str| view.get_at(kind, "", end).and_then(|event| event.read_content::<Content>());
    let is_filled = |text: &String| !text.is_empty();
    let receipts = since.map(|since| view.receipts().between(since, end).any(|receipt| receipt.user == me));
    Some(Read {
        anew,
        state_changed: anew || changes.as_ref().is_some_and(|changes| !changes.is_empty()),
        members_changed: moved(&[MEMBER]),
        name: moved(&[NAME]).then(|| content(NAME).and_then(|content| content.name).filter(is_filled)),
        avatar: moved(&[AVATAR]).then(|| content(AVATAR).and_then(|content| content.url).filter(is_filled)),
        heroes: heroes.map(|heroes| heroes.into_iter().map(|user| hero(view, user, end)).collect()),
        joined: summary.joined,
        invited: summary.invited,
        own_receipts: receipts.unwrap_or_default(),
    })
}

fn hero(view: &RoomView, user_id: OwnedUserId, end: u64) -> Hero {
    let member = view.get_at(MEMBER, user_id.as_str(), end);
    let content = member.and_then(|event| event.read_content::<Content>());
    let (displayname, avatar_url) =
        content.map_or((None, None), |content| (content.displayname, content.avatar_url));
    Hero { user_id, displayname, avatar_url }
}

/// All required state at a position.
fn all(view: &RoomView, wanted: &RequiredState, me: &UserId, end: u64) -> Vec<Arc<Event>> {
    let me = me.as_str();
    if !wanted.has_wildcards() {
        let named = wanted.named(me).filter(|(kind, key)| wanted.wants(kind, key, me));
        return named.filter_map(|(kind, key)| view.get_at(kind, key, end).cloned()).collect();
    }
    let mut events = view.all_at(end, wanted.wants_all_members());
    events.retain(|event| wanted.wants(&event.kind, event.state_key.as_deref().unwrap_or_default(), me));
    if !wanted.wants_all_members() {
        let members = wanted.named(me).filter(|(kind, key)| *kind == MEMBER && wanted.wants(kind, key, me));
        events.extend(members.filter_map(|(kind, key)| view.get_at(kind, key, end).cloned()));
    }
    events
}

/// The required state that changed between two positions.
fn changed(
    view: &RoomView,
    wanted: &RequiredState,
    me: &UserId,
    (since, end): (u64, u64),
) -> Vec<Arc<Event>> {
    let changes = view.changed(since, end).into_iter();
    let changes = changes.filter(|((kind, key), _)| wanted.wants(kind, key, me.as_str()));
    changes.filter_map(|(_, changed)| changed.new).collect()
}

/// Adds the members whom the timeline concerns, and those who changed, unless there are too many events between.
fn lazy_members(
    context: &Context<'_>,
    view: &RoomView,
    events: &mut Vec<Arc<Event>>,
    timeline: &Timeline,
    (since, end): (Option<u64>, u64),
) {
    let mut told: HashSet<OwnedEventId> = events.iter().map(|event| event.id.clone()).collect();
    let mut users: Vec<&str> = Vec::new();
    for event in timeline.events.iter().map(|seen| &seen.event) {
        users.push(event.sender.as_str());
        if event.kind == MEMBER {
            users.extend(event.state_key.as_deref());
        }
    }
    let changes = since.filter(|_| !timeline.limited).map(|since| view.changed(since, end));
    let changes = changes.into_iter().flatten();
    users.extend(changes.filter(|((kind, _), _)| *kind == MEMBER).map(|((_, user), _)| user));
    if since.is_none() {
        users.push(context.user_id().as_str());
    }
    for user in users {
        if let Some(event) = view.get_at(MEMBER, user, end)
            && told.insert(event.id.clone())
        {
            events.push(Arc::clone(event));
        }
    }
}
