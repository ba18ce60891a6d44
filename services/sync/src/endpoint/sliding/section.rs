//! A room of an answer of sliding sync.

mod ended;
mod joined;
mod outside;

use ruma::OwnedRoomId;

use super::{plan::Chosen, plan::Outcome, response::Room};
use crate::{
    endpoint::{
        context::{Context, Problem},
        timeline::Timeline,
    },
    view::Membership,
};

/// A room, still without the events of its timeline.
pub(super) struct Section {
    pub(super) room_id: OwnedRoomId,
    /// Unset if there is nothing to tell.
    pub(super) room: Option<Room>,
    pub(super) timeline: Timeline,
    pub(super) end: u64,
    /// Whether all is told as to a client that knows nothing of the room.
    pub(super) anew: bool,
    pub(super) outcome: Outcome,
}

/// Makes the section of a room. `live` is where the connection's previous answer ended in the room's partition.
pub(super) async fn make(
    context: &Context<'_>,
    chosen: &Chosen,
    live: Option<u64>,
) -> Result<Section, Problem> {
    match chosen.candidate.now.membership {
        Membership::Join => joined::joined(context, chosen, live).await,
        Membership::Invite | Membership::Knock => outside::outside(context, chosen).await,
        Membership::Leave | Membership::Ban => ended::ended(context, chosen, live).await,
    }
}

fn nothing() -> Timeline {
    Timeline { events: Vec::new(), limited: false, start: 0 }
}

/// How many of the events came after a position.
fn live_events(timeline: &Timeline, live: Option<u64>) -> usize {
    live.map_or(0, |live| timeline.events.iter().filter(|seen| seen.event.seq > live).count())
}
