//! Out-of-band memberships of users, as other servers have told them.

use bytes::Bytes;
use plexus_proto::log::v1::OutOfBandMembership;
use ruma::{OwnedRoomId, OwnedUserId};

use super::Membership;

/// What a user is in a room that this server is not in.
#[derive(Debug, Clone)]
pub(crate) struct OutOfBand {
    /// `seq` of the record that told it.
    pub(crate) seq: u64,
    pub(crate) membership: Membership,
    /// Who sent the member event.
    pub(crate) sender: OwnedUserId,
    /// Empty if no server knows the event.
    pub(crate) event_id: String,
    /// The member event.
    pub(crate) event: Bytes,
    /// JSON text of a list of stripped state events.
    pub(crate) stripped_state: Bytes,
}

impl OutOfBand {
    /// Reads what a record tells; without a membership, the room itself tells it from now on.
    pub(crate) fn read(told: OutOfBandMembership, seq: u64) -> Option<(OwnedRoomId, Option<Self>)> {
        let room_id = OwnedRoomId::try_from(told.room_id.as_str())
            .inspect_err(|error| tracing::error!(%error, "membership names no room, leaving it out"))
            .ok()?;
        if told.membership.is_empty() {
            return Some((room_id, None));
        }
        let (Some(membership), Ok(sender)) =
            (Membership::find(&told.membership), OwnedUserId::try_from(told.sender.as_str()))
        else {
            tracing::error!(room.id = %room_id, "membership makes no sense, leaving it out");
            return None;
        };
        let OutOfBandMembership { event_id, event, stripped_state, .. } = told;
        Some((room_id, Some(Self { seq, membership, sender, event_id, event, stripped_state })))
    }
}
