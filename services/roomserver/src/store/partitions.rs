//! `partition_state`: who owns a partition, how far it is, and what it hands out next.

use diesel::{
    ExpressionMethods as _, JoinOnDsl as _, OptionalExtension as _, QueryDsl as _, Queryable, Selectable,
    SelectableHelper as _,
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

use super::{
    StoreError,
    schema::{bulk_lanes, partition_state},
};

/// A row of `partition_state`.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = partition_state, check_for_backend(diesel::pg::Pg))]
pub(crate) struct PartitionState {
    pub(crate) partition: i16,
    pub(crate) epoch: i64,
    pub(crate) owner: String,
    pub(crate) room_offset: i64,
    pub(crate) room_input_id: Option<Vec<u8>>,
    pub(crate) user_offset: i64,
    pub(crate) user_input_id: Option<Vec<u8>>,
    pub(crate) next_room_seq: i64,
    pub(crate) next_user_seq: i64,
    pub(crate) next_nid: i64,
    pub(crate) room_published_seq: i64,
    pub(crate) user_published_seq: i64,
}

/// A row of `bulk_lanes`.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = bulk_lanes, check_for_backend(diesel::pg::Pg))]
pub(crate) struct BulkLane {
    pub(crate) partition: i16,
    pub(crate) epoch: i64,
    pub(crate) bulk_offset: i64,
    pub(crate) bulk_input_id: Option<Vec<u8>>,
    pub(crate) next_nid: i64,
}

/// Both rows of a partition.
pub(crate) type Rows = (PartitionState, BulkLane);

/// Takes partitions over: whoever owned them before commits nothing from here on.
pub(crate) async fn claim(
    conn: &mut AsyncPgConnection,
    partitions: &[i16],
    owner: &str,
) -> Result<Vec<Rows>, StoreError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let claimed = conn.transaction(async |conn| {
        let states: Vec<PartitionState> =
            diesel::update(partition_state::table.filter(partition_state::partition.eq_any(partitions)))
                .set((
                    partition_state::epoch.eq(partition_state::epoch + 1),
                    partition_state::owner.eq(owner),
                ))
                .returning(PartitionState::as_returning())
                .get_results(conn)
                .await?;
        let mut rows = Vec::with_capacity(states.len());
        for state in states {
            let lane = diesel::update(bulk_lanes::table.find(state.partition))
                .set(bulk_lanes::epoch.eq(state.epoch))
                .returning(BulkLane::as_returning())
                .get_result(conn)
                .await?;
            rows.push((state, lane));
        }
        Ok::<_, diesel::result::Error>(rows)
    });
    claimed.await.map_err(StoreError::query("partitions.claim"))
}

/// Lists the partitions of an owner.
pub(crate) async fn list_of_owner(conn: &mut AsyncPgConnection, owner: &str) -> Result<Vec<i16>, StoreError> {
    partition_state::table
        .filter(partition_state::owner.eq(owner))
        .order(partition_state::partition)
        .select(partition_state::partition)
        .load(conn)
        .await
        .map_err(StoreError::query("partitions.list_of_owner"))
}

/// Saves how far the output logs are, unless somebody else has taken the partition over.
pub(crate) async fn set_published(
    conn: &mut AsyncPgConnection,
    partition: i16,
    epoch: i64,
    room_seq: i64,
    user_seq: i64,
) -> Result<(), StoreError> {
    diesel::update(partition_state::table.find(partition).filter(partition_state::epoch.eq(epoch)))
        .set((
            partition_state::room_published_seq.eq(room_seq),
            partition_state::user_published_seq.eq(user_seq),
        ))
        .execute(conn)
        .await
        .map_err(StoreError::query("partitions.set_published"))?;
    Ok(())
}

/// Gives a partition up, unless somebody else has taken it over.
pub(crate) async fn release(
    conn: &mut AsyncPgConnection,
    partition: i16,
    epoch: i64,
) -> Result<(), StoreError> {
    diesel::update(partition_state::table.find(partition).filter(partition_state::epoch.eq(epoch)))
        .set(partition_state::owner.eq(""))
        .execute(conn)
        .await
        .map_err(StoreError::query("partitions.release"))?;
    Ok(())
}

/// Finds the row of a partition.
pub(crate) async fn find(
    conn: &mut AsyncPgConnection,
    partition: i16,
) -> Result<Option<PartitionState>, StoreError> {
    partition_state::table
        .find(partition)
        .select(PartitionState::as_select())
        .first(conn)
        .await
        .optional()
        .map_err(StoreError::query("partitions.find"))
}

/// Lists all partitions in order.
pub(crate) async fn list(conn: &mut AsyncPgConnection) -> Result<Vec<Rows>, StoreError> {
    partition_state::table
        .inner_join(bulk_lanes::table.on(bulk_lanes::partition.eq(partition_state::partition)))
        .order(partition_state::partition)
        .select((PartitionState::as_select(), BulkLane::as_select()))
        .load(conn)
        .await
        .map_err(StoreError::query("partitions.list"))
}
