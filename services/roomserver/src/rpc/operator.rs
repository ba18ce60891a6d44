//! `PartitionService`: partitions and dead letters, for operators.

use bytes::Bytes;
use plexus_log::{InputRoom, InputRoomBulk, InputUser, LogError, Offset, RawRecord, Topic};
use plexus_proto::operator::v1::{
    DeadLetter, ListDeadLettersRequest, ListDeadLettersResponse, ListPartitionsRequest,
    ListPartitionsResponse, PartitionStatus, ReplayDeadLetterRequest, ReplayDeadLetterResponse,
    partition_service_server::{PartitionService, PartitionServiceServer},
};
use tonic::{Code, Request, Response, Status};
use tracing::{info, instrument};

use super::check::{failed, not_found, unsigned};
use crate::{
    app::App,
    store::{StoreError, partitions, pool, reads, reads::dead_letters::DeadLetterRow},
};

/// Dead letters listed if the request does not say how many.
const LETTERS: u32 = 100;
/// Most dead letters listed.
const MOST_LETTERS: u32 = 1000;
/// Bytes after which the list ends: receivers take 4 MiB, and a record is less than one.
const LIST_BYTES: usize = 2 * 1024 * 1024;
/// Dead letters read at once.
const CHUNK: i64 = 16;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> PartitionServiceServer<impl PartitionService> {
    PartitionServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl PartitionService for Service {
    #[instrument(name = "rpc.operator.list_partitions", skip_all)]
    async fn list_partitions(
        &self,
        _request: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let states = partitions::list(&mut conn).await.map_err(|error| failed(&error))?;
        let partitions = states.into_iter().map(|rows| self.status(rows)).collect();
        Ok(Response::new(ListPartitionsResponse { partitions }))
    }

    #[instrument(name = "rpc.operator.list_dead_letters", skip_all)]
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => LETTERS,
            limit => limit.min(MOST_LETTERS),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let dead_letters = self.list(limit).await.map_err(|error| failed(&error))?;
        Ok(Response::new(ListDeadLettersResponse { dead_letters }))
    }

    #[instrument(name = "rpc.operator.replay_dead_letter", skip_all)]
    async fn replay_dead_letter(
        &self,
        request: Request<ReplayDeadLetterRequest>,
    ) -> Result<Response<ReplayDeadLetterResponse>, Status> {
        let ReplayDeadLetterRequest { id } = request.into_inner();
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let rows = reads::dead_letters::find(&conn, &id).await.map_err(|error| failed(&error))?;
        let row = rows.into_iter().next().ok_or_else(|| not_found("there is no such dead letter"))?;
        drop(conn);
        let (topic, partition) = (row.topic.clone(), row.partition);
        let offset = self.append(row).await?;
        // If this fails, the letter stays and may be replayed once more: a repeat of an input changes nothing.
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        reads::dead_letters::delete(&conn, &id).await.map_err(|error| failed(&error))?;
        info!(id, topic, partition, offset, "replayed a dead letter");
        Ok(Response::new(ReplayDeadLetterResponse { offset }))
    }
}

impl Service {
    fn status(&self, (state, bulk): partitions::Rows) -> PartitionStatus {
        let partition = u32::try_from(state.partition).unwrap_or(0);
        PartitionStatus {
            partition,
            epoch: unsigned(state.epoch),
            owner: state.owner,
            owned_here: self.app.verdicts.owns(partition),
            room_offset: unsigned(state.room_offset),
            user_offset: unsigned(state.user_offset),
            bulk_offset: unsigned(bulk.bulk_offset),
            room_seq: unsigned(state.next_room_seq - 1),
            room_published_seq: unsigned(state.room_published_seq),
            user_seq: unsigned(state.next_user_seq - 1),
            user_published_seq: unsigned(state.user_published_seq),
        }
    }

    /// Lists the newest dead letters, as far as they fit into one answer.
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let conn = pool::get(&self.app.pool).await?;
        let mut letters = Vec::new();
        let mut bytes = 0;
        let mut before = i64::MAX;
        loop {
            let rows = reads::dead_letters::list(&conn, &before, &CHUNK).await?;
            let Some(last) = rows.last().map(|row| row.id) else { return Ok(letters) };
            before = last;
            for row in rows {
                bytes += row.payload.len() + row.error.len();
                if letters.len() >= limit || (bytes > LIST_BYTES && !letters.is_empty()) {
                    return Ok(letters);
                }
                letters.push(DeadLetter {
                    id: row.id,
                    topic: row.topic,
                    partition: u32::try_from(row.partition).unwrap_or(0),
                    offset: unsigned(row.log_offset),
                    error: row.error,
                    payload: Bytes::from(row.payload),
                    created_ts: row.created_ts,
                });
            }
        }
    }

    async fn append(&self, row: DeadLetterRow) -> Result<Offset, Status> {
        let partition = u32::try_from(row.partition).unwrap_or(0);
        let appended = if row.topic == InputRoom::SPEC.name {
            self.app.log.append_raw::<InputRoom>(partition, record::<InputRoom>(row.payload)).await
        } else if row.topic == InputRoomBulk::SPEC.name {
            self.app.log.append_raw::<InputRoomBulk>(partition, record::<InputRoomBulk>(row.payload)).await
        } else if row.topic == InputUser::SPEC.name {
            self.app.log.append_raw::<InputUser>(partition, record::<InputUser>(row.payload)).await
        } else {
            return Err(Status::internal("the dead letter is of no input topic"));
        };
        appended.map_err(|error| match error {
            LogError::TimedOut | LogError::Closed | LogError::Broker { .. } => {
                Status::new(Code::Unavailable, error.to_string())
            }
            LogError::TooLarge { .. } => Status::internal(error.to_string()),
        })
    }
}

/// The record as it was. What cannot be decoded has lost its key, which nothing but compaction would miss.
fn record<T: Topic>(payload: Vec<u8>) -> RawRecord {
    let payload = Bytes::from(payload);
    let decoded = <T::Record as prost::Message>::decode(payload.clone());
    let key = decoded.map(|record| Bytes::copy_from_slice(T::key(&record).as_bytes())).unwrap_or_default();
    RawRecord { key, headers: Vec::new(), payload }
}
