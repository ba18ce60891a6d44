//! Events by time.

use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::room::v1::{Direction, FindEventByTimeRequest, FindEventByTimeResponse};
use ruma::RoomId;

use super::{Rooms, ask, state::hide_room};

impl Rooms {
    /// Finds the event closest to a time, of those that the user may see.
    pub(crate) async fn event_by_time(
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
