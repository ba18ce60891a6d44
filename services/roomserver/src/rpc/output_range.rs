//! Ranges of both output logs: committed records, read from the database page by page, so that a slow reader holds no
//! connection.

use std::collections::VecDeque;

use diesel_async::AsyncPgConnection;
use futures::{Stream, stream};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{OutputRoomEvent, OutputUserEvent},
};
use plexus_service::refusal::refusal;
use prost::Message;
use tonic::{Code, Status};
use tracing::error;

use super::{
    check::{failed, unsigned},
    room_stream::{CHUNK_BYTES, PAGE},
};
use crate::{
    app::App,
    store::{
        StoreError,
        output::{self, OutputLog},
        pool, reads,
    },
};

/// A record of an output log.
pub(super) trait OutputRecord: Message + Sized + 'static {
    /// The log of which it is.
    const LOG: OutputLog;
    /// Its sequence number in the partition.
    fn seq(&self) -> u64;
    /// Reads a page, in order.
    fn list(
        conn: &mut AsyncPgConnection,
        partition: i16,
        after: i64,
        to: i64,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send;
}

impl OutputRecord for OutputRoomEvent {
    const LOG: OutputLog = OutputLog::Rooms;
    fn seq(&self) -> u64 {
        self.seq
    }
    fn list(
        conn: &mut AsyncPgConnection,
        partition: i16,
        after: i64,
        to: i64,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send {
        output::list_rooms(conn, partition, after, to, limit)
    }
}

impl OutputRecord for OutputUserEvent {
    const LOG: OutputLog = OutputLog::Users;
    fn seq(&self) -> u64 {
        self.seq
    }
    fn list(
        conn: &mut AsyncPgConnection,
        partition: i16,
        after: i64,
        to: i64,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send {
        output::list_users(conn, partition, after, to, limit)
    }
}

/// The records of a partition after one `seq` and up to another, in chunks fit for an answer. A range that begins
/// before what is left of the log is refused; a hole fails the stream.
pub(super) fn chunks<R: OutputRecord>(
    app: &App,
    partition: i16,
    after: i64,
    to: i64,
) -> impl Stream<Item = Result<Vec<R>, Status>> + Send + 'static {
    let range = Range { app: app.clone(), partition, after, to, ready: VecDeque::new() };
    stream::try_unfold(range, Range::next)
}

struct Range<R> {
    app: App,
    partition: i16,
    after: i64,
    to: i64,
    ready: VecDeque<R>,
}

impl<R: OutputRecord> Range<R> {
    async fn next(mut self) -> Result<Option<(Vec<R>, Self)>, Status> {
        if self.ready.is_empty() && self.after < self.to {
            self.read().await?;
        }
        let mut records = Vec::with_capacity(self.ready.len());
        let mut bytes = 0;
        while bytes < CHUNK_BYTES
            && let Some(record) = self.ready.pop_front()
        {
            bytes += record.encoded_len();
            records.push(record);
        }
        Ok((!records.is_empty()).then_some((records, self)))
    }

    async fn read(&mut self) -> Result<(), Status> {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let records = R::list(&mut conn, self.partition, self.after, self.to, limit)
            .await
            .map_err(|error| failed(&error))?;
        if records.first().is_none_or(|first| first.seq() != unsigned(self.after) + 1) {
            // Asked afterwards: what was there when the records were read may have gone since, never come back.
            let floor = reads::heads::find_floor(&conn, R::LOG.topic(), &self.partition)
                .await
                .map_err(|error| failed(&error))?;
            if floor.first().is_some_and(|(floor,)| *floor > self.after) {
                let message = "records of the range are gone";
                return Err(refusal(Code::OutOfRange, ErrorReason::OutOfRange, message));
            }
        }
        for record in records {
            // What was committed has no holes; readers rely on it.
            if record.seq() != unsigned(self.after) + 1 {
                error!(
                    table = R::LOG.table(),
                    partition = self.partition,
                    after = self.after,
                    found = record.seq(),
                    "the output log has a hole"
                );
                return Err(Status::data_loss("the output log has a hole"));
            }
            self.after += 1;
            self.ready.push_back(record);
        }
        Ok(())
    }
}
