//! `RoomStreamService.StreamRange`: committed records, rebuilt from the database page by page, so that a slow reader
//! holds no connection.

use std::collections::VecDeque;

use futures::{StreamExt as _, stream, stream::BoxStream};
use plexus_proto::{
    log::v1::OutputRoomEvent,
    room::v1::{StreamRangeRequest, StreamRangeResponse},
};
use prost::Message as _;
use tonic::{Request, Response, Status};
use tracing::{error, instrument};

use super::{CHUNK_BYTES, PAGE};
use crate::{
    app::App,
    rpc::check::{failed, invalid, position, unsigned},
    store::{StoreError, output, pool, reads},
};

#[instrument(name = "rpc.room.stream_range", skip_all)]
pub(super) async fn answer(
    app: &App,
    request: Request<StreamRangeRequest>,
) -> Result<Response<BoxStream<'static, Result<StreamRangeResponse, Status>>>, Status> {
    let StreamRangeRequest { partition, after_seq, to_seq } = request.into_inner();
    if partition >= plexus_log::PARTITIONS {
        return Err(invalid("partition", "there is no such partition"));
    }
    let partition = i16::try_from(partition).map_err(|error| invalid("partition", error))?;
    let head = head(app, partition).await.map_err(|error| failed(&error))?;
    let to = if to_seq == 0 { head } else { position(to_seq).min(head) };
    let range = Range { app: app.clone(), partition, after: position(after_seq), to, ready: VecDeque::new() };
    Ok(Response::new(stream::try_unfold(range, Range::next).boxed()))
}

async fn head(app: &App, partition: i16) -> Result<i64, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let heads = reads::heads::list(&conn, &[partition]).await?;
    Ok(heads.first().map_or(0, |head| head.seq))
}

struct Range {
    app: App,
    partition: i16,
    after: i64,
    to: i64,
    ready: VecDeque<OutputRoomEvent>,
}

impl Range {
    async fn next(mut self) -> Result<Option<(StreamRangeResponse, Self)>, Status> {
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
        Ok((!records.is_empty()).then_some((StreamRangeResponse { records }, self)))
    }

    async fn read(&mut self) -> Result<(), Status> {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let records = output::list_rooms(&mut conn, self.partition, self.after, self.to, limit)
            .await
            .map_err(|error| failed(&error))?;
        for record in records {
            // What was committed has no holes; readers rely on it.
            if record.seq != unsigned(self.after) + 1 {
                error!(
                    partition = self.partition,
                    after = self.after,
                    found = record.seq,
                    "output_log has a hole"
                );
                return Err(Status::data_loss("the output log has a hole"));
            }
            self.after += 1;
            self.ready.push_back(record);
        }
        Ok(())
    }
}
