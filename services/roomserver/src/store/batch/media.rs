//! Rows of media.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Bool, Int2, Int8, Nullable, Text};
use indexmap::{IndexMap, IndexSet};

use super::Pipeline;
use crate::{
    store::statement::statement,
    users::{MediaChange, MediaId, MediaRow, MediaUsage, ThumbnailKey, ThumbnailRow},
};

/// What a batch makes of media.
#[derive(Default)]
pub(super) struct MediaRows {
    /// Rows, and their uploader (empty for none); `None`: the row is gone.
    rows: IndexMap<MediaId, (String, Option<Box<MediaRow>>)>,
    /// Media whose thumbnails are gone: those that were there before the batch.
    dropped: IndexSet<MediaId>,
    thumbnails: IndexMap<(MediaId, ThumbnailKey), ThumbnailRow>,
    usage: IndexMap<String, MediaUsage>,
}

impl MediaRows {
    /// Adds what one command changed, over what the commands before it changed. `key` is that of the command.
    pub(super) fn merge(&mut self, key: &str, change: MediaChange) {
        match change {
            MediaChange::Row(id, row) => {
                let uploader = if key.starts_with('@') { key } else { "" };
                self.rows.insert(id, (uploader.to_owned(), row));
            }
            MediaChange::Thumbnail(id, thumbnail, row) => {
                self.thumbnails.insert((id, thumbnail), row);
            }
            MediaChange::ThumbnailsDropped(id) => {
                self.thumbnails.retain(|(of, _), _| *of != id);
                self.dropped.insert(id);
            }
            MediaChange::Usage(usage) => {
                self.usage.insert(key.to_owned(), usage);
            }
        }
    }

