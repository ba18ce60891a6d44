//! Events that relate to each other.

use std::collections::HashMap;

use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::room::v1::{
    Aggregations, Direction, GetAggregationsRequest, ListRelationsRequest, ListThreadsRequest, RoomEvent,
};
use ruma::{
    EventId, RoomId, UInt,
    api::client::threads::get_threads::v1::{self as get_threads, IncludeThreads},
    events::{AnyMessageLikeEvent, AnyTimelineEvent},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Rooms, ask, format,
    ignored::Ignored,
    read::EventParts,
    state::{hide_room, position},
    timeline::token,
};

/// Events answered if a client does not say how many it wants.
const DEFAULT_PAGE: u32 = 50;
/// At most so many events are answered at once.
const MAX_PAGE: u32 = 1000;
/// Events whose relations are asked for at once.
const EVENTS_AT_ONCE: usize = 1000;

/// Which relations a client wants.
#[derive(Debug)]
pub(crate) struct RelationsRequest<'a> {
    pub(crate) room_id: &'a RoomId,
    pub(crate) event_id: &'a EventId,
    /// Only this relation type.
    pub(crate) rel_type: Option<&'a str>,
    /// Only events of this type.
    pub(crate) event_type: Option<&'a str>,
    pub(crate) query: RelationsQuery,
}

/// The query of a request for relations.
#[derive(Debug, Deserialize)]
pub(crate) struct RelationsQuery {
    #[serde(default)]
    dir: ruma::api::Direction,
    from: Option<String>,
    to: Option<String>,
    limit: Option<UInt>,
    #[serde(default)]
    recurse: bool,
}

/// A page of relations.
#[derive(Debug, serde::Serialize)]
pub(crate) struct RelationsPage {
    chunk: Vec<Raw<AnyMessageLikeEvent>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recursion_depth: Option<u32>,
}

impl Rooms {
    /// Lists the events that relate to an event, as the user may see them.
    pub(crate) async fn relations(
        &self,
        user: &AuthedUser,
        request: RelationsRequest<'_>,
    ) -> Result<RelationsPage, MatrixError> {
        let RelationsRequest { room_id, event_id, rel_type, event_type, query } = request;
        let from = query.from.as_deref().map(|token| position(token, room_id)).transpose()?;
        let to = query.to.as_deref().map(|token| position(token, room_id)).transpose()?;
        let limit = page_size(query.limit)?;
        let ignored = self.ignored(&user.id).await?;
        let direction = match query.dir {
            ruma::api::Direction::Backward => Direction::Backward,
            ruma::api::Direction::Forward => Direction::Forward,
        };
        let asked = ListRelationsRequest {
            room_id: room_id.to_string(),
            viewer: user.id.to_string(),
            event_id: event_id.to_string(),
            rel_type: rel_type.unwrap_or_default().to_owned(),
            event_type: event_type.unwrap_or_default().to_owned(),
            direction: direction.into(),
            from,
            to,
            limit,
            recurse: query.recurse,
            ignored_users: ignored.to_vec(),
        };
        // Who may not see the room is told no more than that there is no such event.
        let page = ask(self.history.clone().list_relations(asked)).await.map_err(|error| {
            if error.is("M_FORBIDDEN") { MatrixError::not_found("Event not found") } else { error }
        })?;
        Ok(RelationsPage {
            chunk: self.bundled(user, room_id, &ignored, &page.events).await?,
            next_batch: page.next.map(token),
            prev_batch: query.from,
            recursion_depth: query.recurse.then_some(page.depth),
        })
    }

    /// Lists the threads of a room, as the user may see them.
    pub(crate) async fn threads(
        &self,
        user: &AuthedUser,
        request: &get_threads::Request,
    ) -> Result<get_threads::Response, MatrixError> {
        let room_id = &request.room_id;
        let participated = match &request.include {
            IncludeThreads::All => false,
            IncludeThreads::Participated => true,
            other => {
                return Err(MatrixError::invalid_param(format!("`include` cannot be {}", other.as_str())));
            }
        };
        let asked = ListThreadsRequest {
            room_id: room_id.to_string(),
            viewer: user.id.to_string(),
            participated,
            from: request.from.as_deref().map(|token| position(token, room_id)).transpose()?,
            limit: page_size(request.limit)?,
        };
        let ignored = self.ignored(&user.id).await?;
        let mut page = hide_room(ask(self.history.clone().list_threads(asked)).await)?;
        for root in page.roots.iter_mut().filter(|root| ignored.hides(root)) {
            empty(root);
        }
        let chunk = self.bundled::<AnyTimelineEvent>(user, room_id, &ignored, &page.roots).await?;
        let mut response = get_threads::Response::new(chunk);
        response.next_batch = page.next.map(token);
        Ok(response)
    }

    /// Puts events of a room into the format of clients, with what relations have made of them.
    pub(super) async fn bundled<T>(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        ignored: &Ignored,
        events: &[RoomEvent],
    ) -> Result<Vec<Raw<T>>, MatrixError> {
        // State events have no such relations.
        let ids = events.iter().filter(|event| is_message(event)).map(|event| event.event_id.clone());
        let ids = ids.collect::<Vec<_>>();
        let mut found: HashMap<String, Aggregations> = HashMap::new();
        for event_ids in ids.chunks(EVENTS_AT_ONCE) {
            let request = GetAggregationsRequest {
                room_id: room_id.to_string(),
                viewer: user.id.to_string(),
                event_ids: event_ids.to_vec(),
                ignored_users: ignored.to_vec(),
            };
            let answer = ask(self.history.clone().get_aggregations(request)).await?;
            found.extend(answer.aggregations.into_iter().map(|one| (one.event_id.clone(), one)));
        }
        Ok(format::all_shown_with(events, user, &found))
    }
}

/// Leaves nothing of what an event says: what a redaction leaves of a message.
fn empty(event: &mut RoomEvent) {
    if let Ok(mut json) = serde_json::from_slice::<Map<String, Value>>(&event.json) {
        json.insert("content".to_owned(), Value::Object(Map::new()));
        event.json = Value::Object(json).to_string().into();
    }
}

fn is_message(event: &RoomEvent) -> bool {
    EventParts::of(event).is_ok_and(|parts| parts.state_key.is_none())
}

fn page_size(limit: Option<UInt>) -> Result<u32, MatrixError> {
    match limit.map(u64::from) {
        None => Ok(DEFAULT_PAGE),
        Some(0) => Err(MatrixError::invalid_param("`limit` must be greater than zero")),
        Some(limit) => Ok(u32::try_from(limit).unwrap_or(MAX_PAGE).min(MAX_PAGE)),
    }
}
