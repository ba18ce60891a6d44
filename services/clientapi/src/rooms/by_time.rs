//! Events by time.

use std::time::Duration;

use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::room::v1::{Direction, FindEventByTimeRequest, FindEventByTimeResponse};
use ruma::{EventId, RoomId};
use tokio::time::Instant;

use super::{Rooms, ask, remote::Backfilled, state::hide_room};

/// How long the history may be fetched for an event, and how many pages of it.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_PAGES: usize = 20;

impl Rooms {
    /// Finds the event closest to a time, of those that the user may see. Where this server does not know the whole
    /// history, other servers are asked, and the history is fetched up to what they tell.
    pub(crate) async fn event_by_time(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        ts: i64,
        direction: ruma::api::Direction,
    ) -> Result<FindEventByTimeResponse, MatrixError> {
        let found = self.local_event_by_time(user, room_id, ts, direction).await;
        let has_none = match &found {
            Ok(_) => false,
            Err(error) if error.is("M_NOT_FOUND") => true,
            Err(_) => return found,
        };
        if self.history_end(room_id).await?.is_none() {
            return found;
        }
        let backward = direction == ruma::api::Direction::Backward;
        let Ok(told) = self.remote_event_by_time(room_id, ts, backward).await else { return found };
        let distance = |other: i64| other.abs_diff(ts);
        let is_closer = match &found {
            Ok(found) => distance(told.origin_server_ts) < distance(found.origin_server_ts),
            Err(_) => has_none,
        };
        if is_closer && self.fetch_until(user, room_id, &told.event_id).await {
            return self.local_event_by_time(user, room_id, ts, direction).await;
        }
        found
    }

    /// Has the history of a room fetched until an event is in it; returns whether it is.
    async fn fetch_until(&self, user: &AuthedUser, room_id: &RoomId, event_id: &str) -> bool {
        let Ok(event_id) = <&EventId>::try_from(event_id) else { return false };
        let end = Instant::now() + PATIENCE;
        for _ in 0..MAX_PAGES {
            if self.find_event(room_id, &user.id, event_id).await.is_ok_and(|event| event.position != 0) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if self.backfill(room_id, left).await != Backfilled::Now {
                break;
            }
        }
        self.find_event(room_id, &user.id, event_id).await.is_ok_and(|event| event.position != 0)
    }

    async fn local_event_by_time(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        ts: i64,
        direction: ruma::api::Direction,
    ) -> Result<FindEventByTimeResponse, MatrixError> {
        let direction = match direction {
            ruma::api::Direction::Backward => Direction::Backward,
            ruma::api::Direction::Forward => Direction::Forward,
        };
        let request = FindEventByTimeRequest {
            room_id: room_id.to_string(),
            viewer: user.id.to_string(),
            ts,
            direction: direction.into(),
        };
        match ask(self.history.clone().find_event_by_time(request)).await {
            // Only a room that is not there is hidden; an event that is not there is told.
            Err(error) if error.is("M_NOT_FOUND") => match self.memberships(room_id, &[&user.id]).await? {
                members if members.room_exists => Err(error),
                _ => hide_room(Err(error)),
            },
            result => result,
        }
    }
}
