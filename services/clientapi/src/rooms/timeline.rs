//! Paging through the timeline of a room.

use std::collections::BTreeSet;

use plexus_matrix_http::{AuthedUser, MatrixError, token::TimelineToken};
use plexus_proto::room::v1::{
    Direction, ListTimelineRequest, ListTimelineResponse, RoomEvent, StatePoint, state_point::Point,
};
use ruma::{
    EventId, RoomId,
    api::client::{context::get_context, message::get_message_events},
    serde::Raw,
};

use super::{
    Rooms, ask, format,
    ignored::Ignored,
    page_filter::PageFilter,
    read::{EventParts, StateQuery, state_key as key},
    state::{hide_room, position},
};

/// At most so many events are answered at once.
const MAX_PAGE: u32 = 1000;

/// All there are.
const MEMBERSHIPS: [&str; 5] = ["invite", "join", "knock", "leave", "ban"];

/// What a client wants of a timeline.
pub(crate) struct PageRequest<'a> {
    pub(crate) room_id: &'a RoomId,
    pub(crate) direction: ruma::api::Direction,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
    pub(crate) limit: u64,
    pub(crate) filter: &'a PageFilter,
}

/// An event whose surroundings a client wants.
pub(crate) struct ContextRequest<'a> {
    pub(crate) room_id: &'a RoomId,
    pub(crate) event_id: &'a EventId,
    pub(crate) limit: u64,
    pub(crate) filter: &'a PageFilter,
}

/// A stretch of a timeline to read.
pub(super) struct Stretch {
    pub(super) direction: Direction,
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    pub(super) limit: u32,
}

impl Rooms {
    /// Reads a page of the timeline, as the user may see it.
    pub(crate) async fn page(
        &self,
        user: &AuthedUser,
        request: PageRequest<'_>,
    ) -> Result<get_message_events::v3::Response, MatrixError> {
        let room_id = request.room_id;
        let from = request.from.map(|token| position(token, room_id)).transpose()?;
        let to = request.to.map(|token| position(token, room_id)).transpose()?;
        let stretch = Stretch {
            direction: match request.direction {
                ruma::api::Direction::Backward => Direction::Backward,
                ruma::api::Direction::Forward => Direction::Forward,
            },
            from,
            to,
            limit: page_size(request.limit, request.filter),
        };
        let ignored = self.ignored(&user.id).await?;
        let page = self.list(user, room_id, &stretch, request.filter, &ignored).await?;
        let wanted = (request.filter, &ignored);
        let page = self.with_history(user, room_id, &stretch, wanted, page).await?;
        let mut response = get_message_events::v3::Response::new();
        response.start = match request.from {
            Some(from) => from.to_owned(),
            None => token(page.start),
        };
        // A filter that wants nothing of this room has nothing further down either.
        response.end = page.next.filter(|_| request.filter.wants_room(room_id)).map(token);
        if request.filter.is_lazy() {
            let newest = match request.direction {
                ruma::api::Direction::Backward => page.events.first(),
                ruma::api::Direction::Forward => page.events.last(),
            };
            if let Some(newest) = newest {
                let members = self.senders_at(user, room_id, &page.events, newest).await?;
                response.state = format::all_shown(&members, user);
            }
        }
        response.chunk = self.bundled(user, room_id, &ignored, &page.events).await?;
        Ok(response)
    }

    /// Reads an event with those around it, as the user may see them, and the state after the last of them.
    pub(crate) async fn context(
        &self,
        user: &AuthedUser,
        request: ContextRequest<'_>,
    ) -> Result<get_context::v3::Response, MatrixError> {
        let ContextRequest { room_id, event_id, limit, filter } = request;
        let (event, ignored) =
            tokio::try_join!(self.find_event(room_id, &user.id, event_id), self.ignored(&user.id))?;
        if event.position == 0 || ignored.hides(&event) {
            // It has no place in the timeline.
            return Err(MatrixError::not_found("Event not found"));
        }
        let limit = if limit == 0 { 0 } else { page_size(limit, filter) };
        let half = limit.div_ceil(2);
        let stretch = |direction, from, limit| Stretch { direction, from: Some(from), to: None, limit };
        let earlier = stretch(Direction::Backward, event.position - 1, half);
        let later = stretch(Direction::Forward, event.position, limit - half);
        let (before, after) = tokio::try_join!(
            self.list(user, room_id, &earlier, filter, &ignored),
            self.list(user, room_id, &later, filter, &ignored),
        )?;
        let start = token(before.next.unwrap_or_else(|| edge(&before.events, event.position) - 1));
        let end = token(after.next.unwrap_or_else(|| edge(&after.events, event.position)));
        // All in one question; then each part back to its place.
        let count_before = before.events.len();
        let all = before.events.into_iter().chain([event]).chain(after.events).collect::<Vec<_>>();
        let state = self.state_around(user, room_id, &all, filter).await?;
        let mut shown = self.bundled(user, room_id, &ignored, &all).await?;
        if shown.len() != all.len() {
            // One that is broken was left out.
            shown = all.iter().map(|event| format::shown(event, user)).collect::<Result<_, _>>()?;
        }
        let mut response = get_context::v3::Response::new();
        response.start = Some(start);
        response.end = Some(end);
        response.events_after = shown.split_off((count_before + 1).min(shown.len()));
        response.event = shown.pop();
        response.events_before = shown;
        response.state = format::all_shown(&state, user);
        Ok(response)
    }