    /// Writes it.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if !self.dropped.is_empty() {
            pipeline.add(
                DropThumbnails::NAME,
                DropThumbnails {
                    server_name: self.dropped.iter().map(|id| id.server_name.as_str()).collect(),
                    media_id: self.dropped.iter().map(|id| id.media_id.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        self.write_rows(pipeline);
        if !self.thumbnails.is_empty() {
            let keys = || self.thumbnails.keys();
            pipeline.add(
                UpsertThumbnails::NAME,
                UpsertThumbnails {
                    server_name: keys().map(|key| key.0.server_name.as_str()).collect(),
                    media_id: keys().map(|key| key.0.media_id.as_str()).collect(),
                    width: keys().map(|key| key.1.width).collect(),
                    height: keys().map(|key| key.1.height).collect(),
                    method: keys().map(|key| key.1.method).collect(),
                    animated: keys().map(|key| key.1.animated).collect(),
                    content_type: self.thumbnails.values().map(|row| row.content_type.as_str()).collect(),
                    size: self.thumbnails.values().map(|row| row.size).collect(),
                    sha256: self.thumbnails.values().map(|row| row.sha256.as_slice()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.usage.is_empty() {
            let rows = || self.usage.values();
            pipeline.add(
                UpsertUsage::NAME,
                UpsertUsage {
                    user_id: self.usage.keys().map(String::as_str).collect(),
                    last_no: rows().map(|row| row.last_no).collect(),
                    cleared_no: rows().map(|row| row.cleared_no).collect(),
                    files: rows().map(|row| row.files).collect(),
                    bytes: rows().map(|row| row.bytes).collect(),
                    day_ts: rows().map(|row| row.day_ts).collect(),
                    day_bytes: rows().map(|row| row.day_bytes).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_rows(&self, pipeline: &mut Pipeline<'_>) {
        let gone: Vec<_> = self.rows.iter().filter(|(_, (_, row))| row.is_none()).map(|(id, _)| id).collect();
        if !gone.is_empty() {
            pipeline.add(
                DeleteMedia::NAME,
                DeleteMedia {
                    server_name: gone.iter().map(|id| id.server_name.as_str()).collect(),
                    media_id: gone.iter().map(|id| id.media_id.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let set: Vec<_> = self
            .rows
            .iter()
            .filter_map(|(id, (uploader, row))| Some((id, uploader, row.as_deref()?)))
            .collect();
        if set.is_empty() {
            return;
        }
        let rows = || set.iter().map(|(_, _, row)| *row);
        let blobs = || rows().map(|row| row.blob.as_ref());
        let quarantines = || rows().map(|row| row.quarantine.as_ref());
        pipeline.add(
            UpsertMedia::NAME,
            UpsertMedia {
                server_name: set.iter().map(|(id, ..)| id.server_name.as_str()).collect(),
                media_id: set.iter().map(|(id, ..)| id.media_id.as_str()).collect(),
                user_id: set.iter().map(|(_, uploader, _)| uploader.as_str()).collect(),
                no: rows().map(|row| row.no).collect(),
                remote: rows().map(|row| row.is_remote).collect(),
                sha256: blobs().map(|blob| blob.map(|blob| blob.sha256.as_slice())).collect(),
                size: blobs().map(|blob| blob.map_or(0, |blob| blob.size)).collect(),
                content_type: blobs().map(|blob| blob.map_or("", |blob| &blob.content_type)).collect(),
                file_name: blobs().map(|blob| blob.map_or("", |blob| &blob.file_name)).collect(),
                created_ts: rows().map(|row| row.created_ts).collect(),
                ready_ts: rows().map(|row| row.ready_ts).collect(),
                expires_ts: rows().map(|row| row.expires_ts).collect(),
                accessed_ts: rows().map(|row| row.accessed_ts).collect(),
                quarantined_ts: quarantines().map(|it| it.map_or(0, |it| it.since_ts)).collect(),
                quarantined_by: quarantines().map(|it| it.map_or("", |it| &it.by)).collect(),
                quarantine_reason: quarantines().map(|it| it.map_or("", |it| &it.reason)).collect(),
                thumbnail_bytes: rows().map(|row| row.thumbnail_bytes).collect(),
                lifetime: PhantomData,
            },
        );
    }
}

statement! {
    /// Removes thumbnails of media.
    DropThumbnails {
        server_name: Array<Text> => Vec<&'a str>,
        media_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM media_thumbnails AS t USING unnest(",
    ") AS v(server_name, media_id) WHERE t.server_name = v.server_name AND t.media_id = v.media_id"
}

statement! {
    /// Removes media.
    DeleteMedia {
        server_name: Array<Text> => Vec<&'a str>,
        media_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM media AS m USING unnest(",
    ") AS v(server_name, media_id) WHERE m.server_name = v.server_name AND m.media_id = v.media_id"
}

statement! {
    /// Sets media.
    UpsertMedia {
        server_name: Array<Text> => Vec<&'a str>,
        media_id: Array<Text> => Vec<&'a str>,
        user_id: Array<Text> => Vec<&'a str>,
        no: Array<Int8> => Vec<i64>,
        remote: Array<Bool> => Vec<bool>,
        sha256: Array<Nullable<Binary>> => Vec<Option<&'a [u8]>>,
        size: Array<Int8> => Vec<i64>,
        content_type: Array<Text> => Vec<&'a str>,
        file_name: Array<Text> => Vec<&'a str>,
        created_ts: Array<Int8> => Vec<i64>,
        ready_ts: Array<Int8> => Vec<i64>,
        expires_ts: Array<Int8> => Vec<i64>,
        accessed_ts: Array<Int8> => Vec<i64>,
        quarantined_ts: Array<Int8> => Vec<i64>,
        quarantined_by: Array<Text> => Vec<&'a str>,
        quarantine_reason: Array<Text> => Vec<&'a str>,
        thumbnail_bytes: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO media (server_name, media_id, user_id, no, remote, sha256, size, content_type, file_name, created_ts, \
     ready_ts, expires_ts, accessed_ts, quarantined_ts, quarantined_by, quarantine_reason, thumbnail_bytes) \
     SELECT * FROM unnest(",
    ") ON CONFLICT (server_name, media_id) DO UPDATE SET user_id = excluded.user_id, no = excluded.no, \
     remote = excluded.remote, sha256 = excluded.sha256, size = excluded.size, \
     content_type = excluded.content_type, file_name = excluded.file_name, created_ts = excluded.created_ts, \
     ready_ts = excluded.ready_ts, expires_ts = excluded.expires_ts, accessed_ts = excluded.accessed_ts, \
     quarantined_ts = excluded.quarantined_ts, quarantined_by = excluded.quarantined_by, \
     quarantine_reason = excluded.quarantine_reason, thumbnail_bytes = excluded.thumbnail_bytes"
}

statement! {
    /// Sets thumbnails.
    UpsertThumbnails {
        server_name: Array<Text> => Vec<&'a str>,
        media_id: Array<Text> => Vec<&'a str>,
        width: Array<Int8> => Vec<i64>,
        height: Array<Int8> => Vec<i64>,
        method: Array<Int2> => Vec<i16>,
        animated: Array<Bool> => Vec<bool>,
        content_type: Array<Text> => Vec<&'a str>,
        size: Array<Int8> => Vec<i64>,
        sha256: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO media_thumbnails (server_name, media_id, width, height, method, animated, content_type, size, sha256) \
     SELECT * FROM unnest(",
    ") ON CONFLICT (server_name, media_id, width, height, method, animated) DO UPDATE SET \
     content_type = excluded.content_type, size = excluded.size, sha256 = excluded.sha256"
}

statement! {
    /// Sets what users have stored in all.
    UpsertUsage {
        user_id: Array<Text> => Vec<&'a str>,
        last_no: Array<Int8> => Vec<i64>,
        cleared_no: Array<Int8> => Vec<i64>,
        files: Array<Int8> => Vec<i64>,
        bytes: Array<Int8> => Vec<i64>,
        day_ts: Array<Int8> => Vec<i64>,
        day_bytes: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO media_users AS u (user_id, last_no, cleared_no, files, bytes, day_ts, day_bytes, has_garbage) \
     SELECT v.*, v.cleared_no > 0 FROM unnest(",
    ") AS v(user_id, last_no, cleared_no, files, bytes, day_ts, day_bytes) ON CONFLICT (user_id) DO UPDATE SET \
     last_no = excluded.last_no, cleared_no = excluded.cleared_no, files = excluded.files, bytes = excluded.bytes, \
     day_ts = excluded.day_ts, day_bytes = excluded.day_bytes, \
     has_garbage = u.has_garbage OR excluded.cleared_no > u.cleared_no"
}
