//! An input, and what is the same for all rooms.

use plexus_events::SigningKey;
use plexus_proto::log::v1::InputRoomEvent;
use ruma::OwnedServerName;

use super::ids::ParkedNid;

/// An input as read from the log.
#[derive(Debug, Clone)]
pub(crate) struct RoomInput {
    /// Partition it was read from.
    pub(crate) partition: u32,
    /// The record.
    pub(crate) record: InputRoomEvent,
    /// Set if the record is that of a parked event that lacks nothing any more.
    pub(crate) parked: Option<ParkedNid>,
    /// How many events follow it in its batch.
    pub(crate) following: u16,
}

impl RoomInput {
    /// A record as it was read.
    pub(crate) fn new(partition: u32, record: InputRoomEvent) -> Self {
        Self { partition, record, parked: None, following: 0 }
    }
}

/// What is the same for all rooms.
#[derive(Debug, Clone)]
pub(crate) struct Env {
    /// Name of this server.
    pub(crate) server_name: OwnedServerName,
    /// The key that signs events.
    pub(crate) signing_key: SigningKey,
}
