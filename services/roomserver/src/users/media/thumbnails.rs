//! Thumbnails that were made.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{AddThumbnail, ThumbnailMethod},
};

use super::{BlobHash, MediaChange, Target, ThumbnailKey, ThumbnailRow};
use crate::users::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    state::Change,
};

/// Most thumbnails of media.
const MAX_THUMBNAILS: usize = 32;
/// Longest side that a thumbnail is made for.
const MAX_SIDE: u32 = 4096;

/// Notes a thumbnail.
pub(in crate::users) fn add_thumbnail(
    work: &mut Work<'_>,
    target: Target<'_>,
    command: &AddThumbnail,
) -> Result<(), Stop> {
    let (key, thumbnail) = check(command)?;
    let now = work.record.produced_ts;
    let is_source = |blob: &super::Blob| blob.sha256.as_slice() == command.of_sha256.as_ref();
    let row = target.row(work).filter(|row| {
        row.blob.as_ref().is_some_and(is_source) && (row.expires_ts == 0 || now < row.expires_ts)
    });
    let Some(mut row) = row else {
        return refuse(ErrorReason::NotFound, "there is no such media");
    };
    let thumbnails = work.user.media.thumbnails.entry(target.media_id.to_owned()).or_default();
    if !thumbnails.contains_key(&key) && thumbnails.len() >= MAX_THUMBNAILS {
        let message = format!("media has at most {MAX_THUMBNAILS} thumbnails");
        return refuse(ErrorReason::LimitExceeded, message);
    }
    let replaced = thumbnails.insert(key, thumbnail.size).unwrap_or(0);
    row.thumbnail_bytes = row.thumbnail_bytes.saturating_add(thumbnail.size) - replaced;
    target.put(work, row);
    work.changes.push(Change::Media(MediaChange::Thumbnail(target.id(), key, thumbnail)));
    Ok(())
}

fn check(command: &AddThumbnail) -> Result<(ThumbnailKey, ThumbnailRow), Stop> {
    let Some(thumbnail) = &command.thumbnail else {
        return refuse(ErrorReason::InvalidParam, "there is no thumbnail");
    };
    let method = match thumbnail.method() {
        ThumbnailMethod::Crop => 1,
        ThumbnailMethod::Scale => 2,
        ThumbnailMethod::Unspecified => return refuse(ErrorReason::InvalidParam, "method is not set"),
    };
    let sides = 1..=MAX_SIDE;
    if !sides.contains(&thumbnail.width) || !sides.contains(&thumbnail.height) {
        return refuse(ErrorReason::InvalidParam, format!("a side has 1 to {MAX_SIDE} pixels"));
    }
    let Ok(sha256) = BlobHash::try_from(thumbnail.sha256.as_ref()) else {
        return refuse(ErrorReason::InvalidParam, "sha256 does not have 32 bytes");
    };
    let Ok(size) = i64::try_from(thumbnail.size) else {
        return refuse(ErrorReason::InvalidParam, "size is out of range");
    };
    check_name("content_type", &thumbnail.content_type, MAX_NAME_BYTES)?;
    let key = ThumbnailKey {
        width: thumbnail.width.into(),
        height: thumbnail.height.into(),
        method,
        animated: thumbnail.animated,
    };
    Ok((key, ThumbnailRow { content_type: thumbnail.content_type.clone(), size, sha256 }))
}
