//! `RoomStreamService.GetHeads`

use plexus_log::PARTITIONS;
use plexus_proto::{common::v1::PartitionHead, room::v1::GetHeadsResponse};
use tonic::{Response, Status};
use tracing::instrument;

use crate::{
    app::App,
    rpc::check::{failed, unsigned},
    store::{generation, pool, reads},
};

#[instrument(name = "rpc.room.get_heads", skip_all)]
pub(super) async fn answer(app: &App) -> Result<Response<GetHeadsResponse>, Status> {
    let partitions: Vec<i16> = (0..PARTITIONS).filter_map(|number| i16::try_from(number).ok()).collect();
    let mut conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let rows = reads::heads::list(&conn, &partitions).await.map_err(|error| failed(&error))?;
    let generation = generation::get(&mut conn).await.map_err(|error| failed(&error))?;
    let heads = rows
        .into_iter()
        .map(|row| PartitionHead {
            partition: u32::try_from(row.partition).unwrap_or(0),
            seq: unsigned(row.seq),
        })
        .collect();
    Ok(Response::new(GetHeadsResponse { heads, generation: unsigned(generation) }))
}
