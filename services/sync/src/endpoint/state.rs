//! The state of a room in an answer: what the timeline of the answer builds on.
//!
//! The state is told up to the start of the timeline, and the client applies the timeline to it. Where an event that
//! holds an entry at the end is not in the timeline, because a filter hides it or nothing sent it, the state tells the
//! entry as it is at the end: a client misses no change. [`settle`] sees to it that the timeline does not undo that.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use plexus_proto::{
    log::v1::HistoryVisibility,
    room::v1::{RoomEvent, StateKey},
};
use ruma::{EventId, OwnedUserId};
use tracing::error;

use super::{
    context::{Context, Problem},
    filter::Redundant,
    lazy::Sent,
    params::StateAfter,
    timeline::Timeline,
};
use crate::{
    upstream::StateDelta,
    view::{Changed, Event, MEMBER, Room, RoomView},
};

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// What the client knows; unset if it is to be told everything.
    pub(crate) since: Option<u64>,
    /// What the timeline goes on from; unset if the client was not in the room then. Not before `since`, if that is set.
    pub(crate) before: Option<u64>,
    /// End of the timeline.
    pub(crate) end: u64,
    pub(crate) timeline: &'a Timeline,
    /// Members to tell beside the senders, where members are loaded lazily.
    pub(crate) members: Vec<OwnedUserId>,
}

/// The state, and which members it and the timeline tell.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) members: Vec<Sent>,
}

type Key = (String, String);
type Slot = Option<Arc<Event>>;

/// An entry at the start of the timeline and at its end.
#[derive(Debug)]
struct Entry {
    /// Unset if the client knows it.
    start: Slot,
    end: Slot,
}

/// Collects the state.
pub(crate) async fn collect(
    context: &Context<'_>,
    room: &Room,
    wanted: &Wanted<'_>,
) -> Result<State, Problem> {
    let lazily = context.lazy.is_some();
    let mut entries = match wanted.since {
        Some(since) => changed_since(context, room, since, wanted).await?,
        None => all(context, room, wanted, lazily).await?,
    };
    if lazily
        && wanted.since.is_none()
        && let Some(before) = wanted.before
    {
        // All of the state is wanted, of which members are no part. Those who changed in a gap are told as ever.
        let changed = changed_since(context, room, before, wanted).await?;
        entries.extend(changed.into_iter().filter(Entry::is_of_member));
    }
    let shown: HashSet<&EventId> = wanted.timeline.events.iter().map(|seen| &*seen.event.id).collect();
    let after = context.request.state_after != StateAfter::No;
    let choose = |entry: Entry| match entry.end {
        Some(end) if !after && shown.contains(&*end.id) => entry.start,
        end => end,
    };
    let mut state = State { events: entries.into_iter().filter_map(choose).collect(), members: Vec::new() };
    if let Some((device, redundant)) = &context.lazy {
        let told: HashSet<_> = state.events.iter().map(|event| event.id.clone()).collect();
        let members = lazy_members(context, room, wanted, after).await?;
        for (user, end, before) in members {
            let event = match end {
                Some(end) if !after && shown.contains(&*end.id) => before,
                end => end,
            };
            let Some(event) = event.filter(|event| !told.contains(&event.id)) else {
                continue;
            };
            let known = *redundant == Redundant::LeftOut
                && wanted.since.is_some()
                && device.knows(&room.id, &user, &event.id);
            if !known {
                state.events.push(event);
            }
        }
        let in_timeline = wanted.timeline.events.iter().map(|seen| &seen.event);
        for event in state.events.iter().chain(in_timeline).filter(|event| event.kind == MEMBER) {
            let user = event.state_key.as_deref().and_then(|user| OwnedUserId::try_from(user).ok());
            if let Some(user) = user {
                state.members.push((room.id.clone(), user, event.id.clone()));
            }
        }
    }
    Ok(state)
}

