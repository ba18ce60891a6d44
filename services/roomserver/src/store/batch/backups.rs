//! Backups of room keys.

use std::marker::PhantomData;

use bytes::Bytes;
use diesel::sql_types::{Array, Binary, Bool, Int8, Text};
use indexmap::{IndexMap, IndexSet};

use super::Pipeline;
use crate::{
    store::statement::statement,
    users::{Backup, BackupKeyRow},
};

/// User and version.
type Version = (String, i64);

/// What a batch makes of backups.
#[derive(Default)]
pub(super) struct Backups {
    created: IndexMap<Version, (String, Bytes)>,
    updated: IndexMap<Version, Bytes>,
    contents: IndexMap<Version, Backup>,
    /// By version, room and session; `None`: the key is gone.
    keys: IndexMap<(Version, String, String), Option<BackupKeyRow>>,
    /// By version and room: keys up to this `etag` are gone.
    cleared: IndexMap<(Version, String), i64>,
    deleted: IndexSet<Version>,
    dropped: IndexSet<String>,
}

impl Backups {
    /// Adds a version.
    pub(super) fn create(&mut self, version: Version, algorithm: String, auth_data: Bytes) {
        self.created.insert(version, (algorithm, auth_data));
    }

    /// Replaces what belongs to the algorithm.
    pub(super) fn update(&mut self, version: Version, auth_data: Bytes) {
        self.updated.insert(version, auth_data);
    }

    /// Sets what the keys of a version come to.
    pub(super) fn set_contents(&mut self, version: Version, backup: Backup) {
        self.contents.insert(version, backup);
    }

    /// Sets or removes a key.
    pub(super) fn set_key(
        &mut self,
        version: Version,
        room_id: String,
        session_id: String,
        row: Option<BackupKeyRow>,
    ) {
        self.keys.insert((version, room_id, session_id), row);
    }

    /// Removes the keys of a room that have been there since an `etag`.
    pub(super) fn clear_room(&mut self, version: Version, room_id: String, upto: i64) {
        self.cleared.insert((version, room_id), upto);
    }

    /// Deletes a version.
    pub(super) fn delete(&mut self, version: Version) {
        self.deleted.insert(version);
    }

    /// Deletes all versions of a user.
    pub(super) fn drop_all(&mut self, user_id: &str) {
        self.dropped.insert(user_id.to_owned());
    }

