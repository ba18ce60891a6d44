//! Media: which blob it is, who may see it, and what its uploader has stored in all.
//!
//! Blobs are not looked at here: whoever writes a command has stored the blob that it names.

mod reads;
mod remote;
mod standing;
#[cfg(test)]
mod tests;
mod thumbnails;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};

use plexus_events::mxc::is_media_id;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{InputUserEvent, MediaTotals, StoredBlob, input_user_event::Command},
};
use prost::Message as _;
use ruma::ServerName;

pub(crate) use self::{
    reads::{MediaReads, media_reads},
    uploads::GRACE_MS,
};
pub(super) use self::{
    standing::{drop_all, purge, quarantine, remove},
    thumbnails::add_thumbnail,
    uploads::{commit, reserve},
};
use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    state::Change,
};

/// What the key of a command on media without an uploader begins with.
const SCHEME: &str = "mxc://";
/// Least characters of a media ID that is made here.
const LEAST_ID: usize = 24;
/// Most bytes of a file name.
const MAX_FILE_NAME: usize = 1024;
/// Most bytes of why media is quarantined.
const MAX_REASON: usize = 1024;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// SHA-256 of a blob.
pub(crate) type BlobHash = [u8; 32];

/// What commands of a batch look at of the media of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Media {
    /// What the user has stored in all.
    pub(crate) usage: MediaUsage,
    /// Rows of the key, by media ID.
    pub(crate) rows: BTreeMap<String, MediaRow>,
    /// Media IDs that are not free, though there is no such media of this key.
    pub(crate) taken: BTreeSet<String>,
    /// When reservations of the user expire, where a command makes another one.
    pub(crate) reserved: BTreeMap<String, i64>,
    /// How many bytes thumbnails have, by media ID.
    pub(crate) thumbnails: BTreeMap<String, BTreeMap<ThumbnailKey, i64>>,
}

/// What a user has stored in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MediaUsage {
    /// The last number that was given out.
    pub(crate) last_no: i64,
    /// Media up to this number is gone.
    pub(crate) cleared_no: i64,
    /// Media that is ready.
    pub(crate) files: i64,
    /// Bytes of it.
    pub(crate) bytes: i64,
    /// The last day on which something was uploaded.
    pub(crate) day_ts: i64,
    /// Bytes that were uploaded on that day.
    pub(crate) day_bytes: i64,
}

/// A row of media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaRow {
    /// Number among the media of its uploader; 0 without one.
    pub(crate) no: i64,
    /// Whether it is of another server.
    pub(crate) is_remote: bool,
    /// The blob, if it is ready.
    pub(crate) blob: Option<Blob>,
    /// When it was reserved, uploaded or fetched.
    pub(crate) created_ts: i64,
    /// When it became ready; 0 if it is not.
    pub(crate) ready_ts: i64,
    /// When it goes, or the reservation expires; 0 for never.
    pub(crate) expires_ts: i64,
    /// The day on which it was last read.
    pub(crate) accessed_ts: i64,
    /// Whether it is quarantined.
    pub(crate) quarantine: Option<Quarantine>,
    /// Bytes of its thumbnails together.
    pub(crate) thumbnail_bytes: i64,
}

/// A blob, and how it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// SHA-256.
    pub(crate) sha256: BlobHash,
    /// How many bytes.
    pub(crate) size: i64,
    /// Content type; empty for none.
    pub(crate) content_type: String,
    /// File name; empty for none.
    pub(crate) file_name: String,
}

/// That operators have taken media from view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quarantine {
    /// Since when.
    pub(crate) since_ts: i64,
    /// Who did.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
}

/// What tells thumbnails of media apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ThumbnailKey {
    /// Width that it was made for.
    pub(crate) width: i64,
    /// Height that it was made for.
    pub(crate) height: i64,
    /// How it was fitted.
    pub(crate) method: i16,
    /// Whether it moves.
    pub(crate) animated: bool,
}

/// A thumbnail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThumbnailRow {
    /// Content type.
    pub(crate) content_type: String,
    /// How many bytes.
    pub(crate) size: i64,
    /// SHA-256.
    pub(crate) sha256: BlobHash,
}

/// Names media.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MediaId {
    /// Server name.
    pub(crate) server_name: String,
    /// Media ID.
    pub(crate) media_id: String,
}

/// A row of media that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MediaChange {
    /// The row as it is now; `None`: it is gone, and its thumbnails.
    Row(MediaId, Option<Box<MediaRow>>),
    /// A thumbnail was made.
    Thumbnail(MediaId, ThumbnailKey, ThumbnailRow),
    /// All thumbnails are gone.
    ThumbnailsDropped(MediaId),
    /// What the user has stored in all.
    Usage(MediaUsage),
}

/// The media that a command is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    server_name: &'a str,
    media_id: &'a str,
    is_remote: bool,
    has_uploader: bool,
}

