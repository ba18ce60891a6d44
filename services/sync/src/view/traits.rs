//! Traits by which lists of rooms are ordered and filtered: known of every room of a user, loaded or not.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use plexus_proto::room::v1::RoomInfo;
use serde::Deserialize;

use super::{
    Event,
    applied::{Applied, Fact},
};

const CREATE: &str = "m.room.create";
const ENCRYPTION: &str = "m.room.encryption";

/// Types of events that move a room up in the lists of clients.
const BUMPING: [&str; 9] = [
    CREATE,
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "org.matrix.msc3381.poll.start",
    "m.beacon_info",
    "org.matrix.msc3672.beacon_info",
];

/// Traits of a room.
#[derive(Debug, Default)]
pub(crate) struct Traits {
    /// When the last event of the timeline came.
    activity: Stamp,
    /// When the last event came that moves the room up.
    bump: Stamp,
    /// Whether what was before the first record was asked for, and no record was missed since.
    known: AtomicBool,
    encrypted: AtomicBool,
    /// `type` of the create event; empty if it has none.
    room_type: OnceLock<String>,
}

/// A time, and the `seq` of the record as of which it holds. The last record counts, also if it tells an earlier time:
/// then all replicas say the same.
#[derive(Debug, Default)]
struct Stamp(Mutex<(u64, i64)>);

impl Stamp {
    fn set(&self, seq: u64, ts: i64) {
        let mut known = self.0.lock();
        if seq >= known.0 {
            *known = (seq, ts);
        }
    }

    fn get(&self) -> i64 {
        self.0.lock().1
    }
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "type")]
    room_type: Option<String>,
}

impl Traits {
    /// Takes what the room server tells. Records may have told more meanwhile.
    pub(super) fn learn(&self, info: &RoomInfo) {
        self.activity.set(info.last_seq, info.last_event_ts);
        self.bump.set(info.last_seq, info.bump_ts);
        if info.encrypted {
            self.encrypted.store(true, Ordering::Release);
        }
        self.room_type.get_or_init(|| info.room_type.clone());
    }

    /// Notes that all was told that there is.
    pub(super) fn is_whole(&self) {
        self.known.store(true, Ordering::Release);
    }

    /// Notes that something was missed.
    pub(super) fn is_lacking(&self) {
        self.known.store(false, Ordering::Release);
    }

    /// Whether it is known what the room was like before it came up here.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// Takes what a record tells.
    pub(super) fn apply(&self, record: &Applied) {
        if let Fact::Event(event) = &record.fact {
            self.activity.set(record.seq, record.ts);
            if BUMPING.contains(&event.kind.as_str()) {
                self.bump.set(record.seq, record.ts);
            }
        }
        for change in record.changes.iter().filter(|change| change.state_key.is_empty()) {
            match change.kind.as_str() {
                ENCRYPTION => self.encrypted.store(change.event.is_some(), Ordering::Release),
                CREATE => self.is_created(change.event.as_deref()),
                _ => {}
            }
        }
    }

    fn is_created(&self, create: Option<&Event>) {
        let room_type = create.and_then(Event::read_content::<Created>).and_then(|created| created.room_type);
        self.room_type.get_or_init(|| room_type.unwrap_or_default());
    }

    /// When the last event of the timeline came, in milliseconds since the Unix epoch; 0 if that is not known.
    pub(crate) fn activity(&self) -> i64 {
        self.activity.get()
    }

    /// When the last event came that moves the room up, in milliseconds since the Unix epoch; 0 if there is none lately.
    pub(crate) fn bump(&self) -> i64 {
        self.bump.get()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted.load(Ordering::Acquire)
    }

    /// `type` of the create event; `None` if it has none.
    pub(crate) fn room_type(&self) -> Option<&str> {
        self.room_type.get().map(String::as_str).filter(|room_type| !room_type.is_empty())
    }
}
