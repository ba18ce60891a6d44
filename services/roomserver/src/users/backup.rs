//! Backups of room keys: versions of them, and which key of a session is kept.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        BackupKey, BackupState, CreateBackup, DeleteBackup, DeleteBackupKeys, InputUserEvent, PutBackupKeys,
        UpdateBackup, input_user_event::Command,
    },
};
use prost::Message as _;
use ruma::RoomId;

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    data::check_object,
    json::Bounded,
    state::{BackupKeyRow, Change},
};

/// Most bytes of the data that belong to the algorithm of a backup.
const MAX_AUTH_DATA: usize = 64 * 1024;
/// Most bytes of one encrypted key.
const MAX_SESSION_DATA: usize = 64 * 1024;
/// Most versions of the backup of a user that are not deleted.
const MAX_BACKUPS: usize = 100;
/// Most keys of a version.
const MAX_BACKUP_KEYS: i64 = 1_000_000;
/// Largest integer in JSON.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// What of the backups of a user the commands of a batch build on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backups {
    /// The last number that was given out.
    pub(crate) last: i64,
    /// Versions that were not deleted, by number.
    pub(crate) versions: BTreeMap<i64, Backup>,
    /// Keys that commands name, as far as they are stored: by version, room and session.
    pub(crate) sessions: HashMap<(i64, String, String), Rank>,
    /// How many keys of a room are stored, where a command deletes them: by version and room.
    pub(crate) rooms: HashMap<(i64, String), i64>,
}

/// A version of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backup {
    /// Algorithm.
    pub(crate) algorithm: String,
    /// Counts changes.
    pub(crate) etag: i64,
    /// How many keys there are.
    pub(crate) count: i64,
    /// Keys since before this are gone.
    pub(crate) cleared_etag: i64,
}

/// By what the better of two keys of a session is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    /// Whether the device verified where it came from.
    pub(crate) is_verified: bool,
    /// The first message that it decrypts.
    pub(crate) first_message_index: i64,
    /// How often it was forwarded.
    pub(crate) forwarded_count: i64,
}

impl Rank {
    /// Whether a key takes the place of another: "if the keys have different values for `is_verified`, then it will keep the
    /// key that has `is_verified` set to true; if they have the same values for `is_verified`, then it will keep the key
    /// with a lower `first_message_index`; and finally, if `is_verified` and `first_message_index` are equal, then it will
    /// keep the key with a lower `forwarded_count`."
    fn replaces(self, other: Self) -> bool {
        let order = |rank: Self| (!rank.is_verified, rank.first_message_index, rank.forwarded_count);
        order(self) < order(other)
    }
}

/// What a command needs of the backups of its user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BackupNeeds<'a> {
    /// User.
    pub(crate) user_id: &'a str,
    /// Version; 0 for none in particular.
    pub(crate) version: i64,
    /// Room whose keys are counted; empty for none.
    pub(crate) room_id: &'a str,
    /// Sessions, by room, whose keys are looked at.
    pub(crate) sessions: Vec<(&'a str, &'a str)>,
}

/// What a command needs of the backups of its user; `None` if it does not regard them.
pub(crate) fn needs(record: &InputUserEvent) -> Option<BackupNeeds<'_>> {
    let needs = |version: u64| BackupNeeds {
        user_id: &record.user_id,
        version: number(version),
        room_id: "",
        sessions: Vec::new(),
    };
    match record.command.as_ref()? {
        Command::CreateBackup(_) => Some(needs(0)),
        Command::UpdateBackup(command) => Some(needs(command.version)),
        Command::DeleteBackup(command) => Some(needs(command.version)),
        Command::PutBackupKeys(command) => {
            let sessions = command.keys.iter().map(|key| (key.room_id.as_str(), key.session_id.as_str()));
            Some(BackupNeeds { sessions: sessions.collect(), ..needs(command.version) })
        }
        Command::DeleteBackupKeys(command) if command.room_id.is_empty() => Some(needs(command.version)),
        Command::DeleteBackupKeys(command) if command.session_id.is_empty() => {
            Some(BackupNeeds { room_id: &command.room_id, ..needs(command.version) })
        }
        Command::DeleteBackupKeys(command) => {
            let sessions = vec![(command.room_id.as_str(), command.session_id.as_str())];
            Some(BackupNeeds { sessions, ..needs(command.version) })
        }
        _ => None,
    }
}

