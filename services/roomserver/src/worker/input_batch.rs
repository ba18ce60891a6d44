//! Processes one batch: loads what it needs, applies its records in order, gathers what to write.
//!
//! Nothing here takes effect by itself: rooms, counters and verdicts are copies until the batch is committed.

mod deferral;
mod done;
mod load;
mod prefetch;
mod room_inputs;
mod user_inputs;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    panic::AssertUnwindSafe,
};

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use plexus_log::Offset;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{InputLog, Rejected, Verdict, verdict::Outcome as Decision},
    log::v1::input_user_event::Command,
};
use prost::Message as _;
use ruma::{OwnedRoomId, RoomId, ServerName, UserId};
use tracing::Instrument as _;

pub(super) use self::done::Done;
use self::room_inputs::txn_key;
use super::{
    InputId,
    cache::RoomCache,
    deferred::Deferred,
    engine::now_ms,
    intake::{Body, Input},
    partition::Partition,
    publisher::Record,
    verdict_board::Decided,
};
use crate::{
    rooms::{self, Budget, Env, LoadedData, Room},
    store::{
        StoreError,
        batch::{Batch, DeadLetter, OutputRow, VerdictRow},
        keys::load_keys,
        loads::{self, Key},
        media, purge,
        users::{Wanted, load_users},
    },
    users::{self, User},
};

/// Parked events after which a batch ends.
const MAX_UNPARKED: usize = 256;

/// Why a batch goes no further.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database failed.
    Store(StoreError),
    /// The input has cost more than its budget.
    Overrun,
}

impl From<StoreError> for Failure {
    fn from(failure: StoreError) -> Self {
        Self::Store(failure)
    }
}

/// What is known before a batch begins.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) partitions: &'a BTreeMap<u32, Partition>,
    pub(super) rooms: &'a RoomCache,
    pub(super) deferred: &'a Deferred,
}

/// How a batch is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchMode {
    /// In turn with all others.
    Main,
    /// Beside them, by a row of its own: see [`super::bulk_lane`].
    BulkLane,
    /// Only to find out what it comes to: see [`super::low_lane`].
    LowPriority,
}

/// A batch at work.
pub(super) struct InputBatch<'a> {
    mode: BatchMode,
    conn: &'a AsyncPgConnection,
    env: &'a Env,
    known: Known<'a>,
    touched: BTreeMap<u32, Partition>,
    rooms: HashMap<OwnedRoomId, Option<Room>>,
    /// Rooms that were deleted and are not all gone yet.
    purging: HashSet<String>,
    users: HashMap<String, User>,
    signed_out: HashSet<String>,
    loaded: LoadedData,
    /// What was loaded without what the batch has changed, where somebody wants it.
    pristine: Option<LoadedData>,
    verdicts: HashMap<Key, Verdict>,
    batch: Batch,
    outputs: BTreeMap<(InputLog, u32), Vec<Record>>,
    decided: HashMap<(InputLog, u32), Vec<Decided>>,
    decided_late: Vec<(InputLog, u32, Decided)>,
    deferring: HashMap<String, (u32, Vec<InputId>)>,
    worked_off: HashMap<String, usize>,
    dead_letters: u64,
    /// Parked events that were applied.
    unparked: usize,
}

