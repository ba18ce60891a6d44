//! Touches, quarantines and deletes media.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{DeleteMedia, SetMediaQuarantine},
};

use super::{MAX_REASON, MediaChange, MediaRow, MediaUsage, Quarantine, Target, answer, day_of};
use crate::users::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    state::Change,
};

/// Notes that media was read, once a day.
pub(super) fn touch(work: &mut Work<'_>, target: Target<'_>) {
    let now = work.record.produced_ts;
    let today = day_of(now);
    let is_there = |row: &MediaRow| row.blob.is_some() && (row.expires_ts == 0 || now < row.expires_ts);
    let known = target.row(work).filter(|row| is_there(row) && row.accessed_ts < today);
    if let Some(row) = known {
        target.put(work, MediaRow { accessed_ts: today, ..row });
    }
}

/// Takes media from view, or gives it back. Of another server, it need not be known.
pub(in crate::users) fn quarantine(
    work: &mut Work<'_>,
    target: Target<'_>,
    command: &SetMediaQuarantine,
) -> Result<(), Stop> {
    check_name("by", &command.by, MAX_NAME_BYTES)?;
    check_name("reason", &command.reason, MAX_REASON)?;
    let now = work.record.produced_ts;
    let row = match target.row(work) {
        Some(row) => row,
        None if !target.is_remote => return refuse(ErrorReason::NotFound, "there is no such media"),
        None => MediaRow {
            no: 0,
            is_remote: true,
            blob: None,
            created_ts: now,
            ready_ts: 0,
            expires_ts: 0,
            accessed_ts: day_of(now),
            quarantine: None,
            thumbnail_bytes: 0,
        },
    };
    if row.quarantine.is_some() == command.quarantined {
        return Ok(());
    }
    if !command.quarantined && row.is_remote && row.blob.is_none() {
        // Nothing else was known of it.
        target.delete(work);
        return Ok(());
    }
    let (by, reason) = (command.by.clone(), command.reason.clone());
    let quarantine = command.quarantined.then_some(Quarantine { since_ts: now, by, reason });
    target.put(work, MediaRow { quarantine, ..row });
    Ok(())
}

/// Deletes media of this server.
pub(in crate::users) fn remove(
    work: &mut Work<'_>,
    target: Target<'_>,
    command: &DeleteMedia,
) -> Result<(), Stop> {
    let known = target.row(work).filter(|row| command.by_operator || row.quarantine.is_none());
    let Some(row) = known else {
        return refuse(ErrorReason::NotFound, "there is no such media");
    };
    if command.accessed_before_ts != 0 && row.accessed_ts >= command.accessed_before_ts {
        answer(work, 0, 0);
        return Ok(());
    }
    let size = row.blob.as_ref().map_or(0, |blob| blob.size);
    if target.has_uploader && row.blob.is_some() {
        let usage = &mut work.user.media.usage;
        usage.files -= 1;
        usage.bytes -= size;
        work.changes.push(Change::Media(MediaChange::Usage(*usage)));
    }
    target.delete(work);
    answer(work, 1, size);
    Ok(())
}

/// Deletes all media of the user, and answers how much that was.
pub(in crate::users) fn purge(work: &mut Work<'_>) {
    let MediaUsage { files, bytes, .. } = work.user.media.usage;
    drop_all(work);
    answer(work, files, bytes);
}

/// Deletes all media of the user: its rows do not count from now on, and go in steps.
pub(in crate::users) fn drop_all(work: &mut Work<'_>) {
    let media = &mut work.user.media;
    let gone = media.usage;
    if gone.cleared_no < gone.last_no {
        media.taken.extend(std::mem::take(&mut media.rows).into_keys());
        media.reserved.clear();
        media.thumbnails.clear();
        media.usage.cleared_no = gone.last_no;
        media.usage.files = 0;
        media.usage.bytes = 0;
        work.changes.push(Change::Media(MediaChange::Usage(media.usage)));
    }
}
