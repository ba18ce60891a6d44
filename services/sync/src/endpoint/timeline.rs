//! The timeline of a room in an answer.

use std::{collections::HashSet, sync::Arc};

use plexus_matrix_http::token::TimelineToken;
use plexus_proto::{
    log::v1::HistoryVisibility,
    room::v1::{Direction, ListTimelineRequest},
};
use ruma::{EventId, RoomId};
use serde_json::value::RawValue;
use tracing::error;

use super::{
    context::{Context, Problem},
    relations::Relations,
    response,
};
use crate::{
    limits,
    upstream::{signed, unsigned},
    view::{Event, Membership, Rest, Room, Seen, Walk},
};

/// The end of a timeline.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Oldest first.
    pub(crate) events: Vec<Seen>,
    pub(crate) limited: bool,
    /// The position that the first event follows; the state is told up to here.
    pub(crate) start: u64,
}

/// Reads the last events in (`lower`, `upper`] for somebody who is joined at `upper`: from memory, as far as that goes.
pub(crate) async fn of_member(
    context: &Context<'_>,
    room: &Room,
    lower: u64,
    upper: u64,
) -> Result<Timeline, Problem> {
    let limit = context.request.filter.timeline_limit();
    if !context.request.filter.timeline.wants_room(&room.id) {
        return Ok(Timeline { events: Vec::new(), limited: false, start: lower });
    }
    if limit > 0 && context.request.filter.timeline.asks_for_relations() {
        return of_other(context, room, lower, upper).await;
    }
    // A filter may want few of many events.
    let wants_all = context.request.filter.timeline.wants_all() && context.attention.ignored.is_empty();
    let most = if wants_all { limit } else { usize::MAX };
    let visible =
        room.read(|view| view.visible(context.user_id(), (lower, upper), most)).ok_or(Problem::Gone)?;
    let walk = visible.choose(limit, |event| context.wants_in_timeline(event));
    finish(context, room, walk, lower, upper).await
}

/// Reads the last events in (`lower`, `upper`] for somebody who is not joined: the room server decides what they see.
pub(crate) async fn of_other(
    context: &Context<'_>,
    room: &Room,
    lower: u64,
    upper: u64,
) -> Result<Timeline, Problem> {
    let missing = context.request.filter.timeline_limit();
    if !context.request.filter.wants_timeline(&room.id) {
        return Ok(Timeline { events: Vec::new(), limited: false, start: lower });
    }
    let walk = Walk { events: Vec::new(), rest: Rest::Ask { from: upper, missing } };
    finish(context, room, walk, lower, upper).await
}

async fn finish(
    context: &Context<'_>,
    room: &Room,
    walk: Walk,
    lower: u64,
    upper: u64,
) -> Result<Timeline, Problem> {
    let Walk { mut events, rest } = walk;
    let limited = match rest {
        Rest::Complete => false,
        Rest::Limited => true,
        Rest::Ask { from, missing } => {
            let (mut older, limited) = ask(context, room, lower, from, missing).await?;
            older.append(&mut events);
            events = older;
            limited
        }
    };
    let start = match events.first() {
        Some(first) if limited => first.event.seq.saturating_sub(1),
        None if limited => upper,
        Some(_) | None => lower,
    };
    Ok(Timeline { events, limited, start })
}

/// Asks the room server for the last `missing` events in (`lower`, `from`]; tells whether there are more.
async fn ask(
    context: &Context<'_>,
    room: &Room,
    lower: u64,
    mut from: u64,
    missing: usize,
) -> Result<(Vec<Seen>, bool), Problem> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    // Newest first until the end.
    for _ in 0..limits::PAGES {
        let request = ListTimelineRequest {
            room_id: room.id.to_string(),
            viewer: context.user_id().to_string(),
            direction: Direction::Backward.into(),
            from: Some(signed(from)),
            to: Some(signed(lower)),
            limit: u32::try_from(missing - events.len()).unwrap_or(u32::MAX),
            filter: Some(context.request.filter.timeline.for_upstream()),
        };
        let page = match context.service.upstream.timeline(request).await {
            Ok(page) => page,
            // There is nothing that the user may see.
            Err(refused) if refused.is_refusal() => return Ok((reversed(events), false)),
            Err(failure) => return Err(failure.into()),
        };
        for stored in page.events {
            let membership = Membership::find(&stored.viewer_membership).unwrap_or(Membership::Leave);
            match Event::stored(stored, HistoryVisibility::Joined) {
                Ok(event) if event.seq > lower => {
                    let (related, gap_before) = (event.state_key.is_none(), event.gap_before);
                    if context.wants_in_timeline(&event) {
                        bytes += event.json.len();
                        events.push(Seen { event: Arc::new(event), membership, related });
                    }
                    // What lies before a gap is not told with what comes after it.
                    if gap_before {
                        return Ok((reversed(events), true));
                    }
                }
                Ok(_) => {}
                Err(failure) => error!(room.id = %room.id, error = %failure, "stored event cannot be read"),
            }
        }
        match page.next.map(unsigned) {
            Some(next)
                if next > lower
                    && next < from
                    && events.len() < missing
                    && bytes < limits::TIMELINE_ANSWER_BYTES =>
            {
                from = next;
            }
            next => return Ok((reversed(events), next.is_some_and(|next| next > lower))),
        }
    }
    Ok((reversed(events), true))
}

fn reversed(mut events: Vec<Seen>) -> Vec<Seen> {
    events.reverse();
    events
}

impl Timeline {
    /// Keys of the state events, each with the last event that sets it, from the end on.
    pub(crate) fn settings(&self) -> Vec<(&str, &str, &EventId)> {
        let mut seen = HashSet::new();
        let state =
            self.events.iter().rev().filter_map(|seen| Some((seen, seen.event.state_key.as_deref()?)));
        let last = state.filter(|(shown, key)| seen.insert((shown.event.kind.as_str(), *key)));
        last.map(|(shown, key)| (shown.event.kind.as_str(), key, &*shown.event.id)).collect()
    }

    /// Begins after an event, which is in the timeline.
    pub(crate) fn cut_after(&mut self, event_id: &EventId, upper: u64) {
        let Some(index) = self.events.iter().rposition(|seen| seen.event.id == event_id) else { return };
        self.events.drain(..=index);
        self.limited = true;
        self.start = self.events.first().map_or(upper, |first| first.event.seq.saturating_sub(1));
    }

    /// The timeline as the client gets it, still without its events.
    pub(crate) fn frame(&self, upper: u64) -> response::Timeline {
        let before = self.events.first().map_or(upper, |first| first.event.seq.saturating_sub(1));
        response::Timeline {
            events: Vec::new(),
            limited: self.limited,
            prev_batch: TimelineToken(signed(before)),
        }
    }

    /// The events as the client gets them.
    pub(crate) fn show(
        &self,
        context: &Context<'_>,
        room_id: &RoomId,
        relations: &Relations,
    ) -> Vec<Arc<RawValue>> {
        let shown = self.events.iter().filter_map(|seen| {
            let relations = relations.get(&seen.event);
            context.show(room_id, &seen.event, Some(seen.membership), relations)
        });
        shown.collect()
    }
}
