//! `PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`, and what is left of version 1
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid)
//!
//! The state is told as it comes from the room server, chunk by chunk. If it ends too early, so does the connection:
//! nobody takes half a state for a whole one.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::header;
use plexus_matrix_http::{MatrixError, PathArgs, QueryArgs};
use plexus_proto::room::v1::{
    GraphEvent, ListJoinedServersRequest, StreamStateAtRequest, StreamStateAtResponse,
};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde::Deserialize;
use serde_json::json;
use tonic::Status;
use tracing::{error, instrument};

use super::check::{Expected, check_event, check_room, submit};
use crate::{
    Federation,
    receiver::{Membership, Signed},
    upstream::{self, patient, timed},
};

/// Members that are told although members are left out: whom a nameless room is named after.
const HEROES: usize = 5;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    /// Whether members may be left out that the server can do without at first.
    #[serde(default)]
    omit_members: bool,
}

#[instrument(name = "http.server.send_join", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    QueryArgs(args): QueryArgs<Args>,
    signed: Signed<Membership>,
) -> Result<Response, MatrixError> {
    answer(federation, &room_id, &event_id, args.omit_members, signed, ("{", "}")).await
}

/// Version 1 is an array of the status and the same.
#[instrument(name = "http.server.send_join_v1", skip_all, fields(room.id = %room_id))]
pub(crate) async fn v1_handler(
    State(federation): State<Federation>,
    PathArgs((room_id, event_id)): PathArgs<(OwnedRoomId, OwnedEventId)>,
    signed: Signed<Membership>,
) -> Result<Response, MatrixError> {
    answer(federation, &room_id, &event_id, false, signed, ("[200,{", "}]")).await
}

async fn answer(
    federation: Federation,
    room_id: &RoomId,
    event_id: &EventId,
    omit_members: bool,
    signed: Signed<Membership>,
    (begin, end): (&'static str, &'static str),
) -> Result<Response, MatrixError> {
    let rules = check_room(&federation, room_id, &signed.origin).await?;
    let expected = Expected { origin: &signed.origin, room_id, event_id, membership: "join" };
    let event = check_event(&federation, &expected, &signed.body, rules).await?;
    // Those that are in the room before.
    let mut graph = upstream::graph(&federation.rooms);
    let request = ListJoinedServersRequest { room_id: room_id.to_string(), server: String::new() };
    let servers = graph.list_joined_servers(timed(request)).await?.into_inner().servers;
    let servers: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    submit(&federation, &event, &signed.origin).await?;
    let request = StreamStateAtRequest {
        room_id: room_id.to_string(),
        event_id: event_id.to_string(),
        after: false,
        ids_only: false,
    };
    let chunks = graph.stream_state_at(patient(request)).await?.into_inner();
    let head = format!(
        "{begin}\"event\":{},\"members_omitted\":{omit_members},\"origin\":{},\"servers_in_room\":{},\"state\":[",
        String::from_utf8_lossy(event.json()),
        json!(federation.name()),
        json!(servers),
    );
    let told = Telling { omit_members, ..Telling::default() };
    // The turn is over when the last byte is sent.
    let parts = body(chunks, told, head, end).map(move |part| {
        let _held = &signed;
        part.inspect_err(|status| error!(%status, "the state of a room could not be told to its end"))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(parts)).into_response())
}

/// How far an answer has come.
#[derive(Default)]
struct Telling {
    omit_members: bool,
    /// Whether the auth chain has begun.
    in_chain: bool,
    /// Whether an item has been told of what is being told.
    has_items: bool,
    /// Events of the state that were told: the auth chain need not repeat them if members are left out.
    told: BTreeSet<String>,
    /// Members that were told.
    members: usize,
}

fn body(
    chunks: impl Stream<Item = Result<StreamStateAtResponse, Status>> + Unpin + Send + 'static,
    told: Telling,
    head: String,
    end: &'static str,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    let begin = (chunks, told, Some(head), false);
    stream::try_unfold(begin, move |(mut chunks, mut told, head, is_over)| async move {
        if is_over {
            return Ok(None);
        }
        if let Some(head) = head {
            return Ok(Some((Bytes::from(head), (chunks, told, None, false))));
        }
        let mut out = String::new();
        match chunks.next().await {
            Some(chunk) => {
                told.add(chunk?, &mut out);
                Ok(Some((out.into(), (chunks, told, None, false))))
            }
            None => {
                told.begin_chain(&mut out);
                out.push(']');
                out.push_str(end);
                Ok(Some((out.into(), (chunks, told, None, true))))
            }
        }
    })
}

impl Telling {
    fn add(&mut self, chunk: StreamStateAtResponse, out: &mut String) {
        for event in &chunk.state {
            if self.wants_state(event) {
                self.item(event, out);
            }
        }
        if !chunk.auth_chain.is_empty() {
            self.begin_chain(out);
        }
        for event in &chunk.auth_chain {
            if !self.told.contains(&event.event_id) {
                self.item(event, out);
            }
        }
    }

    fn begin_chain(&mut self, out: &mut String) {
        if !std::mem::replace(&mut self.in_chain, true) {
            out.push_str("],\"auth_chain\":[");
            self.has_items = false;
        }
    }

    fn wants_state(&mut self, event: &GraphEvent) -> bool {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, rename = "type")]
            kind: std::borrow::Cow<'a, str>,
        }
        if !self.omit_members {
            return true;
        }
        let kind: Option<Kind<'_>> = serde_json::from_slice(&event.json).ok();
        if kind.is_some_and(|kind| kind.kind == crate::front::MEMBER) {
            self.members += 1;
            if self.members > HEROES {
                return false;
            }
        }
        self.told.insert(event.event_id.clone());
        true
    }

    fn item(&mut self, event: &GraphEvent, out: &mut String) {
        let Ok(json) = std::str::from_utf8(&event.json) else { return };
        if std::mem::replace(&mut self.has_items, true) {
            out.push(',');
        }
        out.push_str(json);
    }
}
