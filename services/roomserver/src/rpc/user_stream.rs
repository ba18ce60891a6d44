//! `UserStreamService`: serves readers of `OutputUserEvent` beside the log itself.

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use plexus_log::{PARTITIONS, partition_of};
use plexus_proto::{
    common::v1::{AsOf, PartitionHead},
    log::v1::OutOfBandMembership,
    user::v1::{
        AccountData, GetHeadsRequest, GetHeadsResponse, GetUserSnapshotRequest, GetUserSnapshotResponse,
        Inbox, StreamRangeRequest, StreamRangeResponse,
        user_stream_service_server::{UserStreamService, UserStreamServiceServer},
    },
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    check::{self, failed, invalid, position, unsigned},
    output_range,
};
use crate::{
    app::App,
    store::{StoreError, pool, reads},
};

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> UserStreamServiceServer<impl UserStreamService> {
    UserStreamServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl UserStreamService for Service {
    #[instrument(name = "rpc.user.get_heads", skip_all)]
    async fn get_heads(
        &self,
        _request: Request<GetHeadsRequest>,
    ) -> Result<Response<GetHeadsResponse>, Status> {
        let partitions: Vec<i16> = (0..PARTITIONS).filter_map(|number| i16::try_from(number).ok()).collect();
        let heads = heads(&self.app, &partitions).await.map_err(|error| failed(&error))?;
        Ok(Response::new(GetHeadsResponse { heads }))
    }

    type StreamRangeStream = BoxStream<'static, Result<StreamRangeResponse, Status>>;

    #[instrument(name = "rpc.user.stream_range", skip_all)]
    async fn stream_range(
        &self,
        request: Request<StreamRangeRequest>,
    ) -> Result<Response<Self::StreamRangeStream>, Status> {
        let StreamRangeRequest { partition, after_seq, to_seq } = request.into_inner();
        if partition >= PARTITIONS {
            return Err(invalid("partition", "there is no such partition"));
        }
        let partition = i16::try_from(partition).map_err(|error| invalid("partition", error))?;
        let heads = heads(&self.app, &[partition]).await.map_err(|error| failed(&error))?;
        let head = heads.first().map_or(0, |head| position(head.seq));
        let to = if to_seq == 0 { head } else { position(to_seq).min(head) };
        let chunks = output_range::chunks(&self.app, partition, position(after_seq), to);
        Ok(Response::new(chunks.map_ok(|records| StreamRangeResponse { records }).boxed()))
    }

    #[instrument(name = "rpc.user.get_user_snapshot", skip_all)]
    async fn get_user_snapshot(
        &self,
        request: Request<GetUserSnapshotRequest>,
    ) -> Result<Response<GetUserSnapshotResponse>, Status> {
        let GetUserSnapshotRequest { user_id } = request.into_inner();
        check::user_id("user_id", &user_id)?;
        check::storable("user_id", &user_id)?;
        let snapshot = snapshot(&self.app, &user_id).await.map_err(|error| failed(&error))?;
        Ok(Response::new(snapshot))
    }
}

async fn heads(app: &App, partitions: &[i16]) -> Result<Vec<PartitionHead>, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let rows = reads::snapshot::list_user_heads(&conn, partitions).await?;
    let head = |row: reads::snapshot::UserHeadRow| PartitionHead {
        partition: u32::try_from(row.partition).unwrap_or(0),
        seq: unsigned(row.seq),
    };
    Ok(rows.into_iter().map(head).collect())
}

async fn snapshot(app: &App, user_id: &str) -> Result<GetUserSnapshotResponse, StoreError> {
    let partition = partition_of(user_id);
    let number = i16::try_from(partition).unwrap_or(i16::MAX);
    let conn = pool::get(&app.pool).await?;
    let rows = reads::snapshot::list_account_data(&conn, user_id, &number).await?;
    // After it: a message that comes meanwhile is told here, too.
    let inboxes = reads::inboxes::list_inboxes(&conn, user_id).await?;
    let out_of_band = reads::out_of_band::list_of_user(&conn, user_id).await?;
    let seq = rows.first().map_or(0, |row| unsigned(row.head_seq));
    let epoch = app.verdicts.epoch(partition).unwrap_or(0);
    let account_data = rows.into_iter().filter_map(|row| {
        Some(AccountData {
            room_id: row.room_id?,
            r#type: row.data_type?,
            content: row.content?.into(),
            seq: unsigned(row.seq?),
        })
    });
    Ok(GetUserSnapshotResponse {
        account_data: account_data.collect(),
        as_of: Some(AsOf { partition, seq, epoch }),
        inboxes: inboxes
            .into_iter()
            .map(|(device_id, seq)| Inbox { device_id, last_seq: unsigned(seq) })
            .collect(),
        out_of_band: out_of_band.into_iter().map(out_of_band_membership).collect(),
    })
}

fn out_of_band_membership(row: reads::out_of_band::RoomRow) -> OutOfBandMembership {
    OutOfBandMembership {
        room_id: row.room_id,
        membership: row.membership,
        event: row.event.into(),
        event_id: row.event_id,
        sender: row.sender,
        origin: row.origin,
        room_version: row.room_version,
        stripped_state: row.stripped_state.into(),
        seq: unsigned(row.seq),
    }
}