/// Has a timeline begin after whatever would lead a client to a state that the room does not have: an event that set what
/// another set later which the user may not see, or a filter hides, or which came into force by no event of the timeline.
/// The client applies the timeline to the state, so the later one could not be told.
pub(crate) async fn settle(
    context: &Context<'_>,
    room: &Room,
    timeline: &mut Timeline,
    end: u64,
) -> Result<(), Problem> {
    if context.request.state_after != StateAfter::No {
        return Ok(());
    }
    let settings = timeline.settings();
    if settings.is_empty() {
        return Ok(());
    }
    let in_memory = room.read(|view| {
        let holds = |(kind, key, id): &&(&str, &str, &EventId)| {
            view.get_at(kind, key, end).is_some_and(|event| event.id == *id)
        };
        view.knows(end)
            .then(|| settings.iter().find(|setting| !holds(setting)).map(|(_, _, id)| (*id).to_owned()))
    });
    let stale = match in_memory.flatten() {
        Some(stale) => stale,
        None => {
            let key = |kind: &str, key: &str| StateKey { r#type: kind.to_owned(), state_key: key.to_owned() };
            let keys = settings.iter().map(|(kind, state_key, _)| key(kind, state_key)).collect();
            let events = context.service.upstream.state_entries(&room.id, keys, Some(end)).await?;
            let held: HashSet<_> = read(room, events).into_iter().map(|event| event.id.clone()).collect();
            let ids = settings.iter().map(|(_, _, id)| *id);
            ids.into_iter().find(|id| !held.contains(*id)).map(ToOwned::to_owned)
        }
    };
    if let Some(stale) = stale {
        timeline.cut_after(&stale, end);
    }
    Ok(())
}

impl Entry {
    fn is_of_member(&self) -> bool {
        self.start.as_ref().or(self.end.as_ref()).is_some_and(|event| event.kind == MEMBER)
    }
}

/// The entries that changed since a point, each as the client does not know it.
async fn changed_since(
    context: &Context<'_>,
    room: &Room,
    since: u64,
    wanted: &Wanted<'_>,
) -> Result<Vec<Entry>, Problem> {
    let (start, end) = (wanted.timeline.start, wanted.end);
    let in_memory = room.read(|view| {
        let entries = |view: &RoomView| {
            let changed = view.changed(since, end).into_iter();
            changed
                .map(|((kind, state_key), Changed { old, new })| {
                    let at_start =
                        if start <= since { None } else { view.get_at(kind, state_key, start).cloned() };
                    let is_news =
                        at_start.as_ref().map(|event| &event.id) != old.as_ref().map(|event| &event.id);
                    Entry { start: at_start.filter(|_| is_news), end: new }
                })
                .collect()
        };
        view.knows(since).then(|| entries(view))
    });
    match in_memory.flatten() {
        Some(entries) => Ok(entries),
        None => delta_from_upstream(context, room, since, start, end).await,
    }
}

/// All entries, without members if those are loaded lazily.
async fn all(
    context: &Context<'_>,
    room: &Room,
    wanted: &Wanted<'_>,
    lazily: bool,
) -> Result<Vec<Entry>, Problem> {
    let (start, end) = (wanted.timeline.start, wanted.end);
    let in_memory = room.read(|view| view.knows(start).then(|| all_from_memory(view, start, end, lazily)));
    match in_memory.flatten() {
        Some(entries) => Ok(entries),
        None => all_from_upstream(context, room, start, end, lazily).await,
    }
}

fn all_from_memory(view: &RoomView, start: u64, end: u64, lazily: bool) -> Vec<Entry> {
    let changed = view.changed(start, end);
    let wants = |kind: &str| !(lazily && kind == MEMBER);
    let is_same = |event: &Arc<Event>| {
        let state_key = event.state_key.as_deref().unwrap_or_default();
        !changed.contains_key(&(event.kind.as_str(), state_key))
    };
    let all = view.all_at(start, !lazily).into_iter().filter(is_same);
    let mut entries: Vec<Entry> =
        all.map(|event| Entry { start: Some(Arc::clone(&event)), end: Some(event) }).collect();
    let changed = changed.iter().filter(|((kind, _), _)| wants(kind));
    entries
        .extend(changed.map(|(_, changed)| Entry { start: changed.old.clone(), end: changed.new.clone() }));
    entries
}

async fn delta_from_upstream(
    context: &Context<'_>,
    room: &Room,
    since: u64,
    start: u64,
    end: u64,
) -> Result<Vec<Entry>, Problem> {
    let to_start = delta(context, room, since, start).await?;
    let mut to_end = delta(context, room, start, end).await?;
    let mut entries = Vec::new();
    for (key, at_start) in to_start {
        let at_end = to_end.remove(&key).unwrap_or_else(|| at_start.clone());
        entries.push(Entry { start: at_start, end: at_end });
    }
    entries.extend(to_end.into_values().map(|end| Entry { start: None, end }));
    Ok(entries)
}

async fn all_from_upstream(
    context: &Context<'_>,
    room: &Room,
    start: u64,
    end: u64,
    lazily: bool,
) -> Result<Vec<Entry>, Problem> {
    let at_start = if start == 0 {
        Vec::new()
    } else {
        read(room, context.service.upstream.state_at(&room.id, start).await?)
    };
    let mut to_end = delta(context, room, start, end).await?;
    let wants = |event: &Arc<Event>| !(lazily && event.kind == MEMBER);
    let mut entries = Vec::new();
    for event in at_start.into_iter().filter(wants) {
        let at_end = to_end.remove(&key_of(&event)).unwrap_or_else(|| Some(Arc::clone(&event)));
        entries.push(Entry { start: Some(event), end: at_end });
    }
    let new = to_end.into_values().filter(|event| event.as_ref().is_none_or(wants));
    entries.extend(new.map(|end| Entry { start: None, end }));
    Ok(entries)
}

/// What changes between two points, with what it becomes.
async fn delta(
    context: &Context<'_>,
    room: &Room,
    from: u64,
    to: u64,
) -> Result<HashMap<Key, Slot>, Problem> {
    if from >= to {
        return Ok(HashMap::new());
    }
    let in_memory = room.read(|view| {
        let own = |((kind, key), changed): ((&str, &str), Changed)| {
            ((kind.to_owned(), key.to_owned()), changed.new)
        };
        view.knows(from).then(|| view.changed(from, to).into_iter().map(own).collect())
    });
    if let Some(changed) = in_memory.flatten() {
        return Ok(changed);
    }
    let StateDelta { changed, removed } = context.service.upstream.state_delta(&room.id, from, to).await?;
    let mut slots: HashMap<Key, Slot> =
        read(room, changed).into_iter().map(|event| (key_of(&event), Some(event))).collect();
    slots.extend(removed.into_iter().map(|key| ((key.r#type, key.state_key), None)));
    Ok(slots)
}

/// The members that a client needs to show the timeline: user, member event at the end, member event at the start.
async fn lazy_members(
    context: &Context<'_>,
    room: &Room,
    wanted: &Wanted<'_>,
    after: bool,
) -> Result<Vec<(OwnedUserId, Slot, Slot)>, Problem> {
    let mut users = Vec::new();
    let mut seen = HashSet::new();
    for event in wanted.timeline.events.iter().map(|seen| &seen.event) {
        // Who comes in with the timeline is known from there.
        let comes_in = event.kind == MEMBER && event.state_key.as_deref() == Some(event.sender.as_str());
        if seen.insert(event.sender.clone()) && (!comes_in || after) {
            users.push(event.sender.clone());
        }
    }
    users.extend(wanted.members.iter().filter(|user| seen.insert((*user).clone())).cloned());
    let (start, end) = (wanted.timeline.start, wanted.end);
    let in_memory = room.read(|view| {
        let get = |user: &OwnedUserId, at| view.get_at(MEMBER, user.as_str(), at).cloned();
        view.knows(start).then(|| {
            users.iter().map(|user| (user.clone(), get(user, end), get(user, start))).collect::<Vec<_>>()
        })
    });
    if let Some(members) = in_memory.flatten() {
        return Ok(members);
    }
    let at_end = members_at(context, room, &users, end).await?;
    let at_start = members_at(context, room, &users, start).await?;
    let of = |slots: &HashMap<Key, Arc<Event>>, user: &OwnedUserId| {
        slots.get(&(MEMBER.to_owned(), user.to_string())).cloned()
    };
    Ok(users.into_iter().map(|user| (user.clone(), of(&at_end, &user), of(&at_start, &user))).collect())
}

/// Member events of users at a point, from the room server.
async fn members_at(
    context: &Context<'_>,
    room: &Room,
    users: &[OwnedUserId],
    at: u64,
) -> Result<HashMap<Key, Arc<Event>>, Problem> {
    if users.is_empty() || at == 0 {
        return Ok(HashMap::new());
    }
    let key = |user: &OwnedUserId| StateKey { r#type: MEMBER.to_owned(), state_key: user.to_string() };
    let keys = users.iter().map(key).collect();
    let events = context.service.upstream.state_entries(&room.id, keys, Some(at)).await?;
    Ok(read(room, events).into_iter().map(|event| (key_of(&event), event)).collect())
}

/// Reads what the room server answered; what cannot be read is left out.
pub(crate) fn read(room: &Room, events: Vec<RoomEvent>) -> Vec<Arc<Event>> {
    let read = |event| {
        Event::stored(event, HistoryVisibility::Shared)
            .inspect_err(
                |failure| error!(room.id = %room.id, error = %failure, "stored event cannot be read"),
            )
            .map(Arc::new)
            .ok()
    };
    events.into_iter().filter_map(read).collect()
}

fn key_of(event: &Event) -> Key {
    (event.kind.clone(), event.state_key.clone().unwrap_or_default())
}
