//! Keys of devices and users, and signatures on them.

mod signatures;

use std::marker::PhantomData;

use bytes::Bytes;
use diesel::sql_types::{Array, Binary, Bool, Int2, Int4, Int8, Text};
use indexmap::{IndexMap, IndexSet};

use super::Pipeline;
use crate::{
    store::statement::statement,
    users::{CrossSigningKey, FallbackKey, KeyChange, OneTimeKey, SignatureRow},
};

/// A device: user and device ID.
type Device = (String, String);

/// Rows of keys, merged over the commands of a batch. What deletes many rows is written first.
#[derive(Default)]
pub(crate) struct KeyRows {
    users_gone: IndexSet<String>,
    devices_gone: IndexSet<Device>,
    unsigned: IndexSet<(String, String)>,
    signers_gone: IndexSet<(String, String)>,
    devices: IndexMap<Device, (Bytes, i64)>,
    one_time: IndexMap<(Device, String, String), Option<OneTimeKey>>,
    fallback: IndexMap<(Device, String), (FallbackKey, i64)>,
    cross_signing: IndexMap<(String, String), Option<CrossSigningKey>>,
    signatures: IndexMap<(String, String, String, String), SignatureRow>,
    changes: IndexMap<String, (u32, i64)>,
}

impl KeyRows {
    /// Adds what a command changed, over what the commands before it changed.
    pub(super) fn merge(&mut self, user_id: &str, change: KeyChange) {
        let user = || user_id.to_owned();
        match change {
            KeyChange::Device(device, keys, seq) => {
                self.devices.insert((user(), device), (keys, seq));
            }
            KeyChange::OneTime(device, algorithm, key_id, key) => {
                self.one_time.insert(((user(), device), algorithm, key_id), key);
            }
            KeyChange::Fallback(device, algorithm, key, generation) => {
                self.fallback.insert(((user(), device), algorithm), (key, generation));
            }
            KeyChange::DeviceGone(device) => {
                let gone = (user(), device);
                self.devices.shift_remove(&gone);
                self.one_time.retain(|key, _| key.0 != gone);
                self.fallback.retain(|key, _| key.0 != gone);
                let signer = format!("ed25519:{}", gone.1);
                self.drop_signatures(|key| {
                    (key.0 == gone.0 && key.1 == gone.1) || (key.2 == gone.0 && key.3 == signer)
                });
                self.devices_gone.insert(gone);
            }
            KeyChange::UserGone => {
                self.cross_signing.retain(|key, _| key.0 != user_id);
                self.drop_signatures(|key| key.0 == user_id || key.2 == user_id);
                self.users_gone.insert(user());
            }
            KeyChange::CrossSigning(usage, key) => {
                self.cross_signing.insert((user(), usage), key);
            }
            KeyChange::Signature(row) => {
                let key =
                    (row.target_user_id.clone(), row.target_key.clone(), user(), row.signer_key_id.clone());
                self.signatures.insert(key, row);
            }
            KeyChange::Unsigned(target) => {
                self.drop_signatures(|key| key.0 == user_id && key.1 == target);
                self.unsigned.insert((user(), target));
            }
            KeyChange::SignerGone(signer) => {
                self.drop_signatures(|key| key.2 == user_id && key.3 == signer);
                self.signers_gone.insert((user(), signer));
            }
            // These are for other servers.
            KeyChange::DeviceList(..) | KeyChange::SigningKeys(_) => {}
            KeyChange::Changed(partition, seq) => {
                self.changes.insert(user(), (partition, seq));
            }
        }
    }