    /// Reads one event, as the user may see it.
    pub(crate) async fn event<T>(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Raw<T>, MatrixError> {
        let (event, ignored) =
            tokio::try_join!(self.find_event(room_id, &user.id, event_id), self.ignored(&user.id))?;
        if ignored.hides(&event) {
            return Err(MatrixError::not_found("Event not found"));
        }
        let shown = self.bundled(user, room_id, &ignored, &[event]).await?.pop();
        shown.ok_or_else(MatrixError::internal)
    }

    pub(super) async fn list(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        stretch: &Stretch,
        filter: &PageFilter,
        ignored: &Ignored,
    ) -> Result<ListTimelineResponse, MatrixError> {
        if stretch.limit == 0 {
            let start = stretch.from.unwrap_or_default();
            return Ok(ListTimelineResponse { events: Vec::new(), next: Some(start), start });
        }
        // Asked even if the filter wants nothing: who may not read the room is told so.
        let limit = if filter.wants_room(room_id) { stretch.limit } else { 1 };
        let request = ListTimelineRequest {
            room_id: room_id.to_string(),
            viewer: user.id.to_string(),
            direction: stretch.direction.into(),
            from: stretch.from,
            to: stretch.to,
            limit,
            filter: Some(filter.for_upstream(ignored)),
        };
        let mut page = hide_room(ask(self.queries.clone().list_timeline(request)).await)?;
        if !filter.wants_room(room_id) {
            page.events.clear();
        }
        Ok(page)
    }

    /// Reads the state after the last of some events, as far as it is wanted with them.
    async fn state_around(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        events: &[RoomEvent],
        filter: &PageFilter,
    ) -> Result<Vec<RoomEvent>, MatrixError> {
        let Some(last) = events.last().filter(|_| filter.wants_room(room_id)) else { return Ok(Vec::new()) };
        let mut query = StateQuery { at: Some(after_event(last)), ..StateQuery::default() };
        if filter.is_lazy() {
            query.not_memberships = MEMBERSHIPS.map(ToOwned::to_owned).to_vec();
        }
        let mut state = hide_room(self.state(room_id, Some(&user.id), query).await)?;
        if filter.is_lazy() {
            state.append(&mut self.senders_at(user, room_id, events, last).await?);
        }
        state.retain(|event| filter.wants(event));
        Ok(state)
    }

    /// Reads the member events of the senders of some events, in the state after one of them.
    async fn senders_at(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        events: &[RoomEvent],
        at: &RoomEvent,
    ) -> Result<Vec<RoomEvent>, MatrixError> {
        let senders = events.iter().map(|event| Ok(EventParts::of(event)?.sender));
        let senders = senders.collect::<Result<BTreeSet<_>, MatrixError>>()?;
        let keys = senders.iter().map(|sender| key("m.room.member", sender)).collect();
        hide_room(self.state_entries(room_id, Some(&user.id), keys, Some(after_event(at))).await)
    }
}

/// The limit of the request and that of its filter both hold.
fn page_size(limit: u64, filter: &PageFilter) -> u32 {
    u32::try_from(limit.min(filter.limit())).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE)
}

pub(super) fn token(position: i64) -> String {
    TimelineToken(position).to_string()
}

fn after_event(event: &RoomEvent) -> StatePoint {
    StatePoint { point: Some(Point::AfterEventId(event.event_id.clone())) }
}

/// Position of the last of some events in the direction of reading; without any, of the one they lie around.
fn edge(events: &[RoomEvent], around: i64) -> i64 {
    events.last().map_or(around, |event| event.position)
}
