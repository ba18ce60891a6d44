//! `RoomStreamService.StreamRange`.

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use plexus_proto::room::v1::{StreamRangeRequest, StreamRangeResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{
    app::App,
    rpc::{
        check::{failed, invalid, position},
        output_range,
    },
    store::{StoreError, pool, reads},
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
    let chunks = output_range::chunks(app, partition, position(after_seq), to);
    Ok(Response::new(chunks.map_ok(|records| StreamRangeResponse { records }).boxed()))
}

async fn head(app: &App, partition: i16) -> Result<i64, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let heads = reads::heads::list(&conn, &[partition]).await?;
    Ok(heads.first().map_or(0, |head| head.seq))
}
