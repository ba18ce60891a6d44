//! Names the keys that a command needs: they are read for the batch, and never with the user.

use std::collections::{BTreeMap, BTreeSet};

use plexus_proto::log::v1::{
    InputUserEvent, NewSession, SignedKey, UploadSignatures, input_user_event::Command,
};

/// Keys that the commands of a batch look at.
#[derive(Debug, Default)]
pub(crate) struct KeyReads<'a> {
    /// Users whose cross-signing keys are needed.
    pub(crate) users: BTreeSet<&'a str>,
    /// Devices, by user, whose identity and fallback keys and counts are needed.
    pub(crate) devices: BTreeSet<(&'a str, &'a str)>,
    /// How many one-time keys are claimed, by user, device and algorithm.
    pub(crate) claims: BTreeMap<(&'a str, &'a str, &'a str), i64>,
    /// One-time keys that are uploaded, by user, device, algorithm and ID.
    pub(crate) named: BTreeSet<(&'a str, &'a str, &'a str, &'a str)>,
    /// Users who sign, with the user and the key that they sign.
    pub(crate) signed: BTreeSet<(&'a str, &'a str, &'a str)>,
}

impl KeyReads<'_> {
    /// Whether nothing is needed.
    pub(crate) fn is_empty(&self) -> bool {
        // Whatever is needed of a key is needed of its device or user.
        self.users.is_empty() && self.devices.is_empty()
    }
}

/// Adds what a command needs to know of keys.
pub(crate) fn key_reads<'a>(record: &'a InputUserEvent, reads: &mut KeyReads<'a>) {
    let user = record.user_id.as_str();
    match record.command.as_ref() {
        Some(Command::UploadKeys(command)) => {
            let device = command.device_id.as_str();
            reads.devices.insert((user, device));
            let keys = command.one_time_keys.iter();
            reads.named.extend(keys.map(|key| (user, device, key.algorithm.as_str(), key.key_id.as_str())));
        }
        Some(Command::ClaimKeys(command)) => {
            for claim in &command.claims {
                reads.devices.insert((user, claim.device_id.as_str()));
                *reads
                    .claims
                    .entry((user, claim.device_id.as_str(), claim.algorithm.as_str()))
                    .or_default() += 1;
            }
        }
        Some(Command::UploadCrossSigningKeys(_)) => {
            reads.users.insert(user);
        }
        Some(Command::UploadSignatures(UploadSignatures { keys })) => {
            reads.users.insert(user);
            for SignedKey { user_id, key, signing_devices, .. } in keys {
                reads.signed.insert((user, user_id, key));
                if user_id == user {
                    reads.devices.insert((user, key));
                    reads.devices.extend(signing_devices.iter().map(|device| (user, device.as_str())));
                } else {
                    reads.users.insert(user_id);
                }
            }
        }
        // No device has the name of a cross-signing key.
        Some(Command::Login(command)) => starts(user, command.session.as_ref(), reads),
        Some(Command::Register(command)) => starts(user, command.session.as_ref(), reads),
        Some(
            Command::RefreshTokens(_)
            | Command::SetOutOfBandMembership(_)
            | Command::UpdateDevice(_)
            | Command::DeleteDevices(_)
            | Command::SetPassword(_)
            | Command::Deactivate(_)
            | Command::SetProfileField(_)
            | Command::SetAccountData(_)
            | Command::SetFilter(_)
            | Command::ConfirmTokens(_)
            | Command::NoteSeen(_)
            | Command::PutPushRule(_)
            | Command::DeletePushRule(_)
            | Command::EnablePushRule(_)
            | Command::SetPushRuleActions(_)
            | Command::SetTag(_)
            | Command::Report(_)
            | Command::SendToDevice(_)
            | Command::AckToDevice(_)
            | Command::QueueToDevice(_)
            | Command::NoteRemoteKeys(_)
            | Command::CreateBackup(_)
            | Command::UpdateBackup(_)
            | Command::DeleteBackup(_)
            | Command::PutBackupKeys(_)
            | Command::DeleteBackupKeys(_)
            | Command::ReserveMedia(_)
            | Command::CommitMedia(_)
            | Command::CommitRemoteMedia(_)
            | Command::AddThumbnail(_)
            | Command::TouchMedia(_)
            | Command::SetMediaQuarantine(_)
            | Command::DeleteMedia(_)
            | Command::EvictMedia(_)
            | Command::PurgeUserMedia(_),
        )
        | None => {}
    }
}

fn starts<'a>(user: &'a str, session: Option<&'a NewSession>, reads: &mut KeyReads<'a>) {
    if session.is_some() {
        reads.users.insert(user);
    }
}
