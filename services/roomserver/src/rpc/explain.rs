//! `ExplainService`: explains why an event was accepted or refused, and how the state before it was resolved.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use plexus_events::resolve::Round;
use plexus_proto::operator::v1::{
    ConflictingKey, EventStanding, ExplainEventRequest, ExplainEventResponse, ExplainedEvent,
    ExplainedResolution, MissingEvent, ResolutionStep, StateRoots,
    explain_service_server::{ExplainService, ExplainServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::check::{event_id, failed, not_found};
use crate::{
    app::App,
    graph::{Outcome, Reader, State},
    rooms::{EventNid, flags},
    store::{
        StoreError, pool,
        reads::vertices::{self, VertexRow},
    },
};

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> ExplainServiceServer<impl ExplainService> {
    ExplainServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl ExplainService for Service {
    #[instrument(name = "rpc.operator.explain_event", skip_all)]
    async fn explain_event(
        &self,
        request: Request<ExplainEventRequest>,
    ) -> Result<Response<ExplainEventResponse>, Status> {
        let id = request.into_inner().event_id;
        event_id("event_id", &id)?;
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let explained = self.explain(&conn, &id).await.map_err(|error| failed(&error))?;
        explained.map(Response::new).ok_or_else(|| not_found("nothing is known of the event"))
    }
}

impl Service {
    /// Finds what is known of an event, wherever it is: stored, parked, or only refused.
    async fn explain(
        &self,
        conn: &AsyncPgConnection,
        id: &str,
    ) -> Result<Option<ExplainEventResponse>, StoreError> {
        let mut answer = ExplainEventResponse { event_id: id.to_owned(), ..ExplainEventResponse::default() };
        let mut room = vertices::find_room_of(conn, id).await?.into_iter().next();
        if let Some(decision) = vertices::find_decision(conn, id).await?.into_iter().next() {
            answer.set_standing(EventStanding::Refused);
            answer.stage = decision.stage;
            answer.rule = decision.rule;
            answer.decided_ts = decision.decided_ts;
            if room.is_none() {
                room = vertices::find_room_by_nid(conn, &decision.room_nid).await?.into_iter().next();
            }
        }
        for parked in vertices::list_parked(conn, id).await? {
            answer.set_standing(EventStanding::Parked);
            answer.attempts = u32::try_from(parked.attempts).unwrap_or(0);
            if let (Some(event_id), Some(is_prev)) = (parked.missing_event_id, parked.is_prev) {
                answer.missing.push(MissingEvent { event_id, is_prev });
            }
            if room.is_none() {
                room = vertices::find_room_by_nid(conn, &parked.room_nid).await?.into_iter().next();
            }
        }
        if let Some(room) = room {
            answer.room_id.clone_from(&room.room_id);
            answer.room_version.clone_from(&room.version);
            if let Some(row) = vertices::find_vertex(conn, id).await?.into_iter().next() {
                let mut reader = Reader::new(conn, &self.app.nodes, room)?;
                stored(conn, &mut reader, &row, &mut answer).await?;
            }
        }
        Ok((answer.standing() != EventStanding::Unspecified).then_some(answer))
    }
}

/// Adds what is known of a stored event.
async fn stored(
    conn: &AsyncPgConnection,
    reader: &mut Reader<'_>,
    row: &VertexRow,
    answer: &mut ExplainEventResponse,
) -> Result<(), StoreError> {
    let has = |flag: i32| row.flags & flag != 0;
    // A parked event may be stored as an outlier meanwhile; that it waits is what matters.
    if answer.standing() != EventStanding::Parked {
        answer.set_standing(match () {
            () if has(flags::REJECTED) => EventStanding::Rejected,
            () if has(flags::SOFT_FAILED) => EventStanding::SoftFailed,
            () if has(flags::OUTLIER) => EventStanding::Outlier,
            () => EventStanding::Accepted,
        });
    }
    answer.redacted = has(flags::REDACTED);
    answer.seq = row.seq.unwrap_or(0);
    let json = vertices::list_json(conn, &[row.event_nid]).await?;
    answer.json = json.into_iter().next().map(|row| Bytes::from(row.json)).unwrap_or_default();
    let prevs = vertices::list_vertices(conn, &row.prev_nids).await?;
    answer.prev_event_ids = prevs.iter().map(|prev| prev.event_id.clone()).collect();
    answer.auth_events = auth_events(conn, row).await?;
    if has(flags::OUTLIER) {
        return Ok(());
    }
    let after = State::stored(row.members_root, row.other_root);
    let (members, other) = reader.decide(|reader| reader.hashes(&after)).await?;
    let hexadecimal = |hash: Option<u128>| hash.map(|hash| format!("{hash:032x}")).unwrap_or_default();
    answer.state_after = Some(StateRoots { members: hexadecimal(members), other: hexadecimal(other) });
    let states: Vec<State> =
        prevs.iter().map(|prev| State::stored(prev.members_root, prev.other_root)).collect();
    let outcome = reader.decide(|reader| reader.resolve(&states, true)).await?;
    answer.resolution = resolution(conn, &outcome).await?;
    Ok(())
}

/// The content of an event; empty if it cannot be read.
fn content(json: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Event {
        content: Box<serde_json::value::RawValue>,
    }
    serde_json::from_slice(json).map(|event: Event| event.content.get().to_owned()).unwrap_or_default()
}

async fn auth_events(conn: &AsyncPgConnection, row: &VertexRow) -> Result<Vec<ExplainedEvent>, StoreError> {
    let contents: HashMap<i64, Bytes> = vertices::list_json(conn, &row.auth_nids)
        .await?
        .into_iter()
        .map(|row| (row.event_nid, Bytes::from(content(&row.json))))
        .collect();
    let rows = vertices::list_vertices(conn, &row.auth_nids).await?;
    Ok(rows
        .into_iter()
        .map(|row| ExplainedEvent {
            event_id: row.event_id,
            r#type: row.event_type,
            state_key: row.state_key,
            sender: row.sender,
            content: contents.get(&row.event_nid).cloned().unwrap_or_default(),
            rejected: row.flags & flags::REJECTED != 0,
        })
        .collect())
}

/// Tells how states were resolved, in event IDs.
async fn resolution(
    conn: &AsyncPgConnection,
    outcome: &Outcome,
) -> Result<Option<ExplainedResolution>, StoreError> {
    let (Some(resolved), Some(explanation)) = (&outcome.resolved, outcome.explanation()) else {
        return Ok(None);
    };
    let mut nids: BTreeSet<EventNid> = explanation.conflicting.values().flatten().copied().collect();
    nids.extend(&explanation.auth_difference);
    nids.extend(&explanation.subgraph);
    nids.extend(explanation.steps.iter().map(|step| step.event));
    let nids: Vec<i64> = nids.into_iter().map(|nid| nid.0).collect();
    let rows = vertices::list_vertices(conn, &nids).await?;
    let ids: HashMap<EventNid, String> =
        rows.into_iter().map(|row| (EventNid(row.event_nid), row.event_id)).collect();
    let id = |nid: &EventNid| ids.get(nid).cloned().unwrap_or_default();
    let entries: &BTreeMap<_, _> = &resolved.entries;
    Ok(Some(ExplainedResolution {
        states: u32::try_from(outcome.distinct).unwrap_or(u32::MAX),
        conflicting: explanation
            .conflicting
            .iter()
            .map(|(key, events)| ConflictingKey {
                r#type: key.0.to_string(),
                state_key: key.1.clone(),
                event_ids: events.iter().map(id).collect(),
                resolved: entries.get(key).and_then(Option::as_ref).map(id).unwrap_or_default(),
            })
            .collect(),
        auth_difference: explanation.auth_difference.iter().map(id).collect(),
        subgraph: explanation.subgraph.iter().map(id).collect(),
        steps: explanation
            .steps
            .iter()
            .map(|step| ResolutionStep {
                event_id: id(&step.event),
                r#type: step.key.0.to_string(),
                state_key: step.key.1.clone(),
                power: step.round == Round::Power,
                refused: step.refused.clone().unwrap_or_default(),
            })
            .collect(),
    }))
}
