//! `partition_state`: who owns a partition, how far it is, and what it hands out next.

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, Selectable,
    SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{StoreError, schema::partition_state};

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
    pub(crate) bulk_offset: i64,
    pub(crate) bulk_input_id: Option<Vec<u8>>,
}

/// Takes partitions over: whoever owned them before commits nothing from here on.
pub(crate) async fn claim(
    conn: &mut AsyncPgConnection,
    partitions: &[i16],
    owner: &str,
) -> Result<Vec<PartitionState>, StoreError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    diesel::update(partition_state::table.filter(partition_state::partition.eq_any(partitions)))
        .set((partition_state::epoch.eq(partition_state::epoch + 1), partition_state::owner.eq(owner)))
        .returning(PartitionState::as_returning())
        .get_results(conn)
        .await
        .map_err(StoreError::query("partitions.claim"))
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
pub(crate) async fn list(conn: &mut AsyncPgConnection) -> Result<Vec<PartitionState>, StoreError> {
    partition_state::table
        .order(partition_state::partition)
        .select(PartitionState::as_select())
        .load(conn)
        .await
        .map_err(StoreError::query("partitions.list"))
}
