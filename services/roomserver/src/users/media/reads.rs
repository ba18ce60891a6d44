//! Names the media that a command needs: it is read for the batch, and never with the user.

use std::collections::BTreeSet;

use plexus_events::mxc::is_media_id;
use plexus_proto::log::v1::{InputUserEvent, input_user_event::Command};

use super::{is_uri, parse_uri};

/// Media that the commands of a batch look at.
#[derive(Debug, Default)]
pub(crate) struct MediaReads<'a> {
    /// Users whose sums are needed.
    pub(crate) users: BTreeSet<&'a str>,
    /// Users whose reservations are needed.
    pub(crate) reserving: BTreeSet<&'a str>,
    /// Keys of commands, with the server name and the media ID that they are about.
    pub(crate) media: BTreeSet<(&'a str, &'a str, &'a str)>,
}

impl MediaReads<'_> {
    /// Whether nothing is needed.
    pub(crate) fn is_empty(&self) -> bool {
        // Whatever is needed of reservations is needed of their user.
        self.users.is_empty() && self.media.is_empty()
    }
}

/// Adds what a command needs to know of media.
pub(crate) fn media_reads<'a>(record: &'a InputUserEvent, reads: &mut MediaReads<'a>) {
    let key = record.user_id.as_str();
    let media_id = match record.command.as_ref() {
        Some(Command::ReserveMedia(command)) => {
            reads.reserving.insert(key);
            &command.media_id
        }
        Some(Command::CommitMedia(command)) => &command.media_id,
        Some(Command::AddThumbnail(command)) => &command.media_id,
        Some(Command::TouchMedia(command)) => &command.media_id,
        Some(Command::SetMediaQuarantine(command)) => &command.media_id,
        Some(Command::DeleteMedia(command)) => &command.media_id,
        Some(Command::Deactivate(_) | Command::PurgeUserMedia(_)) => {
            reads.users.insert(key);
            return;
        }
        Some(Command::CommitRemoteMedia(_) | Command::EvictMedia(_)) => {
            reads.media.extend(parse_uri(key).map(|(server_name, media_id)| (key, server_name, media_id)));
            return;
        }
        _ => return,
    };
    if is_uri(key) {
        reads.media.extend(parse_uri(key).map(|(server_name, media_id)| (key, server_name, media_id)));
    } else if let Some((_, server_name)) = key.split_once(':') {
        reads.users.insert(key);
        if is_media_id(media_id) {
            reads.media.insert((key, server_name, media_id));
        }
    }
}
