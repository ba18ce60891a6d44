//! Reservations and uploads.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{CommitMedia, ReserveMedia},
};

use super::{LEAST_ID, MediaChange, MediaRow, MediaUsage, Target, check_blob, day_of};
use crate::users::{
    apply::{Stop, Work, refuse},
    state::Change,
};

/// Most reservations of a user, whatever the command says.
const MAX_RESERVED: usize = 100;
/// How long a reservation that has expired is kept for uploads that began before.
pub(crate) const GRACE_MS: i64 = 60 * 60 * 1000;

/// Reserves a media ID.
pub(in crate::users) fn reserve(
    work: &mut Work<'_>,
    target: Target<'_>,
    command: &ReserveMedia,
) -> Result<(), Stop> {
    work.active_account()?;
    check_new(work, target, ErrorReason::InvalidParam)?;
    let now = work.record.produced_ts;
    if command.expires_ts <= now {
        return refuse(ErrorReason::InvalidParam, "expires_ts lies in the past");
    }
    let open = work.user.media.reserved.values().filter(|expires_ts| **expires_ts > now).count();
    let most = usize::try_from(command.max_pending).unwrap_or(usize::MAX).min(MAX_RESERVED);
    if open >= most {
        return refuse(ErrorReason::LimitExceeded, format!("{open} media IDs are reserved"));
    }
    let row = MediaRow { expires_ts: command.expires_ts, ..new_row(work, target) };
    put_usage(work);
    work.user.media.reserved.insert(target.media_id.to_owned(), row.expires_ts);
    target.put(work, row);
    Ok(())
}

/// Makes media of this server ready.
pub(in crate::users) fn commit(
    work: &mut Work<'_>,
    target: Target<'_>,
    command: &CommitMedia,
) -> Result<(), Stop> {
    if target.has_uploader {
        work.active_account()?;
    }
    let blob = check_blob(command.blob.as_ref())?;
    let now = work.record.produced_ts;
    if target.has_uploader != (command.expires_ts == 0) || (!target.has_uploader && command.expires_ts <= now)
    {
        return refuse(ErrorReason::InvalidParam, "expires_ts does not fit the media");
    }
    let known = target.row(work);
    if known.as_ref().is_some_and(|row| row.blob.is_some()) {
        return refuse(ErrorReason::CannotOverwriteMedia, "the media has been uploaded already");
    }
    let usage = match target.has_uploader {
        true => Some(counted(work, command, blob.size)?),
        false => None,
    };
    let mut row = if command.reserved {
        match known {
            Some(row) if command.begun_ts <= row.expires_ts && now <= row.expires_ts + GRACE_MS => row,
            _ => return refuse(ErrorReason::NotFound, "there is no such reservation"),
        }
    } else {
        check_new(work, target, ErrorReason::CannotOverwriteMedia)?;
        // Its number is given out with the sums.
        new_row(work, target)
    };
    if let Some(usage) = usage {
        let last_no = work.user.media.usage.last_no;
        work.user.media.usage = MediaUsage { last_no, ..usage };
        put_usage(work);
    }
    row.blob = Some(blob);
    row.ready_ts = now;
    row.expires_ts = command.expires_ts;
    row.accessed_ts = day_of(now);
    work.user.media.reserved.remove(target.media_id);
    target.put(work, row);
    Ok(())
}

/// Checks that a media ID is one that this server may give out, and free.
fn check_new(work: &Work<'_>, target: Target<'_>, taken: ErrorReason) -> Result<(), Stop> {
    if target.media_id.len() < LEAST_ID {
        return refuse(ErrorReason::InvalidParam, format!("a media ID has at least {LEAST_ID} characters"));
    }
    let media = &work.user.media;
    if media.rows.contains_key(target.media_id) || media.taken.contains(target.media_id) {
        return refuse(taken, "the media ID is taken");
    }
    Ok(())
}

/// A row, with the next number of the uploader.
pub(super) fn new_row(work: &mut Work<'_>, target: Target<'_>) -> MediaRow {
    let mut no = 0;
    if target.has_uploader {
        let usage = &mut work.user.media.usage;
        usage.last_no += 1;
        no = usage.last_no;
    }
    let now = work.record.produced_ts;
    MediaRow {
        no,
        is_remote: target.is_remote,
        blob: None,
        created_ts: now,
        ready_ts: 0,
        expires_ts: 0,
        accessed_ts: day_of(now),
        quarantine: None,
        thumbnail_bytes: 0,
    }
}

/// What the user has stored with an upload of so many bytes, if that is allowed.
fn counted(work: &Work<'_>, command: &CommitMedia, size: i64) -> Result<MediaUsage, Stop> {
    let mut usage = work.user.media.usage;
    let today = day_of(work.record.produced_ts);
    // A record that comes late counts for the day that is noted.
    if today > usage.day_ts {
        usage.day_ts = today;
        usage.day_bytes = 0;
    }
    usage.files += 1;
    usage.bytes = usage.bytes.saturating_add(size);
    usage.day_bytes = usage.day_bytes.saturating_add(size);
    let beyond = |count: i64, most: u64| most > 0 && u64::try_from(count).is_ok_and(|count| count > most);
    for (count, most, what) in [
        (usage.files, command.max_user_files, "files"),
        (usage.bytes, command.max_user_bytes, "bytes"),
        (usage.day_bytes, command.max_user_bytes_per_day, "bytes a day"),
    ] {
        if beyond(count, most) {
            return refuse(ErrorReason::QuotaExceeded, format!("a user may store at most {most} {what}"));
        }
    }
    Ok(usage)
}

fn put_usage(work: &mut Work<'_>) {
    work.changes.push(Change::Media(MediaChange::Usage(work.user.media.usage)));
}
