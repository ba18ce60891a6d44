//! Unread notifications of a room that the user is in.

use plexus_proto::{
    log::v1::HistoryVisibility,
    room::v1::{Direction, ListTimelineRequest},
};
use plexus_push::{Budget, Spent};
use tracing::error;

use super::{
    context::{Context, Problem},
    effort::Work,
};
use crate::{
    limits,
    upstream::{signed, unsigned},
    view::{Candidate, Event, Tally, Unread},
};

impl Work for Tally {
    fn run(&mut self, budget: &mut Budget) -> Result<(), Spent> {
        Self::run(self, budget)
    }
}

/// Counts what is unread in a room that is loaded: from memory, as far as that goes. Where that is too much work, it is
/// what was last known, or nothing.
pub(crate) async fn unread(context: &Context<'_>, candidate: &Candidate) -> Result<Option<Unread>, Problem> {
    let room = &candidate.room;
    let user = context.user_id();
    let mut tally =
        room.tally(context.attention.member(user, candidate), context.upto(room)).ok_or(Problem::Gone)?;
    let mut pages = 0;
    loop {
        let Some((worked, done)) = context.service.effort.spend(user, context.at_once, tally).await else {
            return Ok(room.last_count(user));
        };
        tally = worked;
        if done.is_err() {
            // Another answer goes on from here, if it can.
            if let Some(counter) = tally.so_far() {
                room.counted(user, counter);
            }
            return Ok(room.last_count(user));
        }
        if pages == limits::UNREAD_PAGES || !ask(context, candidate, &mut tally).await? {
            break;
        }
        pages += 1;
    }
    let counter = tally.finish();
    let unread = counter.unread().clone();
    room.counted(user, counter);
    Ok(Some(unread))
}

/// Asks for what is not in memory, if there is anything.
async fn ask(context: &Context<'_>, candidate: &Candidate, tally: &mut Tally) -> Result<bool, Problem> {
    let Some((from, to)) = tally.asks().filter(|(from, to)| from > to) else { return Ok(false) };
    let room = &candidate.room;
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
        Err(refused) if refused.is_refusal() => return Ok(false),
        Err(failure) => return Err(failure.into()),
    };
    let read = |stored| {
        Event::stored(stored, HistoryVisibility::Shared)
            .inspect_err(
                |failure| error!(room.id = %room.id, error = %failure, "stored event cannot be read"),
            )
            .ok()
    };
    tally.go_on(page.events.into_iter().filter_map(read), page.next.map(unsigned));
    Ok(true)
}
