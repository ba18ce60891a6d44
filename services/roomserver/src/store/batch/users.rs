//! Accounts, devices, tokens, profiles, account data, filters.

mod tokens;

use std::marker::PhantomData;

use bytes::Bytes;
use diesel::sql_types::{Array, Binary, Bool, Int8, Nullable, Text};
use indexmap::IndexMap;

use super::{
    Pipeline, backups::Backups, directory::Directory, inboxes::Inboxes, keys::KeyRows, media::MediaRows,
    member_jobs::MemberJobs, out_of_band::OutOfBandRows, outgoing::Outgoing, reports::Reports,
};
use crate::{
    store::statement::statement,
    users::{AccessToken, Account, AccountData, Change, Device, KeyChange, RefreshToken, TokenHash},
};

/// Rows of users, merged over the commands of a batch. `None`: the row is to go.
#[derive(Default)]
pub(crate) struct UserRows {
    accounts: IndexMap<String, Account>,
    devices: IndexMap<(String, String), Option<Device>>,
    access_tokens: IndexMap<TokenHash, (String, Option<AccessToken>)>,
    refresh_tokens: IndexMap<TokenHash, (String, Option<RefreshToken>)>,
    profiles: IndexMap<(String, String), Option<Bytes>>,
    account_data: IndexMap<(String, String, String), Option<AccountData>>,
    filters: IndexMap<(String, String), Bytes>,
    reports: Reports,
    directory: Directory,
    member_jobs: MemberJobs,
    inboxes: Inboxes,
    backups: Backups,
    keys: KeyRows,
    out_of_band: OutOfBandRows,
    outgoing: Outgoing,
    media: MediaRows,
}

impl UserRows {
    /// Adds what one command changed, over what the commands before it changed.
    pub(crate) fn merge(&mut self, user_id: &str, changes: Vec<Change>) {
        let user = || user_id.to_owned();
        for change in changes {
            self.directory.note(user_id, &change);
            match change {
                Change::Account(account) => {
                    self.accounts.insert(user(), account);
                }
                Change::Device(device_id, device) => {
                    self.devices.insert((user(), device_id), device);
                }
                Change::AccessToken(hash, token) => {
                    self.access_tokens.insert(hash, (user(), token));
                }
                Change::RefreshToken(hash, token) => {
                    self.refresh_tokens.insert(hash, (user(), token));
                }
                Change::Profile(field, value) => {
                    self.profiles.insert((user(), field), value);
                }
                Change::AccountData(room_id, data_type, content) => {
                    self.account_data.insert((user(), room_id, data_type), content);
                }
                Change::Filter(filter_id, filter) => {
                    self.filters.insert((user(), filter_id), filter);
                }
                Change::ToDevice(message) => self.inboxes.add(user_id, message),
                Change::TrimInbox(device_id, upto) => self.inboxes.trim(user_id, device_id, upto),
                Change::BackupCreated(version, algorithm, auth_data) => {
                    self.backups.create((user(), version), algorithm, auth_data);
                }
                Change::BackupUpdated(version, auth_data) => {
                    self.backups.update((user(), version), auth_data);
                }
                Change::BackupContents(version, backup) => {
                    self.backups.set_contents((user(), version), backup);
                }
                Change::BackupKey { version, room_id, session_id, row } => {
                    self.backups.set_key((user(), version), room_id, session_id, row);
                }
                Change::BackupRoomCleared(version, room_id, upto) => {
                    self.backups.clear_room((user(), version), room_id, upto);
                }
                Change::BackupDeleted(version) => self.backups.delete((user(), version)),
                Change::BackupsDropped => self.backups.drop_all(user_id),
                Change::Outgoing { server, content, created_ts } => {
                    self.outgoing.add(server, content, created_ts);
                }
                Change::Key(KeyChange::DeviceList(device_id, number)) => {
                    self.outgoing.change_device(user_id, device_id, number);
                }
                Change::Key(KeyChange::SigningKeys(seq)) => self.outgoing.change_keys(user_id, seq),
                Change::Key(change) => self.keys.merge(user_id, change),
                Change::OutOfBand(room_id, row) => self.out_of_band.merge(user_id, room_id, row),
                Change::Media(change) => self.media.merge(user_id, change),
                Change::Report(report) => self.reports.merge(user_id, report),
                Change::MemberJob(job, version, created_ts) => {
                    self.member_jobs.merge(user_id, job, version, created_ts);
                }
            }
        }
    }

