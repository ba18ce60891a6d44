//! Sends one transaction: reads what of backlogs goes into it, puts it together, and tells what became of it.

use std::{sync::Arc, time::Instant};

use plexus_proto::room::v1::{ListOutgoingRequest, OutgoingEvent};
use plexus_s2s::{Call, Class, Peers, now_ms};
use ruma::{EventId, OwnedServerName};
use serde::Deserialize;
use tonic::Status;
use tracing::{debug, error};

use super::{
    Pdu,
    destination::{Backlog, Gathered, Plan},
    metrics,
    outbox::{self, Waiting},
    outcome::Outcome,
    transaction::{MAX_PDUS, Transaction, compose},
    upstream::Upstream,
};

/// What of a backlog is sent: the newest of our own events in a room, if they are not older than this in milliseconds.
const MAX_BACKLOG: u32 = 5_000;
const MAX_BACKLOG_AGE: i64 = 14 * 24 * 60 * 60 * 1_000;

/// What an attempt needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Courier {
    pub(super) own: OwnedServerName,
    pub(super) peers: Peers,
    pub(super) upstream: Upstream,
    /// Whether other servers are told the names of devices.
    pub(super) tells_names: bool,
}

/// An attempt that has ended.
pub(super) struct Attempt {
    pub(super) server: OwnedServerName,
    pub(super) plan: Plan,
    pub(super) gathered: Vec<Gathered>,
    /// Whether more waits that is not of rooms.
    pub(super) has_more: bool,
    pub(super) outcome: Outcome,
}

/// What a server says of the events that it took.
#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    pdus: std::collections::BTreeMap<String, Verdict>,
}

#[derive(Deserialize)]
struct Verdict {
    error: Option<String>,
}

impl Courier {
    /// Sends what is planned.
    pub(super) async fn run(self, server: OwnedServerName, plan: Plan) -> Attempt {
        let began = Instant::now();
        let mut pdus = plan.pdus.clone();
        let (gathered, mut failure) = self.gather(&server, &plan.rooms, &mut pdus).await;
        let waiting = self.read_outbox(&server, &plan).await.unwrap_or_else(|status| {
            failure = Some(status);
            Waiting::default()
        });
        let Waiting { mut edus, acknowledges, more } = waiting;
        edus.extend(plan.edus.iter().cloned());
        let outcome = if pdus.is_empty() && edus.is_empty() {
            failure.map_or(Outcome::Nothing, |status| Outcome::Ours(status.to_string()))
        } else {
            let transaction = compose(&self.own, &server, &pdus, &edus, now_ms());
            let (prepared, bytes) = (began.elapsed(), transaction.body.len());
            let began = Instant::now();
            let outcome = self.send(&server, transaction).await;
            metrics::took(prepared, began.elapsed(), bytes);
            outcome
        };
        metrics::attempted(outcome.name(), pdus.len(), edus.len());
        let is_taken = !acknowledges.to_device.is_empty() || !acknowledges.keys.is_empty();
        let mut has_more = more;
        if is_taken
            && matches!(outcome, Outcome::Delivered | Outcome::Nothing)
            && let Err(status) = self.upstream.acknowledge(acknowledges).await
        {
            // It is sent once more; servers know messages that they have.
            debug!(%server, %status, "what a server has taken could not be noted");
            has_more = true;
        }
        Attempt { server, plan, gathered, has_more, outcome }
    }

    /// Reads backlogs until there is enough for one transaction.
    async fn gather(
        &self,
        server: &OwnedServerName,
        rooms: &[Backlog],
        pdus: &mut Vec<Arc<Pdu>>,
    ) -> (Vec<Gathered>, Option<Status>) {
        let mut gathered = Vec::new();
        for room in rooms {
            let place = MAX_PDUS.saturating_sub(pdus.len()).min(room.limit);
            if place == 0 {
                break;
            }
            let request = ListOutgoingRequest {
                room_id: room.room_id.to_string(),
                server: server.to_string(),
                after_seq: room.after,
                limit: u32::try_from(place).unwrap_or(1),
                trim: room.trim,
                max_backlog: MAX_BACKLOG,
                min_ts: now_ms() - MAX_BACKLOG_AGE,
            };
            let page = match self.upstream.outgoing(request).await {
                Ok(page) => page,
                Err(status) => return (gathered, Some(status)),
            };
            // A room that we are not in any more has nothing to send.
            let (events, reached, more) =
                page.map_or((Vec::new(), u64::MAX, false), |page| (page.events, page.reached_seq, page.more));
            let read: Vec<Arc<Pdu>> = events.into_iter().filter_map(|event| pdu(room, event)).collect();
            gathered.push(Gathered {
                room_id: room.room_id.clone(),
                reached,
                more,
                pdus: read.len(),
                last: read.last().map(|pdu| (pdu.seq, pdu.event_id.clone())),
            });
            pdus.extend(read);
        }
        (gathered, None)
    }

    /// Reads what waits that is not of rooms. What is given up is not sent, and counts as taken.
    async fn read_outbox(&self, server: &OwnedServerName, plan: &Plan) -> Result<Waiting, Status> {
        let Some(take) = plan.outbox else { return Ok(Waiting::default()) };
        let waiting = self.upstream.outgoing_edus(server, take.limit).await?;
        let mut waiting = outbox::compose(server, waiting, self.tells_names);
        if take.is_discarded {
            error!(%server, "another server cannot take an EDU, which it is not sent any more");
            waiting.edus.clear();
        }
        Ok(waiting)
    }

    async fn send(&self, server: &OwnedServerName, transaction: Transaction) -> Outcome {
        let path = format!("/_matrix/federation/v1/send/{}", transaction.id);
        let call = Call {
            destination: server,
            method: http::Method::PUT,
            path: &path,
            body: Some(transaction.body),
            class: Class::TRANSACTION,
            is_signed: true,
        };
        match self.peers.call(call).await {
            Ok(answer) => {
                let answer: Answer = serde_json::from_slice(&answer.body).unwrap_or_default();
                let refused =
                    answer.pdus.iter().filter_map(|(id, verdict)| Some((id, verdict.error.as_ref()?)));
                for (event_id, error) in refused.clone() {
                    debug!(%server, event.id = event_id, error, "another server does not accept an event");
                }
                metrics::refused(refused.count());
                Outcome::Delivered
            }
            Err(error) => Outcome::of(&error),
        }
    }
}

fn pdu(room: &Backlog, event: OutgoingEvent) -> Option<Arc<Pdu>> {
    let event_id = EventId::parse(event.event_id.as_str()).ok()?;
    let partition = usize::try_from(plexus_log::partition_of(room.room_id.as_str())).ok()?;
    let room_id = room.room_id.clone();
    Some(Arc::new(Pdu { room_id, event_id, partition, seq: event.seq, json: event.json }))
}