impl<'a> InputBatch<'a> {
    /// Looks up what the whole batch request, in one round trip if its rooms are known.
    pub(super) async fn begin(
        conn: &'a AsyncPgConnection,
        env: &'a Env,
        known: Known<'a>,
        (mode, inputs): (BatchMode, &[Input]),
    ) -> Result<Self, StoreError> {
        let mut keys: Vec<Key> = Vec::with_capacity(inputs.len() * 2);
        let mut unknown_rooms: Vec<&RoomId> = Vec::new();
        let mut seen_rooms: HashSet<&str> = HashSet::new();
        let mut user_ids: HashSet<&str> = HashSet::new();
        let mut backups = Vec::new();
        let mut wanted_data: HashSet<Wanted<'_>> = HashSet::new();
        let mut key_reads = users::KeyReads::default();
        let mut media_reads = users::MediaReads::default();
        for input in inputs {
            match &input.body {
                Body::Room(room_input) => {
                    keys.push(input.input_id);
                    keys.extend(txn_key(room_input));
                    let id = room_input.record.room_id.as_str();
                    if !seen_rooms.insert(id) {
                        continue;
                    }
                    if let Ok(id) = <&RoomId>::try_from(id)
                        && !known.rooms.contains(id)
                    {
                        unknown_rooms.push(id);
                    }
                }
                Body::User(record) => {
                    keys.push(input.input_id);
                    user_ids.insert(&record.user_id);
                    wanted_data.extend(users::builds_on(record));
                    backups.extend(users::backup_needs(record));
                    users::key_reads(record, &mut key_reads);
                    users::media_reads(record, &mut media_reads);
                }
                Body::Poison(_) => {}
            }
        }
        let user_ids: Vec<&str> = user_ids.into_iter().collect();
        let wanted_data: Vec<Wanted<'_>> = wanted_data.into_iter().collect();
        let unknown_ids: Vec<&str> = unknown_rooms.iter().map(|id| id.as_str()).collect();
        let (verdicts, found, purging, mut users, keys, media) = futures::try_join!(
            loads::find_verdicts(conn, &keys),
            loads::find_rooms(conn, &unknown_rooms),
            purge::find(conn, &unknown_ids),
            load_users(conn, &user_ids, &wanted_data, &backups),
            load_keys(conn, &key_reads),
            media::load(conn, &media_reads),
        )?;
        for (id, media) in media {
            if let Some(user) = users.get_mut(&id) {
                user.media = media;
            }
        }
        for (id, keys) in keys {
            if let Some(user) = users.get_mut(&id) {
                user.keys = keys;
            }
        }
        let mut rooms: HashMap<OwnedRoomId, Option<Room>> = HashMap::with_capacity(seen_rooms.len());
        for id in unknown_rooms {
            rooms.insert(id.to_owned(), None);
        }
        for parts in found {
            let id = parts.room_id.clone();
            let room = Room::from_parts(parts)
                .map_err(|error| StoreError::Corrupt { what: format!("version of room {id} ({error})") })?;
            rooms.insert(id, Some(room));
        }
        Ok(Self {
            mode,
            conn,
            env,
            known,
            touched: BTreeMap::new(),
            rooms,
            purging: purging.into_iter().collect(),
            users,
            signed_out: HashSet::new(),
            loaded: LoadedData::default(),
            pristine: None,
            verdicts,
            batch: Batch::default(),
            outputs: BTreeMap::new(),
            decided: HashMap::new(),
            decided_late: Vec::new(),
            deferring: HashMap::new(),
            worked_off: HashMap::new(),
            dead_letters: 0,
            unparked: 0,
        })
    }

    /// Applies one input, over what the inputs before it have changed. `poison`: it has failed for this reason so often
    /// that it is set aside.
    pub(super) async fn apply(&mut self, input: &Input, poison: Option<&str>) -> Result<(), Failure> {
        self.apply_in_trace(input, poison).instrument(input.span()).await
    }

    async fn apply_in_trace(&mut self, input: &Input, poison: Option<&str>) -> Result<(), Failure> {
        let Some(partition) = self.known.partitions.get(&input.partition) else {
            // Lost meanwhile; whoever owns it now reads the record.
            return Ok(());
        };
        self.touched.entry(input.partition).or_insert_with(|| {
            let mut partition = partition.clone();
            if self.mode == BatchMode::BulkLane {
                partition.counters.next_nid = partition.bulk_nid;
            }
            partition
        });
        self.loaded.effort.begin_record();
        self.loaded.parsed.clear();
        if poison.is_none()
            && let Some(room_id) = self.deferred_room(input)
        {
            let verdict = self.defer(input, room_id);
            self.advance(input);
            if let Some(verdict) = verdict {
                self.answer(input, verdict);
            }
            return Ok(());
        }
        let verdict = match (&input.body, poison) {
            (_, Some(error)) => self.dead_letter(input, error),
            (Body::Poison(error), None) => self.dead_letter(input, error),
            (Body::Room(room_input), None) => self.apply_room(input, room_input).await?,
            (Body::User(record), None) => self.apply_user(input, record),
        };
        tracing::debug!(
            topic = input.topic(),
            partition = input.partition,
            offset = input.offset,
            "input decided"
        );
        match input.deferred {
            Some(id) => {
                self.batch.deferred_done.push(id);
                if let Some(room_id) = input.room_id() {
                    *self.worked_off.entry(room_id.to_owned()).or_default() += 1;
                }
                let decided = Decided { offset: input.offset, input_id: input.input_id, verdict };
                self.decided_late.push((input.log, input.partition, decided));
            }
            None => {
                self.advance(input);
                self.answer(input, verdict);
            }
        }
        Ok(())
    }

