//! Rooms that the user is in.

use std::sync::Arc;

use plexus_proto::room::v1::StateKey;

use super::{
    context::{Context, Problem, RenderedRoom, data_event},
    ephemeral::ephemeral,
    erasure,
    response::{Events, JoinedRoom, Summary},
    state::{self, Wanted},
    timeline,
    unread::unread,
};
use crate::view::{At, Candidate, Event, MEMBER, Membership, Room, RoomView};

/// Makes the section of a room that is loaded; `None` if there is nothing to tell.
pub(crate) async fn joined(
    context: &Context<'_>,
    candidate: &Candidate,
) -> Result<Option<RenderedRoom<JoinedRoom>>, Problem> {
    let room = &candidate.room;
    let end = context.upto(room);
    // A client that was not in the room knows nothing of it.
    let known = match context.since(room) {
        Some(since) if was_joined(context, room, &candidate.then, since).await? => Some(since),
        Some(_) | None => None,
    };
    let mut timeline = timeline::of_member(context, room, known.unwrap_or(0), end).await?;
    if known.is_none() && context.since(room).is_some() {
        // The timeline does not go on from what the client may have kept of an earlier stay.
        timeline.limited = true;
    }
    state::settle(context, room, &mut timeline, end).await?;
    let since = known.filter(|_| !context.request.full_state);
    let summary = summary(context, room, since, end)?;
    let mut members = summary.heroes.clone().unwrap_or_default();
    if since.is_none() {
        members.push(context.user_id().to_owned());
    }
    let mut state =
        state::collect(context, room, &Wanted { since, before: known, end, timeline: &timeline, members })
            .await?;
    erasure::serve(context, &mut timeline, &mut state.events).await?;
    let events = context.show_state(&room.id, &state.events);
    let account_data = account_data(context, candidate);
    // What was told of an earlier stay is told anew.
    let ephemeral = ephemeral(context, room, known.filter(|_| !context.request.full_state), end)?;
    if known.is_some()
        && !context.request.full_state
        && events.is_empty()
        && timeline.events.is_empty()
        && !timeline.limited
        && account_data.events.is_empty()
        && ephemeral.events.events.is_empty()
        && !ephemeral.own_receipts
    {
        return Ok(None);
    }
    let unread = unread(context, candidate).await?;
    let by_thread = context.request.filter.by_thread();
    let counts = unread.as_ref().map(|unread| if by_thread { unread.main } else { unread.total() });
    let of_threads = unread.into_iter().flat_map(|unread| unread.threads).filter(|_| by_thread);
    let room = JoinedRoom {
        summary,
        state: super::response::State::new(events, context.request.state_after),
        timeline: timeline.frame(end),
        ephemeral: ephemeral.events,
        account_data,
        unread_notifications: counts.map(Into::into),
        unread_thread_notifications: of_threads.map(|(root, counts)| (root, counts.into())).collect(),
    };
    Ok(Some(RenderedRoom { room, members: state.members, timeline, end }))
}

/// Account data of a room, as far as the filter wants it.
pub(crate) fn account_data(context: &Context<'_>, candidate: &Candidate) -> Events {
    let filter = &context.request.filter.room_account_data;
    if !filter.wants_room(&candidate.room.id) {
        return Events::default();
    }
    let wanted = candidate.account_data.iter().filter(|(kind, _)| filter.wants_data(kind, context.user_id()));
    Events { events: wanted.filter_map(|(kind, content)| data_event(kind, content)).collect() }
}

/// Whether the user was in the room at a position.
pub(crate) async fn was_joined(
    context: &Context<'_>,
    room: &Room,
    then: &At,
    position: u64,
) -> Result<bool, Problem> {
    match then {
        At::Known(change) => return Ok(change.membership == Membership::Join),
        At::Nothing => return Ok(false),
        At::Unknown => {}
    }
    let event = own_member(context, room, position).await?;
    Ok(event.is_some_and(|event| event.membership == Some(Membership::Join)))
}

/// The user's member event at a position.
pub(crate) async fn own_member(
    context: &Context<'_>,
    room: &Room,
    position: u64,
) -> Result<Option<Arc<Event>>, Problem> {
    if position == 0 {
        return Ok(None);
    }
    let user = context.user_id().as_str();
    let in_memory =
        room.read(|view| view.knows(position).then(|| view.get_at(MEMBER, user, position).cloned()));
    if let Some(event) = in_memory.flatten() {
        return Ok(event);
    }
    let keys = vec![StateKey { r#type: MEMBER.to_owned(), state_key: user.to_owned() }];
    let found = context.service.upstream.state_entries(&room.id, keys, Some(position)).await?;
    Ok(state::read(room, found).into_iter().next())
}

/// Counts and heroes, if they may have changed.
fn summary(context: &Context<'_>, room: &Room, since: Option<u64>, end: u64) -> Result<Summary, Problem> {
    const SHAPING: [&str; 3] = [MEMBER, "m.room.name", "m.room.canonical_alias"];
    let changed = |view: &RoomView| match since {
        Some(since) if view.knows(since) => {
            view.changed(since, end).keys().any(|(kind, _)| SHAPING.contains(kind))
        }
        Some(_) | None => true,
    };
    let read = room.read(|view| {
        if !view.knows(end) {
            return None;
        }
        Some(changed(view).then(|| view.summary_at(end, context.user_id())))
    });
    // More happened since the cut than memory holds: the answer needs a later one.
    let summary = read.flatten().ok_or(Problem::Gone)?;
    Ok(summary.map_or_else(Summary::default, |summary| Summary {
        heroes: summary.heroes,
        joined: Some(summary.joined),
        invited: Some(summary.invited),
    }))
}