/// Begins a new version.
pub(super) fn create(work: &mut Work<'_>, command: &CreateBackup) -> Result<(), Stop> {
    work.active_account()?;
    let CreateBackup { algorithm, auth_data } = command;
    check_name("algorithm", algorithm, MAX_NAME_BYTES)?;
    check_object("auth_data", auth_data, MAX_AUTH_DATA)?;
    if work.user.backups.versions.len() >= MAX_BACKUPS {
        return refuse(ErrorReason::LimitExceeded, format!("a user has at most {MAX_BACKUPS} backups"));
    }
    let version = work.user.backups.last + 1;
    let backup = Backup { algorithm: algorithm.clone(), etag: 0, count: 0, cleared_etag: 0 };
    work.user.backups.last = version;
    answer(work, version, &backup);
    work.user.backups.versions.insert(version, backup);
    work.changes.push(Change::BackupCreated(version, algorithm.clone(), auth_data.clone()));
    Ok(())
}

/// Replaces what belongs to the algorithm of a version.
pub(super) fn update(work: &mut Work<'_>, command: &UpdateBackup) -> Result<(), Stop> {
    work.active_account()?;
    let version = number(command.version);
    let backup = find(work, version)?;
    if backup.algorithm != command.algorithm {
        return refuse(ErrorReason::InvalidParam, "the algorithm of a backup does not change");
    }
    check_object("auth_data", &command.auth_data, MAX_AUTH_DATA)?;
    work.changes.push(Change::BackupUpdated(version, command.auth_data.clone()));
    Ok(())
}

/// Deletes a version. Its number is not given out again.
pub(super) fn delete(work: &mut Work<'_>, command: &DeleteBackup) -> Result<(), Stop> {
    work.active_account()?;
    let version = number(command.version);
    if version < 1 || version > work.user.backups.last {
        return refuse(ErrorReason::NotFound, "there is no such backup");
    }
    if work.user.backups.versions.remove(&version).is_some() {
        work.user.backups.sessions.retain(|(of, ..), _| *of != version);
        work.changes.push(Change::BackupDeleted(version));
    }
    Ok(())
}

/// Puts keys into the current version, each unless there is a better one of its session.
pub(super) fn put_keys(work: &mut Work<'_>, command: &PutBackupKeys) -> Result<(), Stop> {
    work.active_account()?;
    let version = number(command.version);
    let mut backup = find(work, version)?;
    if work.user.backups.versions.last_key_value().is_some_and(|(current, _)| *current != version) {
        return refuse(ErrorReason::WrongRoomKeysVersion, "there is a newer backup");
    }
    let etag = backup.etag + 1;
    let mut rows = BTreeMap::new();
    for key in &command.keys {
        let row = check(key, etag)?;
        let place = (version, key.room_id.clone(), key.session_id.clone());
        let known = work.user.backups.sessions.get(&place).copied();
        if known.is_some_and(|known| !row.rank.replaces(known)) {
            continue;
        }
        if known.is_none() {
            backup.count += 1;
            if let Some(count) = work.user.backups.rooms.get_mut(&(version, key.room_id.clone())) {
                *count += 1;
            }
        }
        work.user.backups.sessions.insert(place, row.rank);
        rows.insert((key.room_id.clone(), key.session_id.clone()), row);
    }
    if backup.count > MAX_BACKUP_KEYS {
        return refuse(ErrorReason::LimitExceeded, format!("a backup has at most {MAX_BACKUP_KEYS} keys"));
    }
    if !rows.is_empty() {
        backup.etag = etag;
        let rows = rows.into_iter().map(|((room, session), row)| Change::BackupKey {
            version,
            room_id: room,
            session_id: session,
            row: Some(row),
        });
        work.changes.extend(rows);
        store(work, version, &backup);
    }
    answer(work, version, &backup);
    Ok(())
}

