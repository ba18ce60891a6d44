//! `/initialSync` (deprecated): rooms with their state and their last events.

use futures::{StreamExt as _, TryStreamExt as _};
use plexus_matrix_http::{
    AuthedUser, MatrixError,
    invites::{INVITE_PERMISSION, blocks_invites},
    token::{PARTITION_COUNT, SyncToken},
};
use plexus_proto::{
    room::v1::{
        Direction, GetEventsRequest, ListCopiesRequest, ListRoomsForUserRequest, ListTimelineRequest,
        RoomEvent, TimelineFilter, UserRoom,
    },
    user::v1::{AccountData, GetUserSnapshotRequest},
};
use ruma::{EventId, RoomId};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Rooms, ask, broken_answer, format, read::StateQuery, state::hide_room, timeline::token};

/// Events of each room, unless the client wants fewer.
const EVENTS: u32 = 20;
/// Most events of each room.
const MAX_EVENTS: u32 = 100;
/// Most rooms of one answer.
const MAX_ROOMS: usize = 500;
/// Rooms that are read at the same time.
const ROOMS_AT_ONCE: usize = 8;

impl Rooms {
    /// Tells a room as the user may see it: its state, and the events that led to it.
    pub(crate) async fn initial_room(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        limit: Option<u64>,
    ) -> Result<Value, MatrixError> {
        let membership = self.memberships(room_id, &[&user.id]).await?;
        let membership = membership.of(&user.id).unwrap_or_default().to_owned();
        let data = self.account_data(user).await?;
        self.room_section(user, room_id, &membership, limit, &data).await
    }

