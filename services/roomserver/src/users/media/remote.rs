//! The cache of media of other servers.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{CommitRemoteMedia, EvictMedia},
};

use super::{Blob, MediaRow, Target, answer, check_blob, uploads::new_row};
use crate::users::apply::{Stop, Work, refuse};

/// Notes that media was fetched.
pub(super) fn commit(
    work: &mut Work<'_>,
    target: Target<'_>,
    command: &CommitRemoteMedia,
) -> Result<(), Stop> {
    let blob = check_blob(command.blob.as_ref())?;
    let known = target.row(work);
    if known.as_ref().is_some_and(|row| row.quarantine.is_some()) {
        return refuse(ErrorReason::Quarantined, "operators have taken the media from view");
    }
    let now = work.record.produced_ts;
    let mut thumbnail_bytes = 0;
    match known.as_ref().and_then(|row| row.blob.as_ref()) {
        Some(Blob { sha256, .. }) if *sha256 == blob.sha256 => {
            thumbnail_bytes = known.as_ref().map_or(0, |row| row.thumbnail_bytes);
        }
        Some(_) => target.drop_thumbnails(work),
        None => {}
    }
    let row = MediaRow { blob: Some(blob), ready_ts: now, thumbnail_bytes, ..new_row(work, target) };
    target.put(work, row);
    Ok(())
}

/// Forgets what is cached, unless it was read meanwhile. A quarantine stays.
pub(super) fn evict(work: &mut Work<'_>, target: Target<'_>, command: &EvictMedia) -> Result<(), Stop> {
    let before = command.accessed_before_ts;
    let known = target.row(work).filter(|row| before == 0 || row.accessed_ts < before);
    let Some((mut row, blob)) = known.and_then(|mut row| row.blob.take().map(|blob| (row, blob))) else {
        answer(work, 0, 0);
        return Ok(());
    };
    if row.quarantine.is_some() {
        row.ready_ts = 0;
        row.thumbnail_bytes = 0;
        target.drop_thumbnails(work);
        target.put(work, row);
    } else {
        target.delete(work);
    }
    answer(work, 1, blob.size);
    Ok(())
}
