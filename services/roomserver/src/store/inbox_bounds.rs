//! Bounds inboxes: where too much waits, the oldest messages go.

use diesel::{
    QueryableByName,
    sql_types::{Int8, Nullable, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::StoreError;

/// How much may wait for a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InboxBounds {
    /// Messages to any device.
    pub(crate) most: i64,
    /// Messages to a device that has not been seen for long.
    pub(crate) idle: i64,
    /// Milliseconds after which a device has not been seen for long.
    pub(crate) idle_after: i64,
    /// Devices that are looked at in one step, and messages that go in one.
    pub(crate) step: i64,
}

/// Most messages that wait for a device.
const MAX_INBOX: i64 = 50_000;
/// Most messages that wait for a device that has not been seen for long.
const MAX_IDLE_INBOX: i64 = 10_000;
/// Days after which a device has not been seen for long.
const IDLE_DAYS: i64 = 60;

/// The bounds of all inboxes.
pub(crate) const INBOXES: InboxBounds = InboxBounds {
    most: MAX_INBOX,
    idle: MAX_IDLE_INBOX,
    idle_after: IDLE_DAYS * 24 * 60 * 60 * 1_000,
    step: 1_000,
};

/// A device that the last step looked at.
pub(crate) type Place = (String, String);

/// Messages that went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// User.
    pub(crate) user_id: String,
    /// Device.
    pub(crate) device_id: String,
    /// How many.
    pub(crate) messages: usize,
}

// The index is skipped through, so that a step costs as many lookups as it finds devices. Rows without a device, which
// there should not be, all go.
const FIND_FULL: &str = "WITH RECURSIVE walk AS ( \
      (SELECT user_id, device_id FROM to_device WHERE (user_id, device_id) > ($1, $2) \
       ORDER BY user_id, device_id LIMIT 1) \
      UNION ALL \
      SELECT n.user_id, n.device_id FROM walk w CROSS JOIN LATERAL ( \
        SELECT t.user_id, t.device_id FROM to_device t WHERE (t.user_id, t.device_id) > (w.user_id, w.device_id) \
        ORDER BY t.user_id, t.device_id LIMIT 1) n \
    ), looked AS (SELECT user_id, device_id FROM walk LIMIT $6) \
    SELECT l.user_id, l.device_id, ( \
      SELECT t.seq FROM to_device t WHERE t.user_id = l.user_id AND t.device_id = l.device_id ORDER BY t.seq DESC \
      OFFSET CASE WHEN d.user_id IS NULL THEN 0 WHEN greatest(d.last_seen_ts, d.created_ts) < $3 THEN $4 ELSE $5 END \
      LIMIT 1) AS seq \
    FROM looked l LEFT JOIN devices d ON d.user_id = l.user_id AND d.device_id = l.device_id \
    ORDER BY l.user_id, l.device_id";

const DELETE: &str = "DELETE FROM to_device WHERE user_id = $1 AND device_id = $2 AND seq IN ( \
    SELECT seq FROM to_device WHERE user_id = $1 AND device_id = $2 AND seq <= $3 ORDER BY seq LIMIT $4)";

#[derive(QueryableByName)]
struct Looked {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Text)]
    device_id: String,
    #[diesel(sql_type = Nullable<Int8>)]
    seq: Option<i64>,
}

/// Looks at the devices after a place, as many as a step takes, and drops what is too much. Returns what went, and the
/// place to go on from; none after the last device.
pub(crate) async fn trim(
    conn: &mut AsyncPgConnection,
    after: &Place,
    bounds: InboxBounds,
    now: i64,
) -> Result<(Vec<Dropped>, Option<Place>), StoreError> {
    let looked: Vec<Looked> = diesel::sql_query(FIND_FULL)
        .bind::<Text, _>(&after.0)
        .bind::<Text, _>(&after.1)
        .bind::<Int8, _>(now.saturating_sub(bounds.idle_after))
        .bind::<Int8, _>(bounds.idle)
        .bind::<Int8, _>(bounds.most)
        .bind::<Int8, _>(bounds.step)
        .load(conn)
        .await
        .map_err(StoreError::query("to_device.find_full"))?;
    let is_last = i64::try_from(looked.len()).is_ok_and(|count| count < bounds.step);
    let place = looked.last().filter(|_| !is_last).map(|row| (row.user_id.clone(), row.device_id.clone()));
    let mut dropped = Vec::new();
    for Looked { user_id, device_id, seq } in looked {
        let Some(seq) = seq else { continue };
        let mut messages = 0;
        loop {
            let count = diesel::sql_query(DELETE)
                .bind::<Text, _>(&user_id)
                .bind::<Text, _>(&device_id)
                .bind::<Int8, _>(seq)
                .bind::<Int8, _>(bounds.step)
                .execute(conn)
                .await
                .map_err(StoreError::query("to_device.drop"))?;
            messages += count;
            if i64::try_from(count).is_ok_and(|count| count < bounds.step) {
                break;
            }
        }
        dropped.push(Dropped { user_id, device_id, messages });
    }
    Ok((dropped, place))
}