    fn answer(&mut self, input: &Input, verdict: Verdict) {
        let decided = Decided { offset: input.offset, input_id: input.input_id, verdict };
        self.decided.entry((input.log, input.partition)).or_default().push(decided);
    }

    /// Whether all rooms that were loaded are unknown, or only being joined.
    pub(super) fn are_rooms_incipient(&self) -> bool {
        self.rooms.values().flatten().all(Room::is_incipient)
    }

    /// Moves the partition's offset behind the input.
    fn advance(&mut self, input: &Input) {
        if let Some(partition) = self.touched.get_mut(&input.partition) {
            let lane = partition.lane_mut(input.log);
            lane.stored = next_offset(input.offset);
            lane.stored_input_id = Some(input.input_id.to_vec());
        }
    }

    /// Whether the batch is as large as it may get: parked events have made it so, or what its records have cost.
    pub(super) fn is_full(&self) -> bool {
        self.unparked >= MAX_UNPARKED || self.loaded.effort.total() >= Budget::LIVE.steps
    }

    /// Sends an input to `dead_letters`: it can never be processed.
    fn dead_letter(&mut self, input: &Input, error: &str) -> Verdict {
        let error = error.replace('\0', "\u{fffd}");
        tracing::warn!(
            topic = input.topic(),
            partition = input.partition,
            offset = input.offset,
            error,
            "an input cannot be processed and goes to dead_letters"
        );
        self.dead_letters += 1;
        let rejected = Rejected { reason: ErrorReason::DeadLettered.into(), message: error.clone() };
        self.batch.dead_letters.push(DeadLetter {
            topic: input.topic(),
            partition: partition_column(input.partition),
            log_offset: i64::try_from(input.offset).unwrap_or(i64::MAX),
            error,
            payload: input.payload.clone(),
            created_ts: now_ms(),
            key: rooms::storable(input.key().to_owned()),
        });
        // No verdict is kept: an operator may replay the record, and then it is a new try.
        Verdict { outcome: Some(Decision::Rejected(rejected)) }
    }

    fn keep_verdict(&mut self, input: &Input, key: InputId, verdict: &Verdict) {
        self.verdicts.insert(key, verdict.clone());
        self.batch.verdicts.push(VerdictRow {
            key,
            partition: partition_column(input.partition),
            verdict: Bytes::from(verdict.encode_to_vec()),
            created_ts: input.produced_ts.saturating_add(extra_retention(input, &self.env.server_name)),
        });
    }
}

/// The offset after an input, as the database holds it.
pub(super) fn next_offset(offset: Offset) -> i64 {
    i64::try_from(offset.saturating_add(1)).unwrap_or(i64::MAX)
}

/// A partition number as the database holds it.
pub(super) fn partition_column(partition: u32) -> i16 {
    i16::try_from(partition).unwrap_or(i16::MAX)
}

/// The verdict on a repeat of an input.
fn repeated(known: &Verdict) -> Verdict {
    let mut verdict = known.clone();
    if let Some(Decision::Accepted(accepted)) = &mut verdict.outcome {
        accepted.duplicate = true;
    }
    verdict
}

/// Runs a decision. It does not panic; if it does all the same, the record is at fault, and not worth the partition.
fn guard<T>(decide: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(decide)).map_err(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        format!("deciding on it panicked: {message}")
    })
}

/// Sets the body of a row that the batch writes.
fn set_body(rows: &mut [OutputRow], partition: u32, seq: i64, body: Bytes) {
    let partition = partition_column(partition);
    if let Some(row) = rows.iter_mut().rev().find(|row| row.partition == partition && row.seq == seq) {
        row.body = body;
    }
}

/// For how long the verdict on an input is kept beyond what is usual, in milliseconds. Other servers repeat messages to
/// devices when they have not heard that these arrived.
fn extra_retention(input: &Input, own: &ServerName) -> i64 {
    const REPEATED_FOR: i64 = 30 * 24 * 60 * 60 * 1_000;
    let Body::User(record) = &input.body else { return 0 };
    let Some(Command::SendToDevice(command)) = &record.command else { return 0 };
    let sender = <&UserId>::try_from(command.sender.as_str());
    if sender.is_ok_and(|sender| sender.server_name() != own) { REPEATED_FOR } else { 0 }
}
