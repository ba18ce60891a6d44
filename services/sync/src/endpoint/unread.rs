//! Unread notifications of a room that the user is in.

use plexus_proto::{
    log::v1::HistoryVisibility,
    room::v1::{Direction, ListTimelineRequest},
};
use tracing::error;

use super::context::{Context, Problem};
use crate::{
    limits,
    upstream::{signed, unsigned},
    view::{Candidate, Counting, Event, Member, Unread},
};

/// The user as a member of a room.
pub(crate) fn member<'a>(context: &'a Context<'_>, candidate: &'a Candidate) -> Member<'a> {
    Member {
        user: context.user_id(),
        room: &candidate.room.id,
        rules: &context.rules,
        rules_seq: context.rules_seq,
        joined_since: candidate.since,
    }
}

/// Counts what is unread in a room that is loaded: from memory, as far as that goes.
pub(crate) async fn unread(context: &Context<'_>, candidate: &Candidate) -> Result<Unread, Problem> {
    let room = &candidate.room;
    let member = member(context, candidate);
    let upto = context.upto(room);
    let (mut from, to, mut walk) = match room.count(&member, upto).ok_or(Problem::Gone)? {
        Counting::Done(unread) => return Ok(unread),
        Counting::Ask { from, to, walk } => (from, to, walk),
    };
    for _ in 0..limits::UNREAD_PAGES {
        let request = ListTimelineRequest {
            room_id: room.id.to_string(),
            viewer: context.user_id().to_string(),
            direction: Direction::Backward.into(),
            from: Some(signed(from)),
            to: Some(signed(to)),
            limit: limits::UNREAD_PAGE,
            ..ListTimelineRequest::default()
        };
        let page = match context.service.upstream.timeline(request).await {
            Ok(page) => page,
            // There is nothing that the user may see.
            Err(refused) if refused.is_refusal() => break,
            Err(failure) => return Err(failure.into()),
        };
        let read = |stored| {
            Event::stored(stored, HistoryVisibility::Shared)
                .inspect_err(
                    |failure| error!(room.id = %room.id, error = %failure, "stored event cannot be read"),
                )
                .ok()
        };
        let events: Vec<Event> = page.events.into_iter().filter_map(read).collect();
        room.go_on(&member, &mut walk, &events).ok_or(Problem::Gone)?;
        match page.next.map(unsigned) {
            Some(next) if next > to && next < from => from = next,
            Some(_) | None => break,
        }
    }
    Ok(room.counted(context.user_id(), *walk))
}
