//! Rooms that the user is invited to, or asks to be let into: the few things one may know of a room from outside.

use std::sync::Arc;

use plexus_matrix_http::event::stripped_event;
use plexus_proto::room::v1::StateKey;
use tracing::error;

use super::{
    context::{Context, Problem},
    erasure,
    response::Events,
};
use crate::view::{Candidate, MEMBER};

const TYPES: [&str; 7] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.name",
    "m.room.topic",
];

/// The stripped state of a room, as it was when the user came to be invited or to knock.
pub(crate) async fn stripped_state(context: &Context<'_>, candidate: &Candidate) -> Result<Events, Problem> {
    let key =
        |kind: &str, state_key: &str| StateKey { r#type: kind.to_owned(), state_key: state_key.to_owned() };
    let mut keys: Vec<StateKey> = TYPES.iter().map(|kind| key(kind, "")).collect();
    keys.push(key(MEMBER, context.user_id().as_str()));
    if candidate.now.sender != context.user_id() {
        keys.push(key(MEMBER, candidate.now.sender.as_str()));
    }
    let room_id = &candidate.room.id;
    let mut state = context.service.upstream.state_entries(room_id, keys, Some(candidate.now.seq)).await?;
    erasure::serve_stored(context, &mut state).await?;
    let strip = |event: &plexus_proto::room::v1::RoomEvent| {
        stripped_event(&event.json)
            .inspect_err(|failure| {
                error!(room.id = %room_id, event.id = event.event_id, error = %failure, "event cannot be shown");
            })
            .map(Arc::from)
            .ok()
    };
    Ok(Events { events: state.iter().filter_map(strip).collect() })
}
