//! Answers that are handed on while the room server still tells their events.
//!
//! What a room holds of state has no bound that a client's patience or this process's memory would give: a chunk at a
//! time is in memory, and the next one is asked for when the client has taken it.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, header};
use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::room::v1::{RoomEvent, StreamStateResponse};
use ruma::RoomId;
use serde_json::Value;

use super::{READ_DEADLINE, Rooms, ask, format, read::StateQuery, state::hide_room};

/// Bytes that are gathered before an answer begins: nearly all are whole by then, and tell their length.
const GATHER: usize = 512 * 1024;

/// What stands around the events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) before: &'static str,
    pub(super) after: &'static str,
}

/// The events that are still to come.
struct Rest {
    chunks: tonic::Streaming<StreamStateResponse>,
    user: AuthedUser,
    frame: Frame,
    /// Whether an event was told, so that the next needs a comma.
    begun: bool,
    /// What is to be handed out; `None` after the end.
    next: Option<Bytes>,
}

impl Rooms {
    /// Answers with the state of a room, as the user may see it.
    pub(super) async fn stream(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        query: StateQuery<'_>,
        frame: Frame,
    ) -> Result<Response, MatrixError> {
        let request = query.request(room_id, Some(&user.id));
        let chunks = hide_room(ask(self.queries.clone().stream_state(request)).await)?;
        let mut rest = Rest { chunks, user: user.clone(), frame, begun: false, next: None };
        let mut gathered = BytesMut::from(frame.before.as_bytes());
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        while gathered.len() < GATHER {
            // A refusal comes ahead of the first chunk.
            let Some(chunk) = hide_room(rest.message().await)? else {
                gathered.put_slice(frame.after.as_bytes());
                return Ok((content_type, gathered.freeze()).into_response());
            };
            rest.tell(&chunk.events, &mut gathered);
        }
        rest.next = Some(gathered.freeze());
        let stream = futures::stream::try_unfold(rest, Rest::step);
        Ok((content_type, Body::from_stream(stream)).into_response())
    }
}

impl Rest {
    async fn message(&mut self) -> Result<Option<StreamStateResponse>, MatrixError> {
        match tokio::time::timeout(READ_DEADLINE, self.chunks.message()).await {
            Ok(message) => Ok(message?),
            Err(_) => Err(MatrixError::timed_out()),
        }
    }

    /// Hands out what is there, and gets what comes next.
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, MatrixError> {
        if let Some(next) = self.next.take() {
            return Ok(Some((next, self)));
        }
        if self.frame.after.is_empty() {
            return Ok(None);
        }
        // The answer has begun: all that can be told of a failure is that it does not end well.
        let message =
            self.message().await.inspect_err(|error| tracing::warn!(%error, "answer is cut short"))?;
        let mut bytes = BytesMut::new();
        match message {
            Some(chunk) => self.tell(&chunk.events, &mut bytes),
            None => bytes.put_slice(std::mem::take(&mut self.frame.after).as_bytes()),
        }
        Ok(Some((bytes.freeze(), self)))
    }

    fn tell(&mut self, events: &[RoomEvent], into: &mut BytesMut) {
        for event in format::all_shown::<Value>(events, &self.user) {
            if self.begun {
                into.put_u8(b',');
            }
            self.begun = true;
            into.put_slice(event.json().get().as_bytes());
        }
    }
}
