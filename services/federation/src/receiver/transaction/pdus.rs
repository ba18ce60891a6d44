//! The events of a transaction: from their bytes into the log, and what became of them.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;
use plexus_input::{Lane, Outcome, Written};
use plexus_log::MAX_RECORD_BYTES;
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    input::v1::Verdict,
    log::v1::{PduBatch, input_room_event::Body, pdu::Kind},
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::{
    answer::{Answers, Entry},
    rooms::Rooms,
};
use crate::{
    Federation,
    checked::{self, CheckedPdu, ReadPdu},
    fetcher::Ends,
    metrics,
    receiver::membership::rescind,
};

/// How long keys may take that have to be fetched: what has none by then is dropped, and comes again when something cites
/// it.
const KEY_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the events of one record.
const MAX_BATCH_BYTES: usize = MAX_RECORD_BYTES - 64 * 1024;

/// What has to be known of an event before it can be read.
#[derive(Deserialize)]
struct Head {
    room_id: OwnedRoomId,
}

/// Events of one room that lie in the log as one record.
struct Batch {
    event_ids: Vec<OwnedEventId>,
    /// When what each of them lacks has been fetched, if it is parked.
    ends: Vec<Ends>,
    written: Written,
}

/// Events that await their verdicts.
pub(super) struct Pending {
    answers: Answers,
    batches: Vec<Batch>,
}

/// Checks events and writes those that pass to the log, in their order.
pub(super) async fn write(
    federation: &Federation,
    rooms: &Rooms,
    origin: &OwnedServerName,
    pdus: Vec<Box<RawValue>>,
) -> Result<Pending, MatrixError> {
    let mut answers = Answers::default();
    let mut read = Vec::with_capacity(pdus.len());
    let mut seen = HashSet::new();
    for pdu in &pdus {
        // An event without a room that is known here has no ID that could be told, as that is made by the room's version.
        let Ok(head) = serde_json::from_str::<Head>(pdu.get()) else { continue };
        let standing = rooms.get(&head.room_id).await?;
        if standing.as_ref().is_none_or(|standing| !standing.is_resident)
            && rescind::take(federation, &head.room_id, pdu.get().as_bytes()).await?
        {
            continue;
        }
        let Some(standing) = standing else {
            debug!(room.id = %head.room_id, "an event is of a room that is not known here");
            metrics::pdu("unknown room");
            continue;
        };
        match checked::read(pdu.get().as_bytes(), &head.room_id, standing.rules) {
            Ok(event) => {
                let event_id = event.event_id().to_owned();
                if !seen.insert(event_id.clone()) {
                    continue;
                }
                match standing.refusal.or_else(|| is_own(&event, federation)) {
                    None => read.push(event),
                    Some(why) => refuse(&mut answers, event_id, why, "refused"),
                }
            }
            Err(error) => {
                debug!(room.id = %head.room_id, %error, "an event is malformed");
                match checked::id_of(pdu.get().as_bytes(), standing.rules) {
                    Some(event_id) => refuse(&mut answers, event_id, error, "malformed"),
                    None => metrics::pdu("malformed"),
                }
            }
        }
    }
    let mut checked = Vec::with_capacity(read.len());
    for (event_id, result) in checked::verify(&federation.keys, read, KEY_PATIENCE).await {
        match result {
            Ok(event) => checked.push(event),
            Err(error) => {
                debug!(event.id = %event_id, %error, "an event is not let in");
                refuse(&mut answers, event_id, error, "not verified");
            }
        }
    }
    let batches = append(federation, origin, checked).await?;
    Ok(Pending { answers, batches })
}

/// What claims to be of one of our users was made here, and is known; nobody hands it to us.
fn is_own(event: &ReadPdu, federation: &Federation) -> Option<&'static str> {
    let is_own = event.sender().is_none_or(|sender| sender.server_name() == federation.name);
    is_own.then_some("the event claims to be of a user of this server")
}

fn refuse(answers: &mut Answers, event_id: OwnedEventId, why: impl ToString, outcome: &'static str) {
    metrics::pdu(outcome);
    answers.refuse(event_id, why);
}

