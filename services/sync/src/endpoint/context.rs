//! Context that the parts of one answer share.

use std::sync::Arc;

use plexus_matrix_http::token::SyncToken;
use ruma::{RoomId, UserId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tracing::error;

use super::{
    effort::AtOnce,
    filter::Redundant,
    lazy::{Device, Sent},
    params::Request,
    timeline::Timeline,
};
use crate::{
    SyncService,
    positions::Vector,
    upstream::UpstreamError,
    view::{Attention, Event, Membership, Room, Viewer},
};

/// One attempt at an answer.
pub(crate) struct Context<'a> {
    pub(crate) service: &'a SyncService,
    pub(crate) request: &'a Request,
    /// What the client knows: its token, moved on over what it need not be told.
    pub(crate) since: Option<SyncToken>,
    /// What the answer reflects: nothing after it is shown.
    pub(crate) cut: SyncToken,
    /// Now, in milliseconds since the Unix epoch.
    pub(crate) now: i64,
    pub(crate) attention: Attention,
    /// What the answer may still do at once.
    pub(crate) at_once: &'a AtOnce,
    /// Set if members are loaded lazily.
    pub(crate) lazy: Option<(Device, Redundant)>,
}

/// Why an attempt did not end in an answer.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Something was loaded that is ahead of the cut: try again when the log has been read so far. Positions of rooms.
    Behind(Box<Vector>),
    /// What was to be read is gone from memory: try again.
    Gone,
    /// The room server failed.
    Upstream(UpstreamError),
}

impl From<UpstreamError> for Problem {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

/// A room of the answer, still without the events of its timeline, and the members it tells.
#[derive(Debug)]
pub(crate) struct RenderedRoom<R> {
    pub(crate) room: R,
    pub(crate) members: Vec<Sent>,
    pub(crate) timeline: Timeline,
    /// End of the timeline.
    pub(crate) end: u64,
}

impl<'a> Context<'a> {
    pub(crate) fn user_id(&self) -> &'a UserId {
        &self.request.user.id
    }

    /// Who looks at events, and when.
    pub(crate) fn viewer(&self) -> Viewer<'_> {
        let user = &self.request.user;
        let erased = &self.service.upstream.erased;
        Viewer { erased, user_id: &user.id, device_id: &user.device_id, now: self.now }
    }

    /// Position of the token in the room's partition; `None` without a token.
    pub(crate) fn since(&self, room: &Room) -> Option<u64> {
        let since = self.since.as_ref()?;
        Some(since.rooms.get(room.partition).copied().unwrap_or_default())
    }

    /// Position of the cut in the room's partition.
    pub(crate) fn upto(&self, room: &Room) -> u64 {
        self.cut.rooms.get(room.partition).copied().unwrap_or_default()
    }

    /// Whether the timeline of a room shows the event.
    pub(crate) fn wants_in_timeline(&self, event: &Event) -> bool {
        let ignored = event.state_key.is_none() && self.attention.ignored.contains(&event.sender);
        !ignored && self.request.filter.timeline.wants(event)
    }

    /// An event in the format that the client asked for. One that cannot be shown is left out.
    pub(crate) fn show(
        &self,
        room_id: &RoomId,
        event: &Event,
        membership: Option<Membership>,
        relations: Option<&RawValue>,
    ) -> Option<Arc<RawValue>> {
        let shown = if self.request.filter.federation_format {
            serde_json::from_slice::<Box<RawValue>>(&event.json).map(Arc::from)
        } else {
            match event.show(room_id, membership, self.viewer(), relations) {
                Ok(shown) => Ok(shown),
                Err(plexus_matrix_http::event::EventError::Malformed(failure)) => Err(failure),
            }
        };
        let selected = shown.and_then(|shown| match &self.request.filter.fields {
            Some(fields) => fields.select(&shown).map(Arc::from),
            None => Ok(shown),
        });
        selected
            .inspect_err(|failure| {
                error!(room.id = %room_id, event.id = %event.id, error = %failure, "event cannot be shown");
            })
            .ok()
    }

    /// State events in the format that the client asked for, as far as its filter wants them.
    pub(crate) fn show_state(&self, room_id: &RoomId, events: &[Arc<Event>]) -> Vec<Arc<RawValue>> {
        let filter = &self.request.filter.state;
        if !filter.wants_room(room_id) {
            return Vec::new();
        }
        let wanted = events.iter().filter(|event| filter.wants(event));
        wanted.filter_map(|event| self.show(room_id, event, None, None)).collect()
    }
}

#[derive(Serialize)]
struct DataEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    content: &'a RawValue,
}

/// Account data as an event. Content that cannot be shown is left out.
pub(crate) fn data_event(kind: &str, content: &[u8]) -> Option<Arc<RawValue>> {
    let event = serde_json::from_slice::<&RawValue>(content)
        .and_then(|content| to_raw_value(&DataEvent { kind, content }));
    event
        .inspect_err(|failure| error!(kind, error = %failure, "account data cannot be shown"))
        .map(Arc::from)
        .ok()
}
