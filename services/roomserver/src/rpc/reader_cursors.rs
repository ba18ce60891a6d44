//! `ReaderCursorService`: registers readers of the output logs and their positions.

use plexus_proto::{
    common::v1::{ErrorReason, PartitionHead},
    reader::v1::{
        ListCursorsRequest, ListCursorsResponse, MoveCursorsRequest, MoveCursorsResponse, OutputLog as Log,
        RemoveReaderRequest, RemoveReaderResponse,
        reader_cursor_service_server::{ReaderCursorService, ReaderCursorServiceServer},
    },
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};
use tracing::instrument;

use super::check::{failed, invalid, position, unsigned};
use crate::{
    app::App,
    store::{
        output::OutputLog,
        pool,
        reader_cursors::{self, Cursor, Moved},
    },
};

/// Longest name of a reader.
const MAX_NAME: usize = 64;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> ReaderCursorServiceServer<impl ReaderCursorService> {
    ReaderCursorServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl ReaderCursorService for Service {
    #[instrument(name = "rpc.reader.move_cursors", skip_all)]
    async fn move_cursors(
        &self,
        request: Request<MoveCursorsRequest>,
    ) -> Result<Response<MoveCursorsResponse>, Status> {
        let request = request.into_inner();
        let log = log(request.log())?;
        check_name(&request.reader)?;
        let cursors = cursors(&request.cursors)?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let moved = reader_cursors::set(&mut conn, &request.reader, log, &cursors).await;
        match moved.map_err(|error| failed(&error))? {
            Moved::Yes(lost) => Ok(Response::new(MoveCursorsResponse { lost: heads(lost) })),
            Moved::BeyondHead => Err(invalid("cursors", "one lies beyond the end of the log")),
            Moved::TooMany => {
                let message = "there are too many readers: remove one first";
                Err(refusal(Code::ResourceExhausted, ErrorReason::LimitExceeded, message))
            }
        }
    }

    #[instrument(name = "rpc.reader.list_cursors", skip_all)]
    async fn list_cursors(
        &self,
        request: Request<ListCursorsRequest>,
    ) -> Result<Response<ListCursorsResponse>, Status> {
        let request = request.into_inner();
        let log = log(request.log())?;
        check_name(&request.reader)?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let cursors = reader_cursors::list(&mut conn, &request.reader, log).await;
        Ok(Response::new(ListCursorsResponse { cursors: heads(cursors.map_err(|error| failed(&error))?) }))
    }

    #[instrument(name = "rpc.reader.remove_reader", skip_all)]
    async fn remove_reader(
        &self,
        request: Request<RemoveReaderRequest>,
    ) -> Result<Response<RemoveReaderResponse>, Status> {
        let RemoveReaderRequest { reader } = request.into_inner();
        check_name(&reader)?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        reader_cursors::remove(&mut conn, &reader).await.map_err(|error| failed(&error))?;
        Ok(Response::new(RemoveReaderResponse {}))
    }
}

fn log(log: Log) -> Result<OutputLog, Status> {
    match log {
        Log::Room => Ok(OutputLog::Rooms),
        Log::User => Ok(OutputLog::Users),
        Log::Unspecified => Err(invalid("log", "it is not set")),
    }
}

fn check_name(reader: &str) -> Result<(), Status> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if reader.is_empty() || reader.len() > MAX_NAME || !reader.bytes().all(is_allowed) {
        return Err(invalid("reader", "it is not 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`"));
    }
    Ok(())
}

fn cursors(heads: &[PartitionHead]) -> Result<Vec<Cursor>, Status> {
    let mut cursors: Vec<Cursor> = Vec::with_capacity(heads.len().min(64));
    for head in heads {
        let partition =
            i16::try_from(head.partition).ok().filter(|_| head.partition < plexus_log::PARTITIONS);
        let partition = partition.ok_or_else(|| invalid("cursors", "there is no such partition"))?;
        if cursors.iter().any(|cursor| cursor.partition == partition) {
            return Err(invalid("cursors", "a partition is named twice"));
        }
        cursors.push(Cursor { partition, seq: position(head.seq) });
    }
    Ok(cursors)
}

fn heads(cursors: Vec<Cursor>) -> Vec<PartitionHead> {
    let head = |cursor: Cursor| PartitionHead {
        partition: u32::try_from(cursor.partition).unwrap_or(0),
        seq: unsigned(cursor.seq),
    };
    cursors.into_iter().map(head).collect()
}
