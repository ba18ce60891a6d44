//! Writes a state that was fetched to the room, ahead of the event that it is the state before.

use plexus_input::Lane;
use plexus_proto::log::v1::{SnapshotChunk, StateBefore, input_room_event::Body};
use ruma::ServerName;

use super::{Failure, room::Room, state::Snapshot};

/// Events and bytes of a chunk, and entries of the state.
const EVENTS: usize = 50;
const BYTES: usize = 256 * 1024;
const ENTRIES: usize = 2_000;
/// Snapshots with no more new events than this go with live traffic.
const SMALL: usize = 200;

/// Writes a snapshot. Nothing of it counts before an event names it.
pub(super) async fn write(
    room: &Room<'_>,
    origin: &ServerName,
    snapshot: Snapshot,
) -> Result<StateBefore, Failure> {
    let token: [u8; 16] = rand::random();
    let lane = if snapshot.events.len() <= SMALL { Lane::Live } else { Lane::Bulk };
    let entries = u32::try_from(snapshot.state.len()).unwrap_or(u32::MAX);
    let chunks = chunks(&snapshot);
    let count = chunks.len();
    for (index, chunk) in (0_u32..).zip(chunks) {
        let chunk = SnapshotChunk {
            token: token.to_vec().into(),
            index,
            room_version: room.rules.id.as_str().to_owned(),
            origin: origin.to_string(),
            last: usize::try_from(index).unwrap_or(usize::MAX) + 1 == count,
            ..chunk
        };
        room.submit(lane, Body::Snapshot(chunk)).await?;
    }
    let chunks = u32::try_from(count).unwrap_or(u32::MAX);
    Ok(StateBefore { snapshot_token: token.to_vec().into(), chunks, events: entries })
}

/// Splits a snapshot: first its events, then the entries of the state, which name events that are known by then.
fn chunks(snapshot: &Snapshot) -> Vec<SnapshotChunk> {
    let mut chunks: Vec<SnapshotChunk> = Vec::new();
    let mut bytes = 0;
    for event in &snapshot.events {
        let size = event.json().len();
        match chunks.last_mut() {
            Some(chunk) if chunk.pdus.len() < EVENTS && bytes + size <= BYTES => {
                bytes += size;
                chunk.pdus.push(event.json().to_vec().into());
            }
            Some(_) | None => {
                bytes = size;
                let pdus = vec![event.json().to_vec().into()];
                chunks.push(SnapshotChunk { pdus, ..SnapshotChunk::default() });
            }
        }
    }
    chunks.extend(snapshot.state.chunks(ENTRIES).map(|ids| SnapshotChunk {
        state_event_ids: ids.iter().map(ToString::to_string).collect(),
        ..SnapshotChunk::default()
    }));
    chunks
}