impl<'a> Target<'a> {
    /// Media that the user of the record has uploaded, or is going to.
    pub(super) fn of_user(server_name: &'a ServerName, media_id: &'a str) -> Result<Self, Stop> {
        if !is_media_id(media_id) {
            return refuse(ErrorReason::InvalidParam, "media_id is not a media ID");
        }
        Ok(Self { server_name: server_name.as_str(), media_id, is_remote: false, has_uploader: true })
    }

    fn id(self) -> MediaId {
        MediaId { server_name: self.server_name.to_owned(), media_id: self.media_id.to_owned() }
    }

    fn row(self, work: &Work<'_>) -> Option<MediaRow> {
        work.user.media.rows.get(self.media_id).cloned()
    }

    fn put(self, work: &mut Work<'_>, row: MediaRow) {
        work.changes.push(Change::Media(MediaChange::Row(self.id(), Some(Box::new(row.clone())))));
        work.user.media.rows.insert(self.media_id.to_owned(), row);
    }

    fn delete(self, work: &mut Work<'_>) {
        self.drop_thumbnails(work);
        work.changes.push(Change::Media(MediaChange::Row(self.id(), None)));
        work.user.media.rows.remove(self.media_id);
        work.user.media.reserved.remove(self.media_id);
    }

    fn drop_thumbnails(self, work: &mut Work<'_>) {
        work.user.media.thumbnails.remove(self.media_id);
        work.changes.push(Change::Media(MediaChange::ThumbnailsDropped(self.id())));
    }
}

/// Server name and media ID of a key that is a URI.
pub(crate) fn parse_uri(key: &str) -> Option<(&str, &str)> {
    let (server_name, media_id) = key.strip_prefix(SCHEME)?.split_once('/')?;
    let is_server = server_name.len() <= MAX_NAME_BYTES && <&ServerName>::try_from(server_name).is_ok();
    (is_server && is_media_id(media_id)).then_some((server_name, media_id))
}

/// Whether a key is that of media rather than that of a user.
pub(super) fn is_uri(key: &str) -> bool {
    key.starts_with(SCHEME)
}

/// Carries out a command that is keyed by the URI of media.
pub(super) fn run(work: &mut Work<'_>, server_name: &ServerName, command: &Command) -> Result<(), Stop> {
    let record: &InputUserEvent = work.record;
    let Some((of, media_id)) = parse_uri(&record.user_id) else {
        return Err(Stop::Poison("user_id is neither a user ID nor the URI of media".to_owned()));
    };
    let is_remote = of != server_name.as_str();
    let target = Target { server_name: of, media_id, is_remote, has_uploader: false };
    let is_named = |named: &str| match named == media_id {
        true => Ok(()),
        false => refuse(ErrorReason::InvalidParam, "media_id is not that of the key"),
    };
    match command {
        Command::CommitMedia(command) if !is_remote => {
            is_named(&command.media_id)?;
            commit(work, target, command)
        }
        Command::CommitRemoteMedia(command) if is_remote => remote::commit(work, target, command),
        Command::EvictMedia(command) if is_remote => remote::evict(work, target, command),
        Command::AddThumbnail(command) => {
            is_named(&command.media_id)?;
            add_thumbnail(work, target, command)
        }
        Command::TouchMedia(command) => {
            is_named(&command.media_id)?;
            standing::touch(work, target);
            Ok(())
        }
        Command::SetMediaQuarantine(command) => {
            is_named(&command.media_id)?;
            quarantine(work, target, command)
        }
        Command::DeleteMedia(command) if !is_remote => {
            is_named(&command.media_id)?;
            remove(work, target, command)
        }
        _ => Err(Stop::Poison("the command is not one on media of this key".to_owned())),
    }
}

/// Notes that media of a user was read.
pub(super) fn touch(work: &mut Work<'_>, server_name: &ServerName, media_id: &str) -> Result<(), Stop> {
    standing::touch(work, Target::of_user(server_name, media_id)?);
    Ok(())
}

fn check_blob(blob: Option<&StoredBlob>) -> Result<Blob, Stop> {
    let Some(blob) = blob else {
        return refuse(ErrorReason::InvalidParam, "there is no blob");
    };
    let Ok(sha256) = BlobHash::try_from(blob.sha256.as_ref()) else {
        return refuse(ErrorReason::InvalidParam, "sha256 does not have 32 bytes");
    };
    let Ok(size) = i64::try_from(blob.size) else {
        return refuse(ErrorReason::InvalidParam, "size is out of range");
    };
    check_name("content_type", &blob.content_type, MAX_NAME_BYTES)?;
    check_name("file_name", &blob.file_name, MAX_FILE_NAME)?;
    let (content_type, file_name) = (blob.content_type.clone(), blob.file_name.clone());
    Ok(Blob { sha256, size, content_type, file_name })
}

/// The beginning of the day of UTC in which a time lies.
fn day_of(ts: i64) -> i64 {
    ts - ts.rem_euclid(DAY_MS)
}

fn answer(work: &mut Work<'_>, files: i64, bytes: i64) {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let totals = MediaTotals { files: unsigned(files), bytes: unsigned(bytes) };
    work.answer(totals.encode_to_vec().into());
}