    /// Whether something is to be done in all rooms of a user.
    pub(crate) fn begins_jobs(&self) -> bool {
        !self.member_jobs.is_empty()
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        self.write_accounts(pipeline);
        self.write_devices(pipeline);
        self.write_access_tokens(pipeline);
        self.write_refresh_tokens(pipeline);
        self.write_profiles(pipeline);
        self.write_account_data(pipeline);
        self.write_filters(pipeline);
        self.reports.write(pipeline);
        self.directory.write(pipeline);
        self.member_jobs.write(pipeline);
        self.inboxes.write(pipeline);
        self.backups.write(pipeline);
        self.keys.write(pipeline);
        self.out_of_band.write(pipeline);
        self.outgoing.write(pipeline);
        self.media.write(pipeline);
    }

    fn write_accounts(&self, pipeline: &mut Pipeline<'_>) {
        if self.accounts.is_empty() {
            return;
        }
        let rows = || self.accounts.values();
        pipeline.add(
            UpsertAccounts::NAME,
            UpsertAccounts {
                user_id: self.accounts.keys().map(String::as_str).collect(),
                password_hash: rows().map(|row| row.password_hash.as_deref()).collect(),
                guest: rows().map(|row| row.guest).collect(),
                admin: rows().map(|row| row.admin).collect(),
                deactivated: rows().map(|row| row.deactivated).collect(),
                erased_ts: rows().map(|row| row.erased_ts).collect(),
                created_ts: rows().map(|row| row.created_ts).collect(),
                profile_version: rows().map(|row| row.profile_version).collect(),
                lifetime: PhantomData,
            },
        );
    }

