//! Bundles relations into the events of an answer.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events)

use std::collections::{HashMap, HashSet};

use plexus_matrix_http::event::{EventFormat, Viewer as BundleViewer, bundle};
use plexus_proto::room::v1::{Aggregations, EventsOfRoom, GetAggregationsInRoomsRequest};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::value::RawValue;
use tracing::error;

use super::{
    context::{Context, Problem},
    timeline::Timeline,
};
use crate::{
    SyncService, limits,
    upstream::UpstreamError,
    view::{Event, Viewer},
};

/// `m.relations` of events, for those that have it.
#[derive(Debug, Default)]
pub(crate) struct Relations(HashMap<OwnedEventId, Box<RawValue>>);

impl Relations {
    /// Asks the room server about all events of an answer that others may relate to; mostly there are none.
    pub(crate) async fn of_all<'t>(
        context: &Context<'_>,
        timelines: impl Iterator<Item = (&'t OwnedRoomId, &'t Timeline, u64)>,
    ) -> Result<Self, Problem> {
        // Servers work out relations by themselves.
        if context.request.filter.federation_format {
            return Ok(Self::default());
        }
        let mut rooms = Vec::new();
        for (room_id, timeline, end) in timelines {
            let related = timeline.events.iter().filter(|seen| seen.related);
            let event_ids: Vec<_> = related.map(|seen| seen.event.id.to_string()).collect();
            for event_ids in event_ids.chunks(limits::RELATED_OF_ROOM) {
                let room_id = room_id.to_string();
                rooms.push(EventsOfRoom { room_id, event_ids: event_ids.to_vec(), up_to: Some(end) });
            }
        }
        let viewer = context.viewer();
        Ok(Self::of(context.service, viewer, &context.attention.ignored, &rooms).await?)
    }

    /// Asks the room server about events that others may relate to; does not ask if there are none.
    pub(crate) async fn of(
        service: &SyncService,
        viewer: Viewer<'_>,
        ignored: &HashSet<OwnedUserId>,
        rooms: &[EventsOfRoom],
    ) -> Result<Self, UpstreamError> {
        let mut relations = Self::default();
        if rooms.is_empty() {
            return Ok(relations);
        }
        let ignored: Vec<_> = ignored.iter().take(limits::IGNORED).map(ToString::to_string).collect();
        for rooms in rooms.chunks(limits::RELATED_ROOMS) {
            let request = GetAggregationsInRoomsRequest {
                viewer: viewer.user_id.to_string(),
                rooms: rooms.to_vec(),
                ignored_users: ignored.clone(),
            };
            relations.add(viewer, service.upstream.aggregations(request).await?);
        }
        Ok(relations)
    }

    fn add(&mut self, viewer: Viewer<'_>, found: Vec<Aggregations>) {
        let viewer = BundleViewer {
            user_id: viewer.user_id,
            device_id: viewer.device_id,
            now_ms: viewer.now,
            format: EventFormat::Sync,
        };
        for aggregations in found {
            let id = &aggregations.event_id;
            match (OwnedEventId::try_from(id.as_str()), bundle(&aggregations, &viewer)) {
                (Ok(id), Ok(Some(bundled))) => drop(self.0.insert(id, bundled)),
                (Ok(_), Ok(None)) => {}
                (Err(failure), _) => error!(event.id = id, error = %failure, "no event ID"),
                (Ok(_), Err(failure)) => {
                    error!(event.id = id, error = %failure, "relations cannot be shown");
                }
            }
        }
    }

    /// `m.relations` of an event.
    pub(crate) fn get(&self, event: &Event) -> Option<&RawValue> {
        self.0.get(&event.id).map(|relations| &**relations)
    }
}
