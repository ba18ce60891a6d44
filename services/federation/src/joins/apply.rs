//! A join becomes part of the room here: the state before it goes ahead in chunks, then the event.

use std::{collections::VecDeque, time::Duration};

use plexus_events::RoomRules;
use plexus_input::{Lane, Outcome, SubmitError, Written};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{SnapshotChunk, StateBefore, input_room_event::Body, pdu},
};
use ruma::{RoomId, ServerName, UserId};

use super::{
    known::{Known, submit_status},
    verify::{Entry, VerifiedJoin},
};
use crate::Federation;

/// Events and bytes of a chunk: live traffic does not feel that many.
const CHUNK_EVENTS: usize = 200;
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks under way.
const AHEAD: usize = 4;
/// How long a verdict is waited for: the last chunk puts all of them together.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long it is waited for that what a join cites is fetched, and between two looks.
const FETCH_PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

/// Why a join is not part of the room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// It never will be.
    #[error("the room server refuses the join: {0}")]
    Refused(String),
    /// It may yet be: it is to be tried again.
    #[error("the join could not be applied: {0}")]
    Later(tonic::Status),
}

impl From<SubmitError> for ApplyError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected { message, .. } => Self::Refused(message),
            error => Self::Later(submit_status(&error)),
        }
    }
}

/// Applies a join to a room that this server is not in.
pub(crate) async fn with_state(
    federation: &Federation,
    room_id: &RoomId,
    rules: &RoomRules,
    resident: &ServerName,
    told: VerifiedJoin,
) -> Result<(), ApplyError> {
    let input = federation.input.clone().with_deadline(PATIENCE);
    let token = bytes::Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
    let VerifiedJoin { join, events } = told;
    let state = events.iter().filter(|entry| entry.is_state).count();
    let chunks = chunks(events);
    let count = chunks.len();
    let mut under_way: VecDeque<Written> = VecDeque::new();
    for (index, entries) in chunks.into_iter().enumerate() {
        let chunk = SnapshotChunk {
            token: token.clone(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            room_version: rules.id.to_string(),
            origin: resident.to_string(),
            state_event_ids: entries.iter().filter(|it| it.is_state).map(|it| it.id.to_string()).collect(),
            pdus: entries.into_iter().map(|entry| entry.json).collect(),
            last: index + 1 == count,
        };
        if under_way.len() >= AHEAD
            && let Some(written) = under_way.pop_front()
        {
            settle(input.verdict_on(written).await?)?;
        }
        under_way.push_back(input.append_room(room_id, Lane::Bulk, Body::Snapshot(chunk)).await?);
    }
    for written in under_way {
        settle(input.verdict_on(written).await?)?;
    }
    let pdu = plexus_proto::log::v1::Pdu {
        state_before: Some(StateBefore {
            snapshot_token: token,
            chunks: u32::try_from(count).unwrap_or(u32::MAX),
            events: u32::try_from(state).unwrap_or(u32::MAX),
        }),
        ..join.to_input(pdu::Kind::New, resident)
    };
    let written = input.append_room(room_id, Lane::Live, Body::Pdu(pdu)).await?;
    settle(input.verdict_on(written).await?)
}

/// Applies a join to a room that this server is in: what it cites is known, or is fetched like for any other event.
pub(crate) async fn as_resident(
    federation: &Federation,
    room_id: &RoomId,
    user_id: &UserId,
    resident: &ServerName,
    told: VerifiedJoin,
) -> Result<(), ApplyError> {
    let pdu = told.join.to_input(pdu::Kind::New, resident);
    let written = federation.input.append_room(room_id, Lane::Live, Body::Pdu(pdu)).await?;
    let outcome = federation.input.verdict_on(written).await?;
    if !matches!(outcome, Outcome::Parked(_)) {
        return settle(outcome);
    }
    let until = tokio::time::Instant::now() + FETCH_PATIENCE;
    while tokio::time::Instant::now() < until {
        let known = Known::read(federation, room_id, user_id).await.map_err(ApplyError::Later)?;
        if known.is_joined() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(ApplyError::Later(tonic::Status::deadline_exceeded("what the join cites has not come")))
}

fn settle(outcome: Outcome) -> Result<(), ApplyError> {
    match outcome {
        Outcome::Accepted(accepted) if accepted.soft_failed => {
            Err(ApplyError::Refused("the room does not allow it any more".to_owned()))
        }
        Outcome::Accepted(_) => Ok(()),
        Outcome::Rejected(rejected) => match rejected.reason() {
            ErrorReason::TimedOut | ErrorReason::NotOwner | ErrorReason::DeadLettered => {
                Err(ApplyError::Later(tonic::Status::unavailable(rejected.message)))
            }
            _ => Err(ApplyError::Refused(rejected.message)),
        },
        Outcome::Parked(_) => Err(ApplyError::Refused("it cites events that were not told".to_owned())),
        Outcome::Unknown(_) => Err(ApplyError::Later(tonic::Status::unavailable("an input was lost"))),
    }
}

/// Cuts events into chunks.
fn chunks(events: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut chunks: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in events {
        let length = entry.json.len();
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_EVENTS && bytes + length <= CHUNK_BYTES => {
                bytes += length;
                chunk.push(entry);
            }
            Some(_) | None => {
                bytes = length;
                chunks.push(vec![entry]);
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_bounded_and_keep_the_order() {
        let entry = |number: usize, bytes: usize| Entry {
            id: format!("${number}").try_into().unwrap(),
            json: vec![b' '; bytes].into(),
            is_state: true,
        };
        let sizes = |events: Vec<Entry>| -> Vec<usize> { chunks(events).iter().map(Vec::len).collect() };
        assert_eq!(sizes((0..450).map(|number| entry(number, 10)).collect()), [200, 200, 50]);
        assert_eq!(sizes((0..9).map(|number| entry(number, 65_536)).collect()), [4, 4, 1]);
        assert!(sizes(Vec::new()).is_empty());
        let order: Vec<String> = chunks((0..300).map(|number| entry(number, 10)).collect())
            .into_iter()
            .flatten()
            .map(|entry| entry.id.to_string())
            .collect();
        assert_eq!(order, (0..300).map(|number| format!("${number}")).collect::<Vec<_>>());
    }
}