/// Deletes keys of a version: all, those of a room, or one.
pub(super) fn delete_keys(work: &mut Work<'_>, command: &DeleteBackupKeys) -> Result<(), Stop> {
    work.active_account()?;
    let DeleteBackupKeys { version, room_id, session_id } = command;
    let version = number(*version);
    let mut backup = find(work, version)?;
    let backups = &mut work.user.backups;
    let gone = if room_id.is_empty() {
        backups.sessions.retain(|(of, ..), _| *of != version);
        backups.rooms.iter_mut().filter(|((of, _), _)| *of == version).for_each(|(_, count)| *count = 0);
        // Their rows go in steps.
        backup.cleared_etag = backup.etag;
        backup.count
    } else if session_id.is_empty() {
        backups.sessions.retain(|(of, room, _), _| *of != version || room != room_id);
        let count =
            backups.rooms.get_mut(&(version, room_id.clone())).map(std::mem::take).unwrap_or_default();
        work.changes.push(Change::BackupRoomCleared(version, room_id.clone(), backup.etag));
        count
    } else {
        let known = backups.sessions.remove(&(version, room_id.clone(), session_id.clone()));
        if let Some(count) = backups.rooms.get_mut(&(version, room_id.clone()))
            && known.is_some()
        {
            *count -= 1;
        }
        let (room_id, session_id) = (room_id.clone(), session_id.clone());
        work.changes.push(Change::BackupKey { version, room_id, session_id, row: None });
        i64::from(known.is_some())
    };
    if gone > 0 {
        backup.etag += 1;
        backup.count -= gone;
        store(work, version, &backup);
    }
    answer(work, version, &backup);
    Ok(())
}

fn find(work: &Work<'_>, version: i64) -> Result<Backup, Stop> {
    match work.user.backups.versions.get(&version) {
        Some(backup) => Ok(backup.clone()),
        None => refuse(ErrorReason::NotFound, "there is no such backup"),
    }
}

fn store(work: &mut Work<'_>, version: i64, backup: &Backup) {
    work.user.backups.versions.insert(version, backup.clone());
    work.changes.push(Change::BackupContents(version, backup.clone()));
}

fn answer(work: &mut Work<'_>, version: i64, backup: &Backup) {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let (version, etag, count) = (unsigned(version), unsigned(backup.etag), unsigned(backup.count));
    work.answer(BackupState { version, etag, count }.encode_to_vec().into());
}

fn check(key: &BackupKey, etag: i64) -> Result<BackupKeyRow, Stop> {
    if <&RoomId>::try_from(key.room_id.as_str()).is_err() {
        return refuse(ErrorReason::InvalidParam, "room_id is not a room ID");
    }
    check_name("room_id", &key.room_id, MAX_NAME_BYTES)?;
    check_name("session_id", &key.session_id, MAX_NAME_BYTES)?;
    if key.session_id.is_empty() {
        return refuse(ErrorReason::InvalidParam, "session_id is empty");
    }
    if key.session_data.len() > MAX_SESSION_DATA {
        return refuse(ErrorReason::TooLarge, format!("session_data exceeds {MAX_SESSION_DATA} bytes"));
    }
    if serde_json::from_slice::<Bounded>(&key.session_data).is_err() {
        return refuse(ErrorReason::BadJson, "session_data is not JSON");
    }
    let integer = |what: &str, value: u64| match i64::try_from(value) {
        Ok(number) if value <= MAX_INTEGER => Ok(number),
        _ => refuse(ErrorReason::InvalidParam, format!("{what} is out of range")),
    };
    Ok(BackupKeyRow {
        rank: Rank {
            is_verified: key.is_verified,
            first_message_index: integer("first_message_index", key.first_message_index)?,
            forwarded_count: integer("forwarded_count", key.forwarded_count)?,
        },
        session_data: Bytes::clone(&key.session_data),
        etag,
    })
}

/// A version as the database holds it; what is too large for it is none.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Rank;

    /// Every pair of keys of a session, by the words of the specification.
    #[test]
    fn the_better_key_of_a_session_is_kept() {
        let ranks = [true, false].into_iter().flat_map(|is_verified| {
            [0, 1, 7].into_iter().flat_map(move |first_message_index| {
                [0, 1, 7].map(|forwarded_count| Rank { is_verified, first_message_index, forwarded_count })
            })
        });
        let ranks: Vec<Rank> = ranks.collect();
        for new in &ranks {
            for old in &ranks {
                let wanted = if new.is_verified != old.is_verified {
                    new.is_verified
                } else if new.first_message_index != old.first_message_index {
                    new.first_message_index < old.first_message_index
                } else {
                    new.forwarded_count < old.forwarded_count
                };
                assert_eq!(new.replaces(*old), wanted, "{new:?} over {old:?}");
            }
        }
    }
}