    fn write_devices(&self, pipeline: &mut Pipeline<'_>) {
        let gone: Vec<_> = self.devices.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key).collect();
        if !gone.is_empty() {
            pipeline.add(
                DeleteDevices::NAME,
                DeleteDevices {
                    user_id: gone.iter().map(|key| key.0.as_str()).collect(),
                    device_id: gone.iter().map(|key| key.1.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let set: Vec<_> = self.devices.iter().filter_map(|(key, row)| Some((key, row.as_ref()?))).collect();
        if !set.is_empty() {
            pipeline.add(
                UpsertDevices::NAME,
                UpsertDevices {
                    user_id: set.iter().map(|(key, _)| key.0.as_str()).collect(),
                    device_id: set.iter().map(|(key, _)| key.1.as_str()).collect(),
                    display_name: set.iter().map(|(_, row)| row.display_name.as_deref()).collect(),
                    created_ts: set.iter().map(|(_, row)| row.created_ts).collect(),
                    last_seen_ts: set.iter().map(|(_, row)| row.last_seen_ts).collect(),
                    last_seen_ip: set.iter().map(|(_, row)| row.last_seen_ip.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_profiles(&self, pipeline: &mut Pipeline<'_>) {
        let gone: Vec<_> =
            self.profiles.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key).collect();
        if !gone.is_empty() {
            pipeline.add(
                DeleteProfiles::NAME,
                DeleteProfiles {
                    user_id: gone.iter().map(|key| key.0.as_str()).collect(),
                    field: gone.iter().map(|key| key.1.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let set: Vec<_> = self.profiles.iter().filter_map(|(key, row)| Some((key, row.as_ref()?))).collect();
        if !set.is_empty() {
            pipeline.add(
                UpsertProfiles::NAME,
                UpsertProfiles {
                    user_id: set.iter().map(|(key, _)| key.0.as_str()).collect(),
                    field: set.iter().map(|(key, _)| key.1.as_str()).collect(),
                    value: set.iter().map(|(_, value)| value.as_ref()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_account_data(&self, pipeline: &mut Pipeline<'_>) {
        let gone: Vec<_> =
            self.account_data.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key).collect();
        if !gone.is_empty() {
            pipeline.add(
                DeleteAccountData::NAME,
                DeleteAccountData {
                    user_id: gone.iter().map(|key| key.0.as_str()).collect(),
                    room_id: gone.iter().map(|key| key.1.as_str()).collect(),
                    data_type: gone.iter().map(|key| key.2.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let set: Vec<_> =
            self.account_data.iter().filter_map(|(key, row)| Some((key, row.as_ref()?))).collect();
        if !set.is_empty() {
            pipeline.add(
                UpsertAccountData::NAME,
                UpsertAccountData {
                    user_id: set.iter().map(|(key, _)| key.0.as_str()).collect(),
                    room_id: set.iter().map(|(key, _)| key.1.as_str()).collect(),
                    data_type: set.iter().map(|(key, _)| key.2.as_str()).collect(),
                    content: set.iter().map(|(_, row)| row.content.as_ref()).collect(),
                    seq: set.iter().map(|(_, row)| row.seq).collect(),
                    position: set.iter().map(|(_, row)| row.position).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_filters(&self, pipeline: &mut Pipeline<'_>) {
        if self.filters.is_empty() {
            return;
        }
        pipeline.add(
            InsertFilters::NAME,
            InsertFilters {
                user_id: self.filters.keys().map(|key| key.0.as_str()).collect(),
                filter_id: self.filters.keys().map(|key| key.1.as_str()).collect(),
                filter: self.filters.values().map(AsRef::as_ref).collect(),
                lifetime: PhantomData,
            },
        );
    }
}

statement! {
    /// Sets accounts.
    UpsertAccounts {
        user_id: Array<Text> => Vec<&'a str>,
        password_hash: Array<Nullable<Text>> => Vec<Option<&'a str>>,
        guest: Array<Bool> => Vec<bool>,
        admin: Array<Bool> => Vec<bool>,
        deactivated: Array<Bool> => Vec<bool>,
        erased_ts: Array<Nullable<Int8>> => Vec<Option<i64>>,
        created_ts: Array<Int8> => Vec<i64>,
        profile_version: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO accounts (user_id, password_hash, guest, admin, deactivated, erased_ts, created_ts, \
     profile_version) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash, guest = excluded.guest, \
     admin = excluded.admin, deactivated = excluded.deactivated, erased_ts = excluded.erased_ts, \
     profile_version = excluded.profile_version"
}

statement! {
    /// Removes devices.
    DeleteDevices {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM devices AS d USING unnest(",
    ") AS v(user_id, device_id) WHERE d.user_id = v.user_id AND d.device_id = v.device_id"
}

statement! {
    /// Sets devices.
    UpsertDevices {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        display_name: Array<Nullable<Text>> => Vec<Option<&'a str>>,
        created_ts: Array<Int8> => Vec<i64>,
        last_seen_ts: Array<Int8> => Vec<i64>,
        last_seen_ip: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO devices (user_id, device_id, display_name, created_ts, last_seen_ts, last_seen_ip) \
     SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, device_id) DO UPDATE SET display_name = excluded.display_name, \
     created_ts = excluded.created_ts, last_seen_ts = excluded.last_seen_ts, last_seen_ip = excluded.last_seen_ip"
}

statement! {
    /// Removes fields of profiles.
    DeleteProfiles {
        user_id: Array<Text> => Vec<&'a str>,
        field: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM profiles AS p USING unnest(",
    ") AS v(user_id, field) WHERE p.user_id = v.user_id AND p.field = v.field"
}

statement! {
    /// Sets fields of profiles.
    UpsertProfiles {
        user_id: Array<Text> => Vec<&'a str>,
        field: Array<Text> => Vec<&'a str>,
        value: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO profiles (user_id, field, value) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value"
}

statement! {
    /// Removes account data.
    DeleteAccountData {
        user_id: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
        data_type: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM account_data AS d USING unnest(",
    ") AS v(user_id, room_id, type) WHERE d.user_id = v.user_id AND d.room_id = v.room_id AND d.type = v.type"
}

statement! {
    /// Sets account data.
    UpsertAccountData {
        user_id: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
        data_type: Array<Text> => Vec<&'a str>,
        content: Array<Binary> => Vec<&'a [u8]>,
        seq: Array<Int8> => Vec<i64>,
        position: Array<Nullable<Int8>> => Vec<Option<i64>>,
    }
    "INSERT INTO account_data (user_id, room_id, type, content, seq, position) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, room_id, type) DO UPDATE SET content = excluded.content, seq = excluded.seq, \
     position = excluded.position"
}

statement! {
    /// Adds filters.
    InsertFilters {
        user_id: Array<Text> => Vec<&'a str>,
        filter_id: Array<Text> => Vec<&'a str>,
        filter: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO filters (user_id, filter_id, filter) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, filter_id) DO NOTHING"
}
