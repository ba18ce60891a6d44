//! Encodes rows as messages of the contract.

use bytes::Bytes;
use plexus_proto::{common::v1::AsOf, room::v1::RoomEvent};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{access::View, erasure};
use crate::{
    app::App, rooms::flags, rpc::check::unsigned, store::reads::events::EventRow, visibility::MemberHistory,
};

/// A user on whose behalf events are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    /// User ID.
    pub(super) user_id: &'a str,
    /// Their membership in the events' room.
    pub(super) history: &'a MemberHistory,
}

/// What a read of a room reflects.
pub(in crate::rpc) fn as_of(app: &App, view: &View) -> AsOf {
    let partition = u32::try_from(view.room.partition).unwrap_or(0);
    let epoch = app.verdicts.epoch(partition).unwrap_or(0);
    AsOf { partition, seq: unsigned(view.room.head_seq), epoch }
}

/// An event for a service, or for a user; `None` if it cannot be told without what the user must not see.
pub(super) fn event(mut row: EventRow, reader: Option<Reader<'_>>) -> Option<RoomEvent> {
    let json = erasure::take_json(&mut row, reader)?;
    // What somebody said whom later readers are not to read is left to the event that said it.
    if reader.is_some() && row.prev_erased_ts.is_some() {
        row.prev_json = None;
    }
    let erased_sender = row.erased_ts.filter(|_| reader.is_none()).map(|_| row.sender.clone());
    let seq = row.seq.unwrap_or(0);
    let viewer_membership = reader.map_or("", |reader| reader.history.at(seq).as_str());
    // What other users' clients called their transactions is nobody's business.
    let own = reader.is_none_or(|reader| reader.user_id == row.sender);
    Some(RoomEvent {
        event_id: row.event_id,
        json,
        seq: unsigned(seq),
        room_id: row.room_id,
        txn_device_id: row.txn_device_id.filter(|_| own).unwrap_or_default(),
        txn_id: row.txn_id.filter(|_| own).unwrap_or_default(),
        viewer_membership: viewer_membership.to_owned(),
        replaces_event_id: row.prev_event_id.unwrap_or_default(),
        prev_content: row.prev_json.as_deref().and_then(content_of).unwrap_or_default(),
        prev_sender: if row.prev_json.is_some() {
            row.prev_sender.unwrap_or_default()
        } else {
            String::new()
        },
        position: seq,
        erased_sender: erased_sender.unwrap_or_default(),
        gap_before: row.flags & flags::GAP_BEFORE != 0,
    })
}

/// About how many bytes an event adds to a message.
pub(super) fn size(event: &RoomEvent) -> usize {
    event.json.len() + event.prev_content.len() + 256
}

/// The JSON text of the content of an event.
fn content_of(json: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let event = serde_json::from_slice::<Event<'_>>(json).ok()?;
    Some(Bytes::copy_from_slice(event.content.get().as_bytes()))
}
