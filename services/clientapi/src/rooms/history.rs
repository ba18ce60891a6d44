//! The timeline goes on where this server knows no more of it: other servers are asked.

use std::time::Duration;

use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::room::v1::{Direction, ListHistoryEndsRequest, ListTimelineResponse};
use ruma::RoomId;
use serde::Deserialize;

use super::{Rooms, ask, ignored::Ignored, page_filter::PageFilter, remote::Backfilled, timeline::Stretch};

/// How long a page waits for other servers.
const PATIENCE: Duration = Duration::from_secs(1);

impl Rooms {
    /// Position of the oldest event of a room, if something is missing before it that other servers may tell.
    pub(super) async fn history_end(&self, room_id: &RoomId) -> Result<Option<i64>, MatrixError> {
        if self.outbound.is_none() {
            return Ok(None);
        }
        let request = ListHistoryEndsRequest { room_id: room_id.to_string() };
        match ask(self.graph.clone().list_history_ends(request)).await {
            Ok(answer) => Ok(Some(answer.oldest_position).filter(|_| !answer.ends.is_empty())),
            // There is nobody to ask for a room that this server is not in.
            Err(error) if error.is("M_NOT_FOUND") || error.is("M_FORBIDDEN") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Goes on with a page that ends where this server knows no more: it has what comes within a second, and where to
    /// look for the rest.
    pub(super) async fn with_history(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        stretch: &Stretch,
        (filter, ignored): (&PageFilter, &Ignored),
        mut page: ListTimelineResponse,
    ) -> Result<ListTimelineResponse, MatrixError> {
        let is_end = stretch.direction == Direction::Backward && stretch.to.is_none() && page.next.is_none();
        if !is_end
            || !filter.wants_room(room_id)
            || page.events.last().is_some_and(|event| is_create(&event.json))
        {
            return Ok(page);
        }
        let Some(oldest) = self.history_end(room_id).await? else { return Ok(page) };
        let before = oldest - 1;
        match self.backfill(room_id, PATIENCE).await {
            Backfilled::Nothing => Ok(page),
            Backfilled::Later => {
                page.next = Some(before);
                Ok(page)
            }
            Backfilled::Now => {
                let count = u32::try_from(page.events.len()).unwrap_or(u32::MAX);
                let limit = stretch.limit.saturating_sub(count);
                page.next = Some(before);
                if limit > 0 {
                    let rest = Stretch { from: Some(before), limit, ..*stretch };
                    let mut rest = self.list(user, room_id, &rest, filter, ignored).await?;
                    page.next = match rest.next {
                        Some(next) => Some(next),
                        // All that has come is shown, and there may be more.
                        None => self.history_end(room_id).await?.map(|oldest| oldest - 1),
                    };
                    page.events.append(&mut rest.events);
                }
                Ok(page)
            }
        }
    }
}

/// Whether an event is the first one of its room.
fn is_create(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Kind<'_>>(json).is_ok_and(|event| event.kind == "m.room.create")
}
