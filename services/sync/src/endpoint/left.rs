//! Rooms that the user has left, or was made to leave: up to and including the event that says so.
//!
//! What comes after the end of their stay is not theirs to see, even if more was done about them: who left and is then
//! banned, or invited once more and in vain, is told so by that member event alone.

use std::sync::Arc;

use super::{
    context::{Context, Problem, RenderedRoom},
    erasure,
    joined::{account_data, own_member, was_joined},
    params::StateAfter,
    response::{LeftRoom, State},
    state::{self, Wanted},
    timeline::{self, Timeline},
};
use crate::{
    limits,
    view::{Candidate, Membership, Room, Seen},
};

/// Makes the section of a room.
pub(crate) async fn left(
    context: &Context<'_>,
    candidate: &Candidate,
) -> Result<Option<RenderedRoom<LeftRoom>>, Problem> {
    let room = &candidate.room;
    let known = match context.since(room) {
        Some(since) if was_joined(context, room, &candidate.then, since).await? => Some(since),
        Some(_) | None => None,
    };
    let lower = context.since(room).unwrap_or(0);
    // Who came and went since the token saw the room in between; who was never in it, did not.
    let departure = departure(context, room, candidate.now.seq).await?.filter(|at| *at > lower);
    let mut timeline = match departure {
        Some(end) => timeline::of_other(context, room, lower, end).await?,
        None => Timeline { events: Vec::new(), limited: false, start: lower },
    };
    let mut state = match departure {
        Some(end) => {
            state::settle(context, room, &mut timeline, end).await?;
            let since = known.filter(|_| !context.request.full_state);
            let members = vec![context.user_id().to_owned()];
            state::collect(context, room, &Wanted { since, before: known, end, timeline: &timeline, members })
                .await?
        }
        None => state::State::default(),
    };
    let end = candidate.now.seq;
    let is_in_timeline = timeline.events.last().is_some_and(|last| last.event.seq >= end);
    let is_in_state = departure == Some(end) && (!timeline.events.is_empty() || timeline.limited);
    if !is_in_timeline
        && !is_in_state
        && let Some(own) = own_member(context, room, end).await?
    {
        let filter = &context.request.filter;
        let wanted = filter.wants_timeline(&room.id) && context.wants_in_timeline(&own);
        // Where the timeline does not tell it, or does not count for the state, the state does.
        if !wanted || context.request.state_after != StateAfter::No {
            state.events.retain(|event| !event.is_membership_of(context.user_id()));
            state.events.push(Arc::clone(&own));
        }
        if wanted {
            let membership = candidate.now.membership;
            timeline.events.push(Seen { event: own, membership, related: false });
        }
    }
    erasure::serve(context, &mut timeline, &mut state.events).await?;
    let events = context.show_state(&room.id, &state.events);
    let room = LeftRoom {
        state: State::new(events, context.request.state_after),
        timeline: timeline.frame(end),
        account_data: account_data(context, candidate),
    };
    Ok(Some(RenderedRoom { room, members: state.members, timeline, end }))
}

/// When the user was last in the room and ceased to be, as of a position that holds a member event of theirs.
pub(super) async fn departure(context: &Context<'_>, room: &Room, end: u64) -> Result<Option<u64>, Problem> {
    let mut at = end;
    for _ in 0..limits::DEPARTURE {
        match own_member(context, room, at.saturating_sub(1)).await? {
            Some(event) if event.membership == Some(Membership::Join) => return Ok(Some(at)),
            Some(event) if event.seq < at => at = event.seq,
            Some(_) | None => return Ok(None),
        }
    }
    Ok(None)
}
