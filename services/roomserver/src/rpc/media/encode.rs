//! Rows of media as they are told to other services.

use plexus_proto::{
    log::v1::{MediaThumbnail, StoredBlob, ThumbnailMethod},
    media::v1::{Media, MediaState},
};

use super::super::check::unsigned;
use crate::store::reads::media::{MediaRow, ThumbnailRow};

pub(super) fn media(row: MediaRow, thumbnails: Vec<ThumbnailRow>) -> Media {
    let (content_type, file_name, size) = (row.content_type, row.file_name, unsigned(row.size));
    let state = match (&row.sha256, row.remote) {
        (Some(_), _) => MediaState::Ready,
        (None, true) => MediaState::Absent,
        (None, false) => MediaState::Pending,
    };
    let blob = row.sha256.map(|sha256| StoredBlob { sha256: sha256.into(), size, content_type, file_name });
    Media {
        server_name: row.server_name,
        media_id: row.media_id,
        user_id: row.user_id,
        state: state.into(),
        // A row and its thumbnails are two reads: between them it may have gone.
        thumbnails: if blob.is_some() { thumbnails.into_iter().map(thumbnail).collect() } else { Vec::new() },
        blob,
        created_ts: row.created_ts,
        ready_ts: row.ready_ts,
        expires_ts: row.expires_ts,
        accessed_ts: row.accessed_ts,
        quarantined: row.quarantined_ts > 0,
    }
}

fn thumbnail(row: ThumbnailRow) -> MediaThumbnail {
    let side = |pixels: i64| u32::try_from(pixels).unwrap_or(0);
    MediaThumbnail {
        width: side(row.width),
        height: side(row.height),
        method: thumbnail_method(row.method).into(),
        animated: row.animated,
        content_type: row.content_type,
        size: unsigned(row.size),
        sha256: row.sha256.into(),
    }
}

/// How an image is fitted, as rows say it.
fn thumbnail_method(method: i16) -> ThumbnailMethod {
    match method {
        1 => ThumbnailMethod::Crop,
        2 => ThumbnailMethod::Scale,
        _ => ThumbnailMethod::Unspecified,
    }
}