/// Writes the events of each room in their order; different rooms at the same time.
async fn append(
    federation: &Federation,
    origin: &OwnedServerName,
    events: Vec<CheckedPdu>,
) -> Result<Vec<Batch>, MatrixError> {
    let mut by_room: Vec<(OwnedRoomId, Vec<CheckedPdu>)> = Vec::new();
    for event in events {
        match by_room.iter_mut().find(|(room_id, _)| room_id == event.room_id()) {
            Some((_, events)) => events.push(event),
            None => by_room.push((event.room_id().to_owned(), vec![event])),
        }
    }
    let rooms = by_room.into_iter().map(async |(room_id, events)| {
        let mut batches = Vec::new();
        for events in split(events) {
            let event_ids = events.iter().map(|event| event.event_id().to_owned()).collect();
            let ends = events.iter().map(|event| federation.fetches.watch(event.event_id())).collect();
            let pdus = events.iter().map(|event| event.to_input(Kind::New, origin)).collect();
            let body = Body::Pdus(PduBatch { pdus });
            let written = federation.input.append_room(&room_id, Lane::Live, body).await?;
            batches.push(Batch { event_ids, ends, written });
        }
        Ok::<_, MatrixError>(batches)
    });
    let mut batches = Vec::new();
    for written in join_all(rooms).await {
        batches.extend(written?);
    }
    Ok(batches)
}

/// Splits events into as many as fit into a record each.
pub(crate) fn split(events: Vec<CheckedPdu>) -> Vec<Vec<CheckedPdu>> {
    /// Of a record, beside the event.
    const OVERHEAD: usize = 512;
    let (mut batches, mut bytes) = (Vec::<Vec<CheckedPdu>>::new(), usize::MAX);
    for event in events {
        let size = event.json().len() + OVERHEAD;
        match batches.last_mut() {
            Some(batch) if bytes.saturating_add(size) <= MAX_BATCH_BYTES => {
                bytes += size;
                batch.push(event);
            }
            Some(_) | None => {
                bytes = size;
                batches.push(vec![event]);
            }
        }
    }
    batches
}

impl Pending {
    /// Waits for the verdicts, as far as they come within the budget. For a parked event that is the end of its fetch.
    pub(super) async fn verdicts(self, federation: &Federation, budget: Duration) -> Answers {
        let Self { mut answers, batches } = self;
        let deadline = Instant::now() + budget;
        let judged = batches.into_iter().map(async |Batch { event_ids, ends, written }| {
            let outcome = timeout_at(deadline, federation.input.verdict_on(written)).await;
            let outcome = match outcome {
                Ok(Ok(outcome)) => Ok(outcome),
                Ok(Err(error)) => {
                    warn!(%error, "events lie in the log, and nobody tells what becomes of them");
                    Err(())
                }
                Err(_) => Err(()),
            };
            let entries = entries(event_ids, outcome);
            for ((_, judged), end) in entries.iter().zip(ends) {
                if *judged == Judged::Parked {
                    // Its past is on its way: what the origin sends next had better find it there.
                    timeout_at(deadline, end.reached()).await.ok();
                }
            }
            entries
        });
        for (event_id, judged) in join_all(judged).await.into_iter().flatten() {
            metrics::pdu(judged.name());
            answers.add(event_id, judged.into_entry());
        }
        answers
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judged {
    Accepted,
    Parked,
    Rejected(String),
    NotYet,
}

impl Judged {
    fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Parked => "parked",
            Self::Rejected(_) => "rejected",
            Self::NotYet => "not yet judged",
        }
    }

    fn into_entry(self) -> Entry {
        match self {
            Self::Accepted | Self::Parked => Entry::Taken,
            Self::Rejected(why) => Entry::Error(why),
            Self::NotYet => Entry::Error("the event has not been judged yet".to_owned()),
        }
    }
}

/// What the verdict on a batch says of its events.
fn entries(event_ids: Vec<OwnedEventId>, outcome: Result<Outcome, ()>) -> Vec<(OwnedEventId, Judged)> {
    let all = |judged: Judged| vec![judged; event_ids.len()];
    let judged = match outcome {
        Ok(Outcome::Accepted(accepted)) => {
            let results = accepted.results.into_iter().map(|result| judge(result.verdict));
            let mut judged: Vec<Judged> = results.collect();
            judged.resize(event_ids.len(), Judged::NotYet);
            judged
        }
        Ok(Outcome::Rejected(rejected)) => all(Judged::Rejected(rejected.message)),
        Ok(Outcome::Parked(_) | Outcome::Unknown(_)) | Err(()) => all(Judged::NotYet),
    };
    event_ids.into_iter().zip(judged).collect()
}

fn judge(verdict: Option<Verdict>) -> Judged {
    match verdict.and_then(|verdict| verdict.outcome) {
        Some(Outcome::Accepted(_)) => Judged::Accepted,
        Some(Outcome::Parked(_)) => Judged::Parked,
        Some(Outcome::Rejected(rejected)) => Judged::Rejected(rejected.message),
        Some(Outcome::Unknown(_)) | None => Judged::NotYet,
    }
}