    fn drop_signatures(&mut self, gone: impl Fn(&(String, String, String, String)) -> bool) {
        self.signatures.retain(|key, _| !gone(key));
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        self.delete(pipeline);
        self.write_devices(pipeline);
        self.write_one_time(pipeline);
        self.write_fallback(pipeline);
        self.write_cross_signing(pipeline);
        self.write_signatures(pipeline);
        if !self.changes.is_empty() {
            let statement = UpsertKeyChanges {
                user_id: self.changes.keys().map(String::as_str).collect(),
                partition: self
                    .changes
                    .values()
                    .map(|row| i16::try_from(row.0).unwrap_or(i16::MAX))
                    .collect(),
                seq: self.changes.values().map(|row| row.1).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(UpsertKeyChanges::NAME, statement);
        }
    }

    fn delete(&self, pipeline: &mut Pipeline<'_>) {
        if !self.users_gone.is_empty() {
            let user_id: Vec<&str> = self.users_gone.iter().map(String::as_str).collect();
            let statement = DeleteCrossSigning { user_id: user_id.clone(), lifetime: PhantomData };
            pipeline.add(DeleteCrossSigning::NAME, statement);
            pipeline
                .add(DeleteOfUsers::NAME, DeleteOfUsers { user_id: user_id.clone(), lifetime: PhantomData });
            pipeline.add(DeleteByUsers::NAME, DeleteByUsers { user_id, lifetime: PhantomData });
        }
        if !self.devices_gone.is_empty() {
            let user_id = || self.devices_gone.iter().map(|key| key.0.as_str()).collect::<Vec<_>>();
            let device_id = || self.devices_gone.iter().map(|key| key.1.as_str()).collect::<Vec<_>>();
            let (users, devices) = (user_id(), device_id());
            let statement = DeleteDeviceKeys { user_id: users, device_id: devices, lifetime: PhantomData };
            pipeline.add(DeleteDeviceKeys::NAME, statement);
            let statement =
                DeleteOneTimeKeysOf { user_id: user_id(), device_id: device_id(), lifetime: PhantomData };
            pipeline.add(DeleteOneTimeKeysOf::NAME, statement);
            let statement =
                DeleteFallbackKeysOf { user_id: user_id(), device_id: device_id(), lifetime: PhantomData };
            pipeline.add(DeleteFallbackKeysOf::NAME, statement);
        }
        let signers: Vec<(&str, String)> = self
            .devices_gone
            .iter()
            .map(|key| (key.0.as_str(), format!("ed25519:{}", key.1)))
            .chain(self.signers_gone.iter().map(|key| (key.0.as_str(), key.1.clone())))
            .collect();
        if !signers.is_empty() {
            let statement = DeleteSignaturesBy {
                user_id: signers.iter().map(|key| key.0).collect(),
                key_id: signers.iter().map(|key| key.1.as_str()).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(DeleteSignaturesBy::NAME, statement);
        }
        let targets: Vec<&(String, String)> = self.devices_gone.iter().chain(&self.unsigned).collect();
        if !targets.is_empty() {
            let statement = DeleteSignaturesOn {
                user_id: targets.iter().map(|key| key.0.as_str()).collect(),
                key: targets.iter().map(|key| key.1.as_str()).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(DeleteSignaturesOn::NAME, statement);
        }
    }

    fn write_devices(&self, pipeline: &mut Pipeline<'_>) {
        if self.devices.is_empty() {
            return;
        }
        let statement = UpsertDeviceKeys {
            user_id: self.devices.keys().map(|key| key.0.as_str()).collect(),
            device_id: self.devices.keys().map(|key| key.1.as_str()).collect(),
            keys: self.devices.values().map(|row| row.0.as_ref()).collect(),
            seq: self.devices.values().map(|row| row.1).collect(),
            lifetime: PhantomData,
        };
        pipeline.add(UpsertDeviceKeys::NAME, statement);
    }

    fn write_one_time(&self, pipeline: &mut Pipeline<'_>) {
        let gone: Vec<_> = self.one_time.iter().filter(|row| row.1.is_none()).map(|row| row.0).collect();
        if !gone.is_empty() {
            let statement = DeleteOneTimeKeys {
                user_id: gone.iter().map(|key| key.0.0.as_str()).collect(),
                device_id: gone.iter().map(|key| key.0.1.as_str()).collect(),
                algorithm: gone.iter().map(|key| key.1.as_str()).collect(),
                key_id: gone.iter().map(|key| key.2.as_str()).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(DeleteOneTimeKeys::NAME, statement);
        }
        let set: Vec<_> = self.one_time.iter().filter_map(|(key, row)| Some((key, row.as_ref()?))).collect();
        if !set.is_empty() {
            let statement = UpsertOneTimeKeys {
                user_id: set.iter().map(|(key, _)| key.0.0.as_str()).collect(),
                device_id: set.iter().map(|(key, _)| key.0.1.as_str()).collect(),
                algorithm: set.iter().map(|(key, _)| key.1.as_str()).collect(),
                key_id: set.iter().map(|(key, _)| key.2.as_str()).collect(),
                key: set.iter().map(|(_, row)| row.key.as_ref()).collect(),
                generation: set.iter().map(|(_, row)| row.generation).collect(),
                seq: set.iter().map(|(_, row)| row.seq).collect(),
                index: set.iter().map(|(_, row)| row.index).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(UpsertOneTimeKeys::NAME, statement);
        }
    }

    fn write_fallback(&self, pipeline: &mut Pipeline<'_>) {
        if self.fallback.is_empty() {
            return;
        }
        let (keys, rows) = (|| self.fallback.keys(), || self.fallback.values());
        let statement = UpsertFallbackKeys {
            user_id: keys().map(|key| key.0.0.as_str()).collect(),
            device_id: keys().map(|key| key.0.1.as_str()).collect(),
            algorithm: keys().map(|key| key.1.as_str()).collect(),
            key_id: rows().map(|row| row.0.key_id.as_str()).collect(),
            key: rows().map(|row| row.0.key.as_ref()).collect(),
            used: rows().map(|row| row.0.used).collect(),
            generation: rows().map(|row| row.1).collect(),
            lifetime: PhantomData,
        };
        pipeline.add(UpsertFallbackKeys::NAME, statement);
    }

    fn write_cross_signing(&self, pipeline: &mut Pipeline<'_>) {
        let rows = &self.cross_signing;
        let gone: Vec<_> = rows.iter().filter(|row| row.1.is_none()).map(|row| row.0).collect();
        if !gone.is_empty() {
            let statement = DeleteCrossSigningKeys {
                user_id: gone.iter().map(|key| key.0.as_str()).collect(),
                usage: gone.iter().map(|key| key.1.as_str()).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(DeleteCrossSigningKeys::NAME, statement);
        }
        let set: Vec<_> = rows.iter().filter_map(|(key, row)| Some((key, row.as_ref()?))).collect();
        if !set.is_empty() {
            let statement = UpsertCrossSigningKeys {
                user_id: set.iter().map(|(key, _)| key.0.as_str()).collect(),
                usage: set.iter().map(|(key, _)| key.1.as_str()).collect(),
                public_key: set.iter().map(|(_, row)| row.public_key.as_str()).collect(),
                key: set.iter().map(|(_, row)| row.key.as_ref()).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(UpsertCrossSigningKeys::NAME, statement);
        }
    }
}

/// Declares a statement that deletes what devices have.
macro_rules! delete_of_devices {
    ($name:ident, $table:literal) => {
        statement! {
            /// Deletes keys of devices.
            $name {
                user_id: Array<Text> => Vec<&'a str>,
                device_id: Array<Text> => Vec<&'a str>,
            }
            concat!("DELETE FROM ", $table, " AS k USING unnest("),
            ") AS v(user_id, device_id) WHERE k.user_id = v.user_id AND k.device_id = v.device_id"
        }
    };
}

delete_of_devices!(DeleteDeviceKeys, "device_keys");
delete_of_devices!(DeleteOneTimeKeysOf, "one_time_keys");
delete_of_devices!(DeleteFallbackKeysOf, "fallback_keys");

statement! {
    /// Deletes the cross-signing keys of users.
    DeleteCrossSigning { user_id: Array<Text> => Vec<&'a str> }
    "DELETE FROM cross_signing_keys WHERE user_id = ANY(", ")"
}

statement! {
    /// Deletes signatures on keys of users.
    DeleteOfUsers { user_id: Array<Text> => Vec<&'a str> }
    "DELETE FROM key_signatures WHERE target_user_id = ANY(", ")"
}

statement! {
    /// Deletes signatures by users.
    DeleteByUsers { user_id: Array<Text> => Vec<&'a str> }
    "DELETE FROM key_signatures WHERE signer_user_id = ANY(", ")"
}

statement! {
    /// Deletes signatures by keys.
    DeleteSignaturesBy {
        user_id: Array<Text> => Vec<&'a str>,
        key_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM key_signatures AS s USING unnest(",
    ") AS v(user_id, key_id) WHERE s.signer_user_id = v.user_id AND s.signer_key_id = v.key_id"
}

statement! {
    /// Deletes signatures on keys.
    DeleteSignaturesOn {
        user_id: Array<Text> => Vec<&'a str>,
        key: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM key_signatures AS s USING unnest(",
    ") AS v(user_id, key) WHERE s.target_user_id = v.user_id AND s.target_key = v.key"
}

statement! {
    /// Sets identity keys.
    UpsertDeviceKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        keys: Array<Binary> => Vec<&'a [u8]>,
        seq: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO device_keys (user_id, device_id, keys, seq) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys, seq = excluded.seq"
}

statement! {
    /// Deletes one-time keys.
    DeleteOneTimeKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        algorithm: Array<Text> => Vec<&'a str>,
        key_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM one_time_keys AS k USING unnest(",
    ") AS v(user_id, device_id, algorithm, key_id) WHERE k.user_id = v.user_id AND k.device_id = v.device_id \
     AND k.algorithm = v.algorithm AND k.key_id = v.key_id"
}

statement! {
    /// Adds one-time keys. One of an earlier generation with the same ID counts as none.
    UpsertOneTimeKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        algorithm: Array<Text> => Vec<&'a str>,
        key_id: Array<Text> => Vec<&'a str>,
        key: Array<Binary> => Vec<&'a [u8]>,
        generation: Array<Int8> => Vec<i64>,
        seq: Array<Int8> => Vec<i64>,
        index: Array<Int4> => Vec<i32>,
    }
    "INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key, generation, seq, index) \
     SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, device_id, algorithm, key_id) DO UPDATE SET key = excluded.key, \
     generation = excluded.generation, seq = excluded.seq, index = excluded.index"
}

statement! {
    /// Sets fallback keys.
    UpsertFallbackKeys {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        algorithm: Array<Text> => Vec<&'a str>,
        key_id: Array<Text> => Vec<&'a str>,
        key: Array<Binary> => Vec<&'a [u8]>,
        used: Array<Bool> => Vec<bool>,
        generation: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, key, used, generation) \
     SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET key_id = excluded.key_id, key = excluded.key, \
     used = excluded.used, generation = excluded.generation"
}

statement! {
    /// Deletes cross-signing keys.
    DeleteCrossSigningKeys {
        user_id: Array<Text> => Vec<&'a str>,
        usage: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM cross_signing_keys AS k USING unnest(",
    ") AS v(user_id, usage) WHERE k.user_id = v.user_id AND k.usage = v.usage"
}

statement! {
    /// Sets cross-signing keys.
    UpsertCrossSigningKeys {
        user_id: Array<Text> => Vec<&'a str>,
        usage: Array<Text> => Vec<&'a str>,
        public_key: Array<Text> => Vec<&'a str>,
        key: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO cross_signing_keys (user_id, usage, public_key, key) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, usage) DO UPDATE SET public_key = excluded.public_key, key = excluded.key"
}

statement! {
    /// Notes when keys of users changed.
    UpsertKeyChanges {
        user_id: Array<Text> => Vec<&'a str>,
        partition: Array<Int2> => Vec<i16>,
        seq: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO key_changes (user_id, partition, seq) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id) DO UPDATE SET seq = excluded.seq"
}
