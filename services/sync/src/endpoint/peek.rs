//! Events of one room, for viewers who may read it without being in it: [room previews].
//!
//! The room server decides who may, event by event. Here only the waiting is done.
//!
//! [room previews]: https://spec.matrix.org/v1.19/client-server-api/#room-previews

use std::sync::Arc;

use http::StatusCode;
use plexus_matrix_http::{AuthedUser, MatrixError, token::timeline_position};
use plexus_proto::{
    log::v1::HistoryVisibility,
    room::v1::{Direction, ListTimelineRequest, TimelineFilter},
};
use ruma::{OwnedRoomId, UserId};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::erasure;
use crate::{
    SyncService,
    clock::now_ms,
    limits,
    upstream::{signed, unsigned},
    view::{Attention, Event, Membership, Room, Viewer},
};

/// What happened in a room after a position.
pub(super) struct Peeked {
    pub(super) events: Vec<Arc<RawValue>>,
    /// The position that they lead to.
    pub(super) end: u64,
}

/// Reads the position that a token names in the timeline of a room: one of `/sync` or one of its paging.
pub(super) fn position(token: &str, room_id: &OwnedRoomId) -> Result<u64, MatrixError> {
    let position = timeline_position(token, plexus_log::partition_of(room_id.as_str()));
    position
        .map(unsigned)
        .map_err(|_| MatrixError::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", "Unknown `from` token"))
}

/// Tells what happened in a room after a position, as soon as there is something or the time is up.
pub(super) async fn peek(
    service: &SyncService,
    user: &AuthedUser,
    attention: &Attention,
    room_id: &OwnedRoomId,
    mut from: u64,
    deadline: Instant,
) -> Result<Peeked, MatrixError> {
    // Who may not read the room does not get it held in memory.
    let mut peeked = ask(service, user, attention, room_id, from).await?;
    let room = service.view.room(room_id);
    loop {
        if !peeked.events.is_empty() || deadline <= Instant::now() {
            service.edge.confirm(user).await?;
            return Ok(peeked);
        }
        from = peeked.end;
        // Before looking again, so that nothing slips in between looking and waiting.
        let mut moves = room.moves();
        peeked = ask(service, user, attention, room_id, from).await?;
        if peeked.events.is_empty() {
            tokio::select! {
                _ = timeout_at(deadline, moves.changed()) => {}
                () = service.shutdown.requested() => return Ok(peeked),
            }
            service.edge.confirm(user).await?;
        }
    }
}

async fn ask(
    service: &SyncService,
    user: &AuthedUser,
    attention: &Attention,
    room_id: &OwnedRoomId,
    from: u64,
) -> Result<Peeked, MatrixError> {
    let ignored = attention.ignored.iter().take(limits::IGNORED).map(ToString::to_string);
    let request = ListTimelineRequest {
        room_id: room_id.to_string(),
        viewer: user.id.to_string(),
        direction: Direction::Forward.into(),
        from: Some(signed(from)),
        limit: limits::PEEKED,
        filter: Some(TimelineFilter { ignored_users: ignored.collect(), ..TimelineFilter::default() }),
        ..ListTimelineRequest::default()
    };
    let mut page =
        service.upstream.timeline(request).await.map_err(|failure| match failure.is_refusal() {
            true => MatrixError::forbidden("You cannot preview this room"),
            false => failure.into(),
        })?;
    erasure::copy_stored(&service.upstream, &user.id, &mut page.events).await?;
    let viewer = Viewer {
        erased: &service.upstream.erased,
        user_id: &user.id,
        device_id: &user.device_id,
        now: now_ms(),
    };
    let mut end = page.next.map_or(from, unsigned);
    let mut events = Vec::with_capacity(page.events.len());
    for stored in page.events {
        let membership = Membership::find(&stored.viewer_membership).unwrap_or(Membership::Leave);
        end = end.max(stored.seq);
        let shown = Event::stored(stored, HistoryVisibility::Joined)
            .ok()
            .and_then(|event| event.show(room_id, Some(membership), viewer, None).ok());
        match shown {
            Some(shown) => events.push(shown),
            None => error!(room.id = %room_id, "stored event cannot be shown"),
        }
    }
    Ok(Peeked { events, end })
}

/// Whether the user is in a room now.
pub(super) fn is_joined(room: Option<&Arc<Room>>, user: &UserId) -> bool {
    room.is_some_and(|room| room.is_watched_by(user))
}
