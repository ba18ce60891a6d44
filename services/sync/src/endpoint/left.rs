//! Rooms that the user has left, or was made to leave: up to and including the event that says so.

use std::sync::Arc;

use plexus_proto::room::v1::StateKey;

use super::{
    context::{Context, Problem, Told},
    joined::{account_data, was_joined},
    response::{LeftRoom, State},
    state::{self, Wanted},
    timeline,
};
use crate::view::{At, Candidate, MEMBER, Seen};

/// Makes the section of a room.
pub(crate) async fn left(
    context: &Context<'_>,
    candidate: &Candidate,
) -> Result<Option<Told<LeftRoom>>, Problem> {
    let room = &candidate.room;
    let end = candidate.now.seq;
    let known = match context.since(room) {
        Some(since) if was_joined(context, room, &candidate.then, since).await? => Some(since),
        Some(_) | None => None,
    };
    // Who came and went since the token saw the room in between; who was never in it, did not.
    let was_in = known.is_some() || was_joined(context, room, &At::Unknown, end.saturating_sub(1)).await?;
    let lower = context.since(room).unwrap_or(0);
    let mut timeline = timeline::of_other(context, room, lower, end).await?;
    if timeline.events.is_empty() && !timeline.limited && context.request.filter.wants_timeline(&room.id) {
        // Nothing of the room may be seen but that one is out of it.
        let user = context.user_id().as_str();
        let keys = vec![StateKey { r#type: MEMBER.to_owned(), state_key: user.to_owned() }];
        let own = context.service.upstream.state_entries(&room.id, keys, Some(end)).await?;
        let own = state::read(room, own).into_iter().filter(|event| context.wants_in_timeline(event));
        let membership = candidate.now.membership;
        timeline.events = own.map(|event| Seen { event, membership }).collect();
    }
    let (events, members) = if was_in {
        let since = known.filter(|_| !context.request.full_state);
        let members = vec![context.user_id().to_owned()];
        let wanted = Wanted { since, end, timeline: &timeline, members };
        let state = state::collect(context, room, &wanted).await?;
        (context.show_state(&room.id, &state.events), state.members)
    } else {
        (Vec::<Arc<_>>::new(), Vec::new())
    };
    let room = LeftRoom {
        state: State::new(events, context.request.state_after),
        timeline: timeline.show(context, room, end),
        account_data: account_data(context, candidate),
    };
    Ok(Some(Told { room, members }))
}
