//! Deletes a room.

use plexus_proto::{
    input::v1::Verdict,
    log::v1::{Purged, output_room_event::Body},
};

use super::{
    outcome::accepted,
    rows::PurgeRow,
    work::{Stop, Work, bad_state},
};

/// Deletes the room. Nobody here may be in it: others would go on sending to us what we do not know any more.
pub(super) fn apply(work: &mut Work<'_>) -> Result<Verdict, Stop> {
    if work.has_joined_local()? {
        return Err(bad_state("users of this server are joined"));
    }
    if work.room.published {
        work.rows.published.push((work.room.identity.partition, -1));
    }
    let seq = work.put_out(None, Body::Purged(Purged {}));
    work.rows.purged = Some(PurgeRow {
        room_nid: work.room.identity.nid,
        room_id: work.room_id().to_owned(),
        partition: work.room.identity.partition,
        purged_ts: work.record.produced_ts,
    });
    Ok(accepted(None, seq))
}
