//! `GET /_matrix/client/*/events`, which is deprecated: what happens in the user's rooms, as one list.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events)
//!
//! It is an answer to `/sync` without everything but timelines and what is said in passing, so its tokens are those of
//! `/sync`. Of a room that the user is not in, it tells what may be read without being in it.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, QueryArgs, token::TimelineToken};
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::instrument;

use super::{answer, not_encoded, params, peek};
use crate::{SyncService, clock::now_ms, limits};

/// Leaves out what is not told here.
const FILTER: &str = r#"{"presence":{"types":[]},"account_data":{"types":[]},"room":{"state":{"types":[]},
    "account_data":{"types":[]},"timeline":{"limit":100}}}"#;
/// Leaves out everything: for the present position.
const NOTHING: &str = r#"{"presence":{"types":[]},"account_data":{"types":[]},"room":{"rooms":[]}}"#;
/// How long to wait if the client does not say.
const DEFAULT_TIMEOUT: u64 = 30_000;

/// The query string.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    from: Option<String>,
    timeout: Option<u64>,
    room_id: Option<OwnedRoomId>,
}

#[instrument(name = "http.client.get_events", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(service): State<SyncService>,
    user: AuthedUser,
    QueryArgs(mut query): QueryArgs<Query>,
) -> Result<JsonObject, MatrixError> {
    let timeout = query.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let now = service.positions.cut(service.view.time_of_answer(0, now_ms()));
    if let Some(room_id) = &query.room_id {
        // Loads the user, so that what the room says of them is so.
        let known = service.view.user(&user.id).await?;
        let token = |position: u64| {
            let mut token = now;
            if let Some(slot) = token.rooms.get_mut(index(room_id)) {
                *slot = position;
            }
            token.to_string()
        };
        let from = query.from.as_deref().map(|from| peek::position(from, room_id)).transpose()?;
        if !peek::is_joined(service.view.find_room(room_id).as_ref(), &user.id) {
            let from = from.unwrap_or_else(|| now.rooms.get(index(room_id)).copied().unwrap_or_default());
            let deadline = Instant::now() + Duration::from_millis(timeout).min(limits::MAX_POLL);
            let attention = known.attention().unwrap_or_default();
            let peeked = peek::peek(&service, &user, &attention, room_id, from, deadline).await?;
            let events = peeked.events.iter().map(|event| serde_json::from_str(event.get()));
            let chunk: Vec<Value> =
                events.filter_map(|event| Some(with_room(event.ok()?, room_id.as_str()))).collect();
            return JsonObject::of(
                &json!({ "start": token(from), "end": token(peeked.end), "chunk": chunk }),
            );
        }
        // A token of the room alone, as `/rooms/{roomId}/initialSync` gives it out.
        query.from = match query.from {
            Some(from) if from.parse::<TimelineToken>().is_ok() => {
                Some(token(peek::position(&from, room_id)?))
            }
            from => from,
        };
    }
    let from = match query.from {
        Some(from) => from,
        None => text(&read(&service, &user, params::Query::plain(NOTHING, None, 0)).await?, "next_batch"),
    };
    let answer = read(&service, &user, params::Query::plain(FILTER, Some(from.clone()), timeout)).await;
    let answer = answer.map_err(|error| match error.is("M_UNKNOWN_POS") {
        true => MatrixError::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", "Unknown `from` token"),
        false => error,
    })?;
    let end = text(&answer, "next_batch");
    let chunk = events(answer, query.room_id.as_deref().map(ruma::RoomId::as_str));
    JsonObject::of(&json!({ "start": from, "end": end, "chunk": chunk }))
}

/// The slot of a room in a token.
fn index(room_id: &RoomId) -> usize {
    usize::try_from(plexus_log::partition_of(room_id.as_str())).unwrap_or(usize::MAX)
}

async fn read(service: &SyncService, user: &AuthedUser, query: params::Query) -> Result<Value, MatrixError> {
    let request = params::Request::read(service, user, query).await?;
    let answer = answer::answer(service, &request).await?;
    serde_json::to_value(&answer).map_err(not_encoded)
}

fn text(answer: &Value, key: &str) -> String {
    answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// All events of all rooms, or of one, each with its room.
fn events(mut answer: Value, only: Option<&str>) -> Vec<Value> {
    let mut chunk = Vec::new();
    for membership in ["join", "leave"] {
        let Some(Value::Object(rooms)) = answer.pointer_mut(&format!("/rooms/{membership}")).map(Value::take)
        else {
            continue;
        };
        for (room_id, mut room) in rooms {
            if only.is_some_and(|only| only != room_id) {
                continue;
            }
            for part in ["/timeline/events", "/ephemeral/events"] {
                let Some(Value::Array(events)) = room.pointer_mut(part).map(Value::take) else { continue };
                chunk.extend(events.into_iter().map(|event| with_room(event, &room_id)));
            }
        }
    }
    chunk
}

fn with_room(event: Value, room_id: &str) -> Value {
    let mut event: Map<String, Value> = match event {
        Value::Object(event) => event,
        other => return other,
    };
    event.insert("room_id".to_owned(), Value::from(room_id));
    Value::Object(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_with_their_rooms() {
        let answer = json!({ "next_batch": "s", "rooms": {
            "join": {
                "!a:x": { "timeline": { "events": [{ "n": 1 }] }, "ephemeral": { "events": [{ "n": 2 }] } },
                "!b:x": { "timeline": { "events": [{ "n": 3 }] } },
            },
            "leave": { "!c:x": { "timeline": { "events": [{ "n": 4 }] } } },
            "invite": { "!d:x": { "invite_state": { "events": [{ "n": 5 }] } } },
        } });
        let told = events(answer.clone(), None);
        let told = told.iter().map(|event| (event["room_id"].as_str().unwrap(), &event["n"]));
        let (one, two, three, four) = (json!(1), json!(2), json!(3), json!(4));
        let expected = [("!a:x", &one), ("!a:x", &two), ("!b:x", &three), ("!c:x", &four)];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(events(answer, Some("!b:x")).len(), 1);
        assert!(events(json!({}), None).is_empty());
    }
}