    /// Tells all rooms that the user is in or invited to, unless they want no invites; with `archived`, also those that
    /// they have left.
    pub(crate) async fn initial_sync(
        &self,
        user: &AuthedUser,
        limit: Option<u64>,
        archived: bool,
    ) -> Result<Value, MatrixError> {
        let mut memberships = vec!["join".to_owned(), "invite".to_owned()];
        if archived {
            memberships.extend(["leave".to_owned(), "ban".to_owned()]);
        }
        let request =
            ListRoomsForUserRequest { user_id: user.id.to_string(), memberships, include_forgotten: false };
        let mut queries = self.queries.clone();
        let (listed, data) =
            tokio::try_join!(ask(queries.list_rooms_for_user(request)), self.account_data(user))?;
        // The rooms are read after this point, so that nothing is missed from here on.
        let mut end = SyncToken::default();
        for head in listed.heads {
            let slot = usize::try_from(head.partition).ok().filter(|index| *index < PARTITION_COUNT);
            if let Some(slot) = slot.and_then(|index| end.rooms.get_mut(index)) {
                *slot = head.seq;
            }
        }
        let permission = data.iter().find(|data| data.room_id.is_empty() && data.r#type == INVITE_PERMISSION);
        let no_invites = permission.is_some_and(|data| blocks_invites(&data.content));
        let told = listed.rooms.into_iter().filter(|room| !(no_invites && room.membership == "invite"));
        let sections = told.take(MAX_ROOMS).map(|room| {
            let data = &data;
            async move { self.section(user, room, limit, data).await }
        });
        let rooms: Vec<Value> = futures::stream::iter(sections).buffered(ROOMS_AT_ONCE).try_collect().await?;
        Ok(json!({
            "end": end.to_string(),
            "rooms": rooms,
            "presence": [],
            "account_data": shown_data(&data, ""),
        }))
    }

    async fn section(
        &self,
        user: &AuthedUser,
        room: UserRoom,
        limit: Option<u64>,
        data: &[AccountData],
    ) -> Result<Value, MatrixError> {
        let room_id =
            RoomId::parse(room.room_id.as_str()).map_err(|error| broken_answer("room ID", &error))?;
        if room.membership != "invite" {
            return match self.room_section(user, &room_id, &room.membership, limit, data).await {
                // They were never in it, or have just left.
                Err(error) if error.is("M_FORBIDDEN") => {
                    Ok(json!({ "room_id": room_id, "membership": room.membership }))
                }
                result => result,
            };
        }
        let mut told = json!({ "room_id": room_id, "membership": "invite" });
        // It is theirs to see, whatever the history visibility.
        let request = GetEventsRequest {
            event_ids: vec![room.event_id],
            room_id: room.room_id,
            ..GetEventsRequest::default()
        };
        if let Some(invite) = ask(self.queries.clone().get_events(request)).await?.events.pop() {
            let invite = self.as_served(user, invite).await?;
            told["invite"] = value(format::shown::<Value>(&invite, user)?.json())?;
        }
        Ok(told)
    }

    /// An event that was read without a viewer, as the user is served it: redacted if its sender asked to be erased.
    async fn as_served(&self, user: &AuthedUser, event: RoomEvent) -> Result<RoomEvent, MatrixError> {
        if event.erased_sender.is_empty() {
            return Ok(event);
        }
        let request =
            ListCopiesRequest { viewer: user.id.to_string(), event_ids: vec![event.event_id.clone()] };
        let copy = ask(self.queries.clone().list_copies(request)).await?.copies.pop();
        Ok(copy.unwrap_or(event))
    }

    async fn room_section(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        membership: &str,
        limit: Option<u64>,
        data: &[AccountData],
    ) -> Result<Value, MatrixError> {
        let ignored = self.ignored(&user.id).await?;
        let limit = limit.map_or(EVENTS, |limit| u32::try_from(limit).unwrap_or(MAX_EVENTS));
        let timeline = ListTimelineRequest {
            room_id: room_id.to_string(),
            viewer: user.id.to_string(),
            direction: Direction::Backward.into(),
            limit: limit.clamp(1, MAX_EVENTS),
            filter: Some(TimelineFilter { ignored_users: ignored.to_vec(), ..TimelineFilter::default() }),
            ..ListTimelineRequest::default()
        };
        // Who may not read the room learns no more than who asks for one that is not there.
        let state = hide_room(self.state(room_id, Some(&user.id), StateQuery::default()).await)?;
        let mut queries = self.queries.clone();
        let (mut page, info) = tokio::try_join!(ask(queries.list_timeline(timeline)), self.info(room_id))?;
        let first = page.events.last().map_or(page.start, |event| event.position - 1);
        if limit == 0 {
            page.events.clear();
        }
        page.events.reverse();
        let shown = |events: &[plexus_proto::room::v1::RoomEvent]| {
            let events = format::all_shown::<Value>(events, user);
            events.iter().map(|event| value(event.json())).collect::<Result<Vec<_>, MatrixError>>()
        };
        let start = if limit == 0 { page.start } else { first };
        let mut told = json!({
            "room_id": room_id,
            "messages": { "start": token(start), "end": token(page.start), "chunk": shown(&page.events)? },
            "state": shown(&state)?,
            "visibility": if info.published { "public" } else { "private" },
            "account_data": shown_data(data, room_id.as_str()),
        });
        if !membership.is_empty() {
            told["membership"] = Value::from(membership);
        }
        Ok(told)
    }

    async fn account_data(&self, user: &AuthedUser) -> Result<Vec<AccountData>, MatrixError> {
        let request = GetUserSnapshotRequest { user_id: user.id.to_string() };
        Ok(ask(self.user_streams.clone().get_user_snapshot(request)).await?.account_data)
    }

    /// Reads an event by its ID alone.
    pub(crate) async fn event_anywhere(
        &self,
        user: &AuthedUser,
        event_id: &EventId,
    ) -> Result<Value, MatrixError> {
        let request = GetEventsRequest {
            event_ids: vec![event_id.to_string()],
            viewer: user.id.to_string(),
            ..Default::default()
        };
        let found = ask(self.queries.clone().get_events(request)).await?.events.into_iter().next();
        let event = found.ok_or_else(|| MatrixError::not_found("Event not found"))?;
        if self.ignored(&user.id).await?.hides(&event) {
            return Err(MatrixError::not_found("Event not found"));
        }
        value(format::shown::<Value>(&event, user)?.json())
    }
}

fn value(json: &RawValue) -> Result<Value, MatrixError> {
    serde_json::from_str(json.get()).map_err(|error| broken_answer("event", &error))
}

/// The account data of a room, or global data; what is broken is left out.
fn shown_data(data: &[AccountData], room_id: &str) -> Vec<Value> {
    let wanted = data.iter().filter(|piece| piece.room_id == room_id);
    let shown = wanted.filter_map(|piece| {
        let content: Map<String, Value> = serde_json::from_slice(&piece.content).ok()?;
        Some(json!({ "type": piece.r#type, "content": content }))
    });
    shown.collect()
}