    /// Writes it.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        self.write_versions(pipeline);
        self.write_keys(pipeline);
        if !self.deleted.is_empty() {
            pipeline.add(
                DeleteVersions::NAME,
                DeleteVersions {
                    user_id: self.deleted.iter().map(|key| key.0.as_str()).collect(),
                    version: self.deleted.iter().map(|key| key.1).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.dropped.is_empty() {
            pipeline.add(
                DropVersions::NAME,
                DropVersions {
                    user_id: self.dropped.iter().map(String::as_str).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_versions(&self, pipeline: &mut Pipeline<'_>) {
        if !self.created.is_empty() {
            pipeline.add(
                InsertVersions::NAME,
                InsertVersions {
                    user_id: self.created.keys().map(|key| key.0.as_str()).collect(),
                    version: self.created.keys().map(|key| key.1).collect(),
                    algorithm: self.created.values().map(|row| row.0.as_str()).collect(),
                    auth_data: self.created.values().map(|row| row.1.as_ref()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.updated.is_empty() {
            pipeline.add(
                UpdateVersions::NAME,
                UpdateVersions {
                    user_id: self.updated.keys().map(|key| key.0.as_str()).collect(),
                    version: self.updated.keys().map(|key| key.1).collect(),
                    auth_data: self.updated.values().map(AsRef::as_ref).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.contents.is_empty() {
            pipeline.add(
                SetContents::NAME,
                SetContents {
                    user_id: self.contents.keys().map(|key| key.0.as_str()).collect(),
                    version: self.contents.keys().map(|key| key.1).collect(),
                    etag: self.contents.values().map(|row| row.etag).collect(),
                    count: self.contents.values().map(|row| row.count).collect(),
                    cleared_etag: self.contents.values().map(|row| row.cleared_etag).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn write_keys(&self, pipeline: &mut Pipeline<'_>) {
        let set: Vec<_> = self.keys.iter().filter_map(|(key, row)| Some((key, row.as_ref()?))).collect();
        if !set.is_empty() {
            pipeline.add(
                UpsertKeys::NAME,
                UpsertKeys {
                    user_id: set.iter().map(|(key, _)| key.0.0.as_str()).collect(),
                    version: set.iter().map(|(key, _)| key.0.1).collect(),
                    room_id: set.iter().map(|(key, _)| key.1.as_str()).collect(),
                    session_id: set.iter().map(|(key, _)| key.2.as_str()).collect(),
                    first_message_index: set.iter().map(|(_, row)| row.rank.first_message_index).collect(),
                    forwarded_count: set.iter().map(|(_, row)| row.rank.forwarded_count).collect(),
                    is_verified: set.iter().map(|(_, row)| row.rank.is_verified).collect(),
                    session_data: set.iter().map(|(_, row)| row.session_data.as_ref()).collect(),
                    etag: set.iter().map(|(_, row)| row.etag).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let gone: Vec<_> = self.keys.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key).collect();
        if !gone.is_empty() {
            pipeline.add(
                DeleteKeys::NAME,
                DeleteKeys {
                    user_id: gone.iter().map(|key| key.0.0.as_str()).collect(),
                    version: gone.iter().map(|key| key.0.1).collect(),
                    room_id: gone.iter().map(|key| key.1.as_str()).collect(),
                    session_id: gone.iter().map(|key| key.2.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.cleared.is_empty() {
            pipeline.add(
                ClearRooms::NAME,
                ClearRooms {
                    user_id: self.cleared.keys().map(|key| key.0.0.as_str()).collect(),
                    version: self.cleared.keys().map(|key| key.0.1).collect(),
                    room_id: self.cleared.keys().map(|key| key.1.as_str()).collect(),
                    upto: self.cleared.values().copied().collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Adds versions.
    InsertVersions {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
        algorithm: Array<Text> => Vec<&'a str>,
        auth_data: Array<Binary> => Vec<&'a [u8]>,
    }
    "INSERT INTO key_backup_versions (user_id, version, algorithm, auth_data, etag, count, cleared_etag, deleted, \
     has_garbage) SELECT v.*, 0, 0, 0, false, false FROM unnest(",
    ") AS v"
}

statement! {
    /// Replaces what belongs to the algorithms of versions.
    UpdateVersions {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
        auth_data: Array<Binary> => Vec<&'a [u8]>,
    }
    "UPDATE key_backup_versions AS b SET auth_data = v.auth_data FROM unnest(",
    ") AS v(user_id, version, auth_data) WHERE b.user_id = v.user_id AND b.version = v.version"
}

statement! {
    /// Sets what the keys of versions come to.
    SetContents {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
        etag: Array<Int8> => Vec<i64>,
        count: Array<Int8> => Vec<i64>,
        cleared_etag: Array<Int8> => Vec<i64>,
    }
    "UPDATE key_backup_versions AS b SET etag = v.etag, count = v.count, cleared_etag = v.cleared_etag, \
     has_garbage = b.has_garbage OR v.cleared_etag > b.cleared_etag FROM unnest(",
    ") AS v(user_id, version, etag, count, cleared_etag) WHERE b.user_id = v.user_id AND b.version = v.version"
}

statement! {
    /// Sets keys.
    UpsertKeys {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
        room_id: Array<Text> => Vec<&'a str>,
        session_id: Array<Text> => Vec<&'a str>,
        first_message_index: Array<Int8> => Vec<i64>,
        forwarded_count: Array<Int8> => Vec<i64>,
        is_verified: Array<Bool> => Vec<bool>,
        session_data: Array<Binary> => Vec<&'a [u8]>,
        etag: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO key_backup_keys (user_id, version, room_id, session_id, first_message_index, forwarded_count, \
     is_verified, session_data, etag) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET \
     first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count, \
     is_verified = excluded.is_verified, session_data = excluded.session_data, etag = excluded.etag"
}

statement! {
    /// Removes keys.
    DeleteKeys {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
        room_id: Array<Text> => Vec<&'a str>,
        session_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM key_backup_keys AS k USING unnest(",
    ") AS v(user_id, version, room_id, session_id) WHERE k.user_id = v.user_id AND k.version = v.version \
     AND k.room_id = v.room_id AND k.session_id = v.session_id"
}

statement! {
    /// Removes the keys of rooms.
    ClearRooms {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
        room_id: Array<Text> => Vec<&'a str>,
        upto: Array<Int8> => Vec<i64>,
    }
    "DELETE FROM key_backup_keys AS k USING unnest(",
    ") AS v(user_id, version, room_id, upto) WHERE k.user_id = v.user_id AND k.version = v.version \
     AND k.room_id = v.room_id AND k.etag <= v.upto"
}

statement! {
    /// Deletes versions; their keys go in steps.
    DeleteVersions {
        user_id: Array<Text> => Vec<&'a str>,
        version: Array<Int8> => Vec<i64>,
    }
    "UPDATE key_backup_versions AS b SET deleted = true, has_garbage = true, algorithm = '', auth_data = '', \
     count = 0 FROM unnest(",
    ") AS v(user_id, version) WHERE b.user_id = v.user_id AND b.version = v.version"
}

statement! {
    /// Deletes all versions of users.
    DropVersions { user_id: Array<Text> => Vec<&'a str> }
    "UPDATE key_backup_versions SET deleted = true, has_garbage = true, algorithm = '', auth_data = '', count = 0 \
     WHERE NOT deleted AND user_id = ANY(",
    ")"
}
