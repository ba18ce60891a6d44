//! Keys of devices: identity keys, one-time keys, fallback keys. A one-time key is handed out once.

mod one_time;
mod reads;
mod signatures;
mod signing;

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use plexus_proto::log::v1::{KeyCounts, KeyCountsChanged, KeysChanged, output_user_event::Fact};

use super::{apply::Work, state::Change};

pub(crate) use self::reads::{KeyReads, key_reads};
pub(super) use self::{
    one_time::{claim, upload},
    signatures::upload_signatures,
    signing::upload_cross_signing,
};

/// Cross-signing keys by usage.
pub(crate) const MASTER: &str = "master";
pub(crate) const SELF_SIGNING: &str = "self_signing";
pub(crate) const USER_SIGNING: &str = "user_signing";

/// Numbers of changes of devices that one record makes; if it makes more, the last ones have the same number.
const CHANGES_OF_A_RECORD: i64 = 256;

/// Keys of a user, as far as the commands of a batch look at them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Generation of the database.
    pub(crate) generation: i64,
    /// Keys of devices that commands of the batch name.
    pub(crate) devices: BTreeMap<String, DeviceKeys>,
    /// Cross-signing keys by usage.
    pub(crate) cross_signing: BTreeMap<String, CrossSigningKey>,
    /// Master keys of other users whom commands of the batch name.
    pub(crate) masters: BTreeMap<String, CrossSigningKey>,
    /// Signatures by the user that commands of the batch may repeat: by user and key that is signed, and signing key.
    pub(crate) signatures: HashMap<(String, String, String), String>,
}

/// Keys of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeviceKeys {
    /// Canonical JSON of its identity keys.
    pub(crate) keys: Option<Bytes>,
    /// One-time keys by algorithm, oldest first: as many as are going to be claimed.
    pub(crate) oldest: BTreeMap<String, VecDeque<(String, Bytes)>>,
    /// How many one-time keys there are, by algorithm.
    pub(crate) counts: BTreeMap<String, u32>,
    /// One-time keys that uploads of the batch name, by algorithm and ID.
    pub(crate) named: HashMap<(String, String), Bytes>,
    /// Fallback keys by algorithm.
    pub(crate) fallback: BTreeMap<String, FallbackKey>,
}

/// A fallback key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FallbackKey {
    /// ID, without the algorithm.
    pub(crate) key_id: String,
    /// JSON text.
    pub(crate) key: Bytes,
    /// Whether it was handed out, or is of an earlier generation of the database.
    pub(crate) used: bool,
}

/// A cross-signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CrossSigningKey {
    /// The public key.
    pub(crate) public_key: String,
    /// Canonical JSON of the object.
    pub(crate) key: Bytes,
}

/// A one-time key that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneTimeKey {
    /// JSON text.
    pub(crate) key: Bytes,
    /// Generation of the database.
    pub(crate) generation: i64,
    /// `seq` of the record that told of it.
    pub(crate) seq: i64,
    /// Place in its upload.
    pub(crate) index: i32,
}

/// A row of keys that changes. `None`: it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyChange {
    /// Identity keys of a device, told of by the record `seq`.
    Device(String, Bytes, i64),
    /// A one-time key by device, algorithm and ID.
    OneTime(String, String, String, Option<OneTimeKey>),
    /// The fallback key of a device and an algorithm, in this generation.
    Fallback(String, String, FallbackKey, i64),
    /// All of a device is gone: its keys, signatures on them and by them.
    DeviceGone(String),
    /// All of the user is gone.
    UserGone,
    /// A cross-signing key by usage.
    CrossSigning(String, Option<CrossSigningKey>),
    /// A signature by the user on a key of a user.
    Signature(SignatureRow),
    /// Signatures on a key of the user are void, whoever made them.
    Unsigned(String),
    /// Signatures by a key of the user are void.
    SignerGone(String),
    /// A device was changed, by the change with this number within the generation of the database.
    DeviceList(String, i64),
    /// Cross-signing keys, or signatures on them, were changed by the record `seq`.
    SigningKeys(i64),
    /// Whoever shares a room with the user has to look again since the record `seq` of a partition.
    Changed(u32, i64),
}

/// A signature on a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignatureRow {
    /// User whose key is signed.
    pub(crate) target_user_id: String,
    /// ID of a device, or public key of a master key.
    pub(crate) target_key: String,
    /// ID of the key that made it.
    pub(crate) signer_key_id: String,
    /// The signature.
    pub(crate) signature: String,
    /// `seq` of the record that told of it.
    pub(crate) seq: i64,
}

impl DeviceKeys {
    /// What is left of it.
    fn counts(&self) -> KeyCounts {
        let unused = self.fallback.iter().filter(|(_, key)| !key.used);
        KeyCounts {
            one_time_keys: self.counts.iter().map(|(algorithm, count)| (algorithm.clone(), *count)).collect(),
            unused_fallback_keys: unused.map(|(algorithm, _)| algorithm.clone()).collect(),
        }
    }
}

impl Work<'_> {
    fn change_key(&mut self, change: KeyChange) {
        self.changes.push(Change::Key(change));
    }

    /// Tells those who share rooms with the user that its devices or keys changed, by a record that was put out already.
    pub(super) fn note_keys_changed(&mut self, seq: i64) {
        let partition = self.partition();
        self.change_key(KeyChange::Changed(partition, seq));
    }

    /// Tells those who share rooms with the user that its keys changed.
    fn tell_keys_changed(&mut self) -> i64 {
        let seq = self.put_out(Fact::KeysChanged(KeysChanged { own: false }));
        self.note_keys_changed(seq);
        seq
    }

    /// Notes which devices a record that was put out has changed, for other servers.
    pub(super) fn note_devices_changed<'d>(
        &mut self,
        seq: i64,
        devices: impl IntoIterator<Item = &'d String>,
    ) {
        for (index, device) in (0..).zip(devices) {
            let index = CHANGES_OF_A_RECORD.min(index + 1) - 1;
            self.change_key(KeyChange::DeviceList(device.clone(), seq * CHANGES_OF_A_RECORD + index));
        }
    }

    /// Tells the device what is left of its keys.
    fn tell_counts(&mut self, device_id: &str, counts: KeyCounts) {
        let device_id = device_id.to_owned();
        self.put_out(Fact::KeyCountsChanged(KeyCountsChanged { device_id, counts: Some(counts) }));
    }
}

/// Notes that keys of a user of another server changed.
pub(super) fn note_remote(work: &mut Work<'_>) {
    work.tell_keys_changed();
}

/// Deletes all keys of a device that is gone.
pub(super) fn remove_device(work: &mut Work<'_>, device_id: &str) {
    // It may come again in the same batch, without any.
    work.user.keys.devices.insert(device_id.to_owned(), DeviceKeys::default());
    work.change_key(KeyChange::DeviceGone(device_id.to_owned()));
}

/// Deletes all keys of a user who is gone.
pub(super) fn remove_user(work: &mut Work<'_>) {
    work.user.keys.cross_signing.clear();
    work.change_key(KeyChange::UserGone);
}
