//! State of a user in memory, and the changes to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::{
    backup::{Backup, Backups, Rank},
    keys::{KeyChange, Keys},
    media::{Media, MediaChange},
};

/// SHA-256 of a token.
pub(crate) type TokenHash = [u8; 32];

/// A user, as far as commands look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// The account, if there is one.
    pub(crate) account: Option<Account>,
    /// Devices by ID.
    pub(crate) devices: BTreeMap<String, Device>,
    /// Access tokens.
    pub(crate) access_tokens: HashMap<TokenHash, AccessToken>,
    /// Refresh tokens.
    pub(crate) refresh_tokens: HashMap<TokenHash, RefreshToken>,
    /// Fields of the profile, as JSON text.
    pub(crate) profile: BTreeMap<String, Bytes>,
    /// Sizes of account data, by room and type.
    pub(crate) account_data: BTreeMap<(String, String), u64>,
    /// How far account data reaches that only moves forward, by room and type.
    pub(crate) positions: BTreeMap<(String, String), i64>,
    /// Contents of account data, by room and type, where a command of the batch builds on them.
    pub(crate) contents: BTreeMap<(String, String), Bytes>,
    /// Account data that commands of the batch have set, by room and type: the `seq` of the record that tells each.
    pub(crate) told: BTreeMap<(String, String), i64>,
    /// IDs of filters.
    pub(crate) filters: BTreeSet<String>,
    /// Backups of room keys, as far as a command of the batch builds on them.
    pub(crate) backups: Backups,
    /// Keys, as far as commands of the batch look at them.
    pub(crate) keys: Keys,
    /// What the user is in rooms that this server is not in, by room.
    pub(crate) out_of_band: BTreeMap<String, OutOfBand>,
    /// Media, as far as commands of the batch look at it.
    pub(crate) media: Media,
}

/// What a user is in a room that this server is not in, as far as commands look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutOfBand {
    /// Membership.
    pub(crate) membership: String,
    /// The member event; empty if it has no ID.
    pub(crate) event_id: String,
    /// Sequence number of the output record that told it.
    pub(crate) seq: i64,
}

/// What a user is in a room that this server is not in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutOfBandRow {
    /// What commands look at.
    pub(crate) state: OutOfBand,
    /// The member event.
    pub(crate) event: Bytes,
    /// Who sent it.
    pub(crate) sender: String,
    /// Server that told it.
    pub(crate) origin: String,
    /// Room version.
    pub(crate) room_version: String,
    /// JSON text of a list of stripped state events.
    pub(crate) stripped_state: Bytes,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Password hash in PHC format; `None` if it has no password.
    pub(crate) password_hash: Option<String>,
    /// Whether it is a guest.
    pub(crate) guest: bool,
    /// Whether it is a server administrator.
    pub(crate) admin: bool,
    /// Whether it was deactivated.
    pub(crate) deactivated: bool,
    /// When the user asked to be erased; unset if they did not.
    pub(crate) erased_ts: Option<i64>,
    /// When it was created.
    pub(crate) created_ts: i64,
    /// `seq` of the last change of the display name or the avatar; 0 if there was none since the account was made.
    pub(crate) profile_version: i64,
}

/// Account data as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountData {
    /// JSON text of an object.
    pub(crate) content: Bytes,
    /// Sequence number of its output record.
    pub(crate) seq: i64,
    /// How far it reaches, if it only moves forward.
    pub(crate) position: Option<i64>,
}

/// What is to be done in all rooms of a user, and is kept until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum MemberJob {
    /// Member events get the profile.
    UpdateProfile,
    /// The user leaves.
    Leave,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// Display name.
    pub(crate) display_name: Option<String>,
    /// When it first logged in.
    pub(crate) created_ts: i64,
    /// When it was seen last, to the hour; 0 if never.
    pub(crate) last_seen_ts: i64,
    /// Address it was seen from last; empty if that is not known.
    pub(crate) last_seen_ip: String,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessToken {
    /// Device.
    pub(crate) device_id: String,
    /// When it expires; 0 for never.
    pub(crate) expires_ts: i64,
    /// The refresh token that came with it.
    pub(crate) refresh: Option<TokenHash>,
}

/// A refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    /// Device.
    pub(crate) device_id: String,
    /// The refresh token it was exchanged for.
    pub(crate) next: Option<TokenHash>,
}

/// One row that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The account as it is now.
    Account(Account),
    /// The device as it is now; `None`: it is gone.
    Device(String, Option<Device>),
    /// The access token as it is now; `None`: it is gone.
    AccessToken(TokenHash, Option<AccessToken>),
    /// The refresh token as it is now; `None`: it is gone.
    RefreshToken(TokenHash, Option<RefreshToken>),
    /// The field of the profile as it is now; `None`: it is gone.
    Profile(String, Option<Bytes>),
    /// The account data of a room (or global) and type; `None`: it is gone.
    AccountData(String, String, Option<AccountData>),
    /// A job begins, for the version of the profile that follows, at this time.
    MemberJob(MemberJob, i64, i64),
    /// A new filter.
    Filter(String, Bytes),
    /// Something was reported to the operators.
    Report(Report),
    /// A new message to a device.
    ToDevice(InboxMessage),
    /// Messages to devices of another server: content of an EDU.
    Outgoing { server: String, content: Bytes, created_ts: i64 },
    /// The messages to a device up to this `seq` are gone.
    TrimInbox(String, i64),
    /// A new version of the backup, with its algorithm and what belongs to it.
    BackupCreated(i64, String, Bytes),
    /// What belongs to the algorithm of a version as it is now.
    BackupUpdated(i64, Bytes),
    /// What the keys of a version come to.
    BackupContents(i64, Backup),
    /// A key of a version; `None`: it is gone.
    BackupKey { version: i64, room_id: String, session_id: String, row: Option<BackupKeyRow> },
    /// The keys of a room that have been in a version since this etag are gone.
    BackupRoomCleared(i64, String, i64),
    /// A version is gone.
    BackupDeleted(i64),
    /// All versions are gone.
    BackupsDropped,
    /// Keys.
    Key(KeyChange),
    /// What the user is in a room that this server is not in; `None`: that is forgotten.
    OutOfBand(String, Option<Box<OutOfBandRow>>),
    /// Media.
    Media(MediaChange),
}

/// A room key of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupKeyRow {
    /// By what it is compared with others of its session.
    pub(crate) rank: Rank,
    /// JSON text of the encrypted key.
    pub(crate) session_data: Bytes,
    /// Since when it is as it is.
    pub(crate) etag: i64,
}

/// A message to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InboxMessage {
    /// Device.
    pub(crate) device_id: String,
    /// Its place: the `seq` of the record that tells of it.
    pub(crate) seq: i64,
    /// Who sent it.
    pub(crate) sender: String,
    /// Event type.
    pub(crate) kind: String,
    /// JSON text of an object.
    pub(crate) content: Bytes,
    /// It replaces what waits of the same key.
    pub(crate) request_key: Option<[u8; 16]>,
    /// When the input was produced.
    pub(crate) created_ts: i64,
}

impl Change {
    /// Whether it ends a session, or makes an access token void.
    pub(crate) fn ends_session(&self) -> bool {
        matches!(self, Self::AccessToken(_, None))
    }
}

/// What a user reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Room; empty if a user was reported.
    pub(crate) room_id: String,
    /// Event; empty if the room as a whole or a user was reported.
    pub(crate) event_id: String,
    /// User; empty if a room or an event was reported.
    pub(crate) user_id: String,
    /// Why.
    pub(crate) reason: String,
    /// When.
    pub(crate) created_ts: i64,
}
