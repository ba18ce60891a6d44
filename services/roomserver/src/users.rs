//! Users: accounts, devices, tokens, profiles, account data, filters. Pure: no SQL, no gRPC, no clock, no randomness.
//!
//! The worker hands [`apply()`] a user and a command; it gets back the user after it, what to write and what to put out,
//! or a refusal. The same commands in the same order give the same users.

mod account;
mod apply;
mod backup;
mod data;
mod devices;
mod json;
mod keys;
mod media;
mod out_of_band;
mod profile;
mod push_rules;
mod reports;
mod session;
mod state;
mod tags;
#[cfg(test)]
mod tests;
mod to_device;
mod words;

use plexus_proto::log::v1::{InputUserEvent, input_user_event::Command};

pub(crate) use self::{
    apply::{Applied, At, Outcome, apply},
    backup::{Backup, BackupNeeds, Backups, Rank, needs as backup_needs},
    devices::SEEN_FOR,
    keys::{
        CrossSigningKey, DeviceKeys, FallbackKey, KeyChange, KeyReads, Keys, MASTER, OneTimeKey,
        SELF_SIGNING, SignatureRow, USER_SIGNING, key_reads,
    },
    media::{
        Blob, BlobHash, GRACE_MS as RESERVATION_GRACE_MS, Media, MediaChange, MediaId, MediaReads, MediaRow,
        MediaUsage, Quarantine, ThumbnailKey, ThumbnailRow, media_reads,
    },
    state::{
        AccessToken, Account, AccountData, BackupKeyRow, Change, Device, InboxMessage, MemberJob, OutOfBand,
        OutOfBandRow, RefreshToken, Report, TokenHash, User,
    },
    words::{Term, Words, words_of},
};

/// The account data that a command changes rather than replaces: user, room (empty for global data), type. It is to be
/// loaded with the user.
pub(crate) fn builds_on(record: &InputUserEvent) -> Option<(&str, &str, &str)> {
    let user = record.user_id.as_str();
    match record.command.as_ref()? {
        Command::PutPushRule(_)
        | Command::DeletePushRule(_)
        | Command::EnablePushRule(_)
        | Command::SetPushRuleActions(_) => Some((user, "", push_rules::PUSH_RULES)),
        Command::SetTag(command) => Some((user, &command.room_id, tags::TAG)),
        Command::SetAccountData(command) if command.replaces.is_some() => {
            Some((user, &command.room_id, &command.r#type))
        }
        Command::Register(_)
        | Command::Login(_)
        | Command::RefreshTokens(_)
        | Command::UpdateDevice(_)
        | Command::DeleteDevices(_)
        | Command::SetPassword(_)
        | Command::Deactivate(_)
        | Command::SetProfileField(_)
        | Command::SetAccountData(_)
        | Command::SetFilter(_)
        | Command::ConfirmTokens(_)
        | Command::NoteSeen(_)
        | Command::Report(_)
        | Command::SendToDevice(_)
        | Command::AckToDevice(_)
        | Command::CreateBackup(_)
        | Command::UpdateBackup(_)
        | Command::DeleteBackup(_)
        | Command::PutBackupKeys(_)
        | Command::DeleteBackupKeys(_)
        | Command::UploadKeys(_)
        | Command::ClaimKeys(_)
        | Command::UploadCrossSigningKeys(_)
        | Command::UploadSignatures(_)
        | Command::NoteRemoteKeys(_)
        | Command::QueueToDevice(_)
        | Command::SetOutOfBandMembership(_)
        | Command::ReserveMedia(_)
        | Command::CommitMedia(_)
        | Command::CommitRemoteMedia(_)
        | Command::AddThumbnail(_)
        | Command::TouchMedia(_)
        | Command::SetMediaQuarantine(_)
        | Command::DeleteMedia(_)
        | Command::EvictMedia(_)
        | Command::PurgeUserMedia(_) => None,
    }
}
