//! Position of the worker in a partition that it owns.

use plexus_log::Offset;
use plexus_proto::input::v1::InputLog;

use super::InputId;
use crate::{
    rooms::Counters,
    store::{StoreError, partitions},
};

/// The input logs of a partition.
pub(super) const INPUT_LOGS: [InputLog; 3] = [InputLog::Room, InputLog::User, InputLog::RoomBulk];

/// Where the worker stands in a partition.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    /// Epoch under which we own it.
    pub(super) epoch: i64,
    /// `InputRoomEvent`.
    pub(super) room: Lane,
    /// `InputUserEvent`.
    pub(super) user: Lane,
    /// `InputRoomEventBulk`.
    pub(super) bulk: Lane,
    /// What rooms are given next.
    pub(super) counters: Counters,
    /// Next numeric ID for what is processed aside.
    pub(super) bulk_nid: i64,
    /// Next `seq` of `OutputUserEvent`.
    pub(super) next_user_seq: i64,
    /// What the database says was published.
    pub(super) room_published: i64,
    pub(super) user_published: i64,
}

/// One input log of a partition.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    /// The offset in the database: what the fence compares.
    pub(super) stored: i64,
    /// Fingerprint of the record before it.
    pub(super) stored_input_id: Option<Vec<u8>>,
    /// The offset after the last record that was read; differs from `stored` by what is under way.
    pub(super) read: Offset,
    /// The record that has to lie before the stored offset if the log is still the one it was.
    pub(super) check: Option<Check>,
}

/// A record that is known to have been processed, read again to see whether the log is still the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) offset: Offset,
    pub(super) input_id: InputId,
}

impl Partition {
    /// Reads it from its rows. Lanes begin where these say; [`Lane::read`] is set when the log has been looked at.
    pub(super) fn from_rows((row, bulk): &partitions::Rows) -> Result<Self, StoreError> {
        Ok(Self {
            epoch: row.epoch,
            room: Lane::new(row.room_offset, row.room_input_id.clone())?,
            user: Lane::new(row.user_offset, row.user_input_id.clone())?,
            bulk: Lane::new(bulk.bulk_offset, bulk.bulk_input_id.clone())?,
            counters: Counters { next_nid: row.next_nid, next_seq: row.next_room_seq },
            bulk_nid: bulk.next_nid,
            next_user_seq: row.next_user_seq,
            room_published: row.room_published_seq,
            user_published: row.user_published_seq,
        })
    }

    /// One of its lanes.
    pub(super) fn lane(&self, log: InputLog) -> &Lane {
        match log {
            InputLog::User => &self.user,
            InputLog::RoomBulk => &self.bulk,
            InputLog::Room | InputLog::Unspecified => &self.room,
        }
    }

    /// One of its lanes.
    pub(super) fn lane_mut(&mut self, log: InputLog) -> &mut Lane {
        match log {
            InputLog::User => &mut self.user,
            InputLog::RoomBulk => &mut self.bulk,
            InputLog::Room | InputLog::Unspecified => &mut self.room,
        }
    }

    /// The epoch as records carry it.
    pub(super) fn epoch_number(&self) -> u64 {
        u64::try_from(self.epoch).unwrap_or(0)
    }
}

impl Lane {
    fn new(stored: i64, stored_input_id: Option<Vec<u8>>) -> Result<Self, StoreError> {
        let read = Offset::try_from(stored)
            .map_err(|_| StoreError::Corrupt { what: format!("offset {stored} of a partition") })?;
        Ok(Self { stored, stored_input_id, read, check: None })
    }

    /// The fingerprint of the record before the stored offset, if there is one.
    pub(super) fn fingerprint(&self) -> Option<Check> {
        let offset = self.read.checked_sub(1)?;
        let input_id = InputId::try_from(self.stored_input_id.as_deref()?).ok()?;
        Some(Check { offset, input_id })
    }
}
