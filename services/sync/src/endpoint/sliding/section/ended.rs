//! Rooms that the user was in, or was invited to, and is no more: up to and including the event that says so.

use std::sync::Arc;

use plexus_proto::room::v1::StateKey;

use super::{
    super::{
        plan::{Chosen, How, Outcome},
        response::{Room, Timeline as ShownTimeline},
    },
    Section, live_events, nothing,
};
use crate::{
    endpoint::{
        context::{Context, Problem},
        erasure,
        joined::own_member,
        left, state, timeline,
    },
    view::{Event, Seen},
};

/// Makes the section.
pub(super) async fn ended(
    context: &Context<'_>,
    chosen: &Chosen,
    live: Option<u64>,
) -> Result<Section, Problem> {
    let candidate = &chosen.candidate;
    let room = &candidate.room;
    let lower = chosen.since.unwrap_or(0).min(candidate.now.seq.saturating_sub(1));
    let end = candidate.now.seq;
    let departure = left::departure(context, room, end).await?;
    let mut timeline = match departure.filter(|at| *at > lower) {
        Some(at) => timeline::of_other(context, room, lower, at).await?,
        None => nothing(),
    };
    let own = own_member(context, room, end).await?;
    let mut events = match departure {
        Some(at) => required_state(context, chosen, at).await?,
        None => Vec::new(),
    };
    if let Some(own) = own {
        events.retain(|event| !event.is_membership_of(context.user_id()));
        events.push(Arc::clone(&own));
        if timeline.events.last().is_none_or(|last| last.event.seq < end) {
            let membership = candidate.now.membership;
            timeline.events.push(Seen { event: own, membership, related: false });
        }
    }
    erasure::serve(context, &mut timeline, &mut events).await?;
    let anew = chosen.since.is_none();
    let room = Room {
        initial: anew,
        membership: candidate.now.membership,
        lists: chosen.lists.clone(),
        name: None,
        avatar: None,
        heroes: None,
        is_dm: chosen.is_direct,
        bump_stamp: chosen.bump,
        joined_count: None,
        invited_count: None,
        counts: None,
        required_state: events
            .iter()
            .filter_map(|event| context.show(&candidate.room.id, event, None, None))
            .collect(),
        timeline: Some(ShownTimeline {
            events: Vec::new(),
            limited: timeline.limited,
            expanded: false,
            prev_batch: timeline.frame(end).prev_batch,
            live: live_events(&timeline, live),
        }),
        stripped_state: None,
    };
    debug_assert!(chosen.how == How::End, "rooms that the user is not in have ended");
    Ok(Section {
        room_id: candidate.room.id.clone(),
        room: Some(room),
        timeline,
        end,
        anew,
        outcome: Outcome { answered: true, state_changed: true },
    })
}

/// The required state when the user left.
async fn required_state(context: &Context<'_>, chosen: &Chosen, at: u64) -> Result<Vec<Arc<Event>>, Problem> {
    let wanted = &chosen.wish.state;
    let room = &chosen.candidate.room;
    let me = context.user_id().as_str();
    let upstream = &context.service.upstream;
    let found = if wanted.has_wildcards() {
        upstream.state_at(&room.id, at).await?
    } else {
        let key = |(kind, key): (&str, &str)| StateKey { r#type: kind.to_owned(), state_key: key.to_owned() };
        let keys: Vec<StateKey> = wanted.named(me).map(key).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        upstream.state_entries(&room.id, keys, Some(at)).await?
    };
    let mut events = state::read(room, found);
    events.retain(|event| wanted.wants(&event.kind, event.state_key.as_deref().unwrap_or_default(), me));
    Ok(events)
}
