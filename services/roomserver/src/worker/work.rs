//! One batch: look up what it needs, apply its records in order, gather what to write.
//!
//! Nothing here takes effect by itself: rooms, counters and verdicts are copies until the batch is committed.

mod deferral;
mod load;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    panic::AssertUnwindSafe,
};

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use plexus_log::Offset;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, InputLog, PduResult, Rejected, Verdict, verdict::Outcome as Decision},
    log::v1::{InputRoomEvent, Receipt, input_room_event, output_room_event, output_user_event},
};
use prost::Message as _;
use ruma::{OwnedRoomId, RoomId};
use tracing::Instrument as _;

use super::{
    InputId,
    board::Decided,
    cache::RoomCache,
    deferred::Deferred,
    engine::now_ms,
    intake::{Body, Input},
    partition::Partition,
    publisher::{Lane, Record},
};
use crate::{
    rooms::{self, Applied, Budget, Env, Needs, Outcome, ParkedNid, Room, RoomInput, Source},
    store::{
        StoreError,
        batch::{Batch, BulkFence, DeadLetter, Fence, OutputRow, VerdictRow},
        keys::load_keys,
        loads::{self, Key},
        output::encode_without_json,
        purge,
        users::{Wanted, load_users},
    },
    users::{self, User},
};

/// Parked events after which a batch ends.
const MAX_UNPARKED: usize = 256;
/// Rounds in which is loaded what inputs are going to ask for: a level of the state tries each.
const MAX_FORESIGHT: usize = 8;

/// What a batch comes to, before its commit.
pub(super) struct Done {
    /// What to write.
    pub(super) batch: Batch,
    /// Partitions as they will be.
    pub(super) touched: BTreeMap<u32, Partition>,
    /// Rooms as they will be; `None`: there is no such room.
    pub(super) rooms: HashMap<OwnedRoomId, Option<Room>>,
    /// Users whose sessions the batch ends.
    pub(super) signed_out: HashSet<String>,
    /// What to put out, by partition and in order.
    pub(super) outputs: BTreeMap<(InputLog, u32), Vec<Record>>,
    /// What to answer, by partition and in order.
    pub(super) decided: HashMap<(InputLog, u32), Vec<Decided>>,
    /// What to answer to inputs that were deferred before.
    pub(super) decided_late: Vec<(InputLog, u32, Decided)>,
    /// Inputs that are deferred, by room.
    pub(super) deferring: HashMap<String, (u32, Vec<InputId>)>,
    /// Inputs of rooms that were deferred before and are worked off.
    pub(super) worked_off: HashMap<String, usize>,
    /// How many inputs were set aside.
    pub(super) dead_letters: u64,
}

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

/// What became of an input of a room.
enum Settled {
    Applied(Box<Applied>),
    Refused(Verdict),
}

/// How a batch is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In turn with all others.
    Main,
    /// Aside of them, by a row of its own: see [`super::aside`].
    Aside,
    /// Only to find out what it comes to: see [`super::low_lane`].
    LowPriority,
}

/// A batch at work.
pub(super) struct Work<'a> {
    way: Way,
    conn: &'a AsyncPgConnection,
    env: &'a Env,
    known: Known<'a>,
    touched: BTreeMap<u32, Partition>,
    rooms: HashMap<OwnedRoomId, Option<Room>>,
    /// Rooms that were deleted and are not all gone yet.
    purging: HashSet<String>,
    users: HashMap<String, User>,
    signed_out: HashSet<String>,
    source: Source,
    /// What was loaded without what the batch has changed, where somebody wants it.
    pristine: Option<Source>,
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

impl<'a> Work<'a> {
    /// Looks up what the whole batch needs, in one round trip if its rooms are known.
    pub(super) async fn begin(
        conn: &'a AsyncPgConnection,
        env: &'a Env,
        known: Known<'a>,
        (way, inputs): (Way, &[Input]),
    ) -> Result<Self, StoreError> {
        let mut keys: Vec<Key> = Vec::with_capacity(inputs.len() * 2);
        let mut unknown_rooms: Vec<&RoomId> = Vec::new();
        let mut seen_rooms: HashSet<&str> = HashSet::new();
        let mut user_ids: HashSet<&str> = HashSet::new();
        let mut backups = Vec::new();
        let mut wanted_data: HashSet<Wanted<'_>> = HashSet::new();
        let mut key_reads = users::KeyReads::default();
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
                }
                Body::Poison(_) => {}
            }
        }
        let user_ids: Vec<&str> = user_ids.into_iter().collect();
        let wanted_data: Vec<Wanted<'_>> = wanted_data.into_iter().collect();
        let unknown_ids: Vec<&str> = unknown_rooms.iter().map(|id| id.as_str()).collect();
        let (verdicts, found, purging, mut users, keys) = futures::try_join!(
            loads::find_verdicts(conn, &keys),
            loads::find_rooms(conn, &unknown_rooms),
            purge::find(conn, &unknown_ids),
            load_users(conn, &user_ids, &wanted_data, &backups),
            load_keys(conn, &key_reads),
        )?;
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
            way,
            conn,
            env,
            known,
            touched: BTreeMap::new(),
            rooms,
            purging: purging.into_iter().collect(),
            users,
            signed_out: HashSet::new(),
            source: Source::default(),
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
            if self.way == Way::Aside {
                partition.counters.next_nid = partition.aside_nid;
            }
            partition
        });
        self.source.effort.begin_record();
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
            (_, Some(error)) => self.set_aside(input, error),
            (Body::Poison(error), None) => self.set_aside(input, error),
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

    async fn apply_room(&mut self, input: &Input, room_input: &RoomInput) -> Result<Verdict, Failure> {
        if let Some(known) = self.verdicts.get(&input.input_id) {
            return Ok(repeated(known));
        }
        let txn = txn_key(room_input);
        if let Some(known) = txn.and_then(|key| self.verdicts.get(&key)) {
            let verdict = repeated(known);
            self.keep_verdict(input, input.input_id, &verdict);
            return Ok(verdict);
        }
        let verdict = match rooms::parts(room_input) {
            Err(error) => return Ok(self.set_aside(input, &error)),
            Ok(None) => match self.apply_one(input.partition, room_input).await? {
                Ok(verdict) => verdict,
                Err(error) => return Ok(self.set_aside(input, &error)),
            },
            Ok(Some(parts)) => self.apply_parts(input, &parts).await?,
        };
        self.keep_verdict(input, input.input_id, &verdict);
        if let (Some(key), Some(Decision::Accepted(_))) = (txn, &verdict.outcome) {
            self.keep_verdict(input, key, &verdict);
        }
        Ok(verdict)
    }

    /// Applies one event of another server after the other. One that can never be processed has no part in the rest.
    async fn apply_parts(&mut self, input: &Input, parts: &[RoomInput]) -> Result<Verdict, Failure> {
        let mut results = Vec::with_capacity(parts.len());
        for part in parts {
            let verdict = match self.apply_one(input.partition, part).await? {
                Ok(verdict) => verdict,
                Err(message) => {
                    let rejected = Rejected { reason: ErrorReason::InvalidParam.into(), message };
                    Verdict { outcome: Some(Decision::Rejected(rejected)) }
                }
            };
            let event_id = match &verdict.outcome {
                Some(Decision::Accepted(accepted)) => accepted.event_id.clone(),
                _ => String::new(),
            };
            results.push(PduResult { event_id, verdict: Some(verdict) });
        }
        let accepted = Accepted { results, ..Accepted::default() };
        Ok(Verdict { outcome: Some(Decision::Accepted(accepted)) })
    }

    /// Applies an input and the parked events that it sets free, which were parked before it and now lack nothing.
    async fn apply_one(
        &mut self,
        partition: u32,
        room_input: &RoomInput,
    ) -> Result<Result<Verdict, String>, Failure> {
        let mut free: BTreeSet<ParkedNid> = BTreeSet::new();
        let verdict = match self.decide(partition, room_input).await? {
            Ok(Settled::Applied(applied)) => {
                free.extend(&applied.unparked);
                self.take(partition, room_input, *applied)
            }
            Ok(Settled::Refused(verdict)) => verdict,
            Err(error) => return Ok(Err(error)),
        };
        while let Some(nid) = free.pop_first() {
            self.unparked += 1;
            let Some(parked) = self.parked_input(partition, nid).await? else { continue };
            match self.decide(partition, &parked).await? {
                Ok(Settled::Applied(applied)) => {
                    free.extend(&applied.unparked);
                    self.take(partition, &parked, *applied);
                }
                // It stays parked, and is given up when its time has come.
                Ok(Settled::Refused(verdict)) => {
                    tracing::warn!(parked = nid.0, ?verdict, "a parked event was refused");
                }
                Err(error) => {
                    tracing::warn!(parked = nid.0, error, "a parked event cannot be applied");
                }
            }
        }
        Ok(Ok(verdict))
    }

    /// The input of a parked event.
    async fn parked_input(
        &mut self,
        partition: u32,
        nid: ParkedNid,
    ) -> Result<Option<RoomInput>, StoreError> {
        if !self.source.parked_records.contains_key(&nid) {
            let found = loads::find_parked_records(self.conn, &[nid]).await?;
            self.source.parked_records.extend(found);
        }
        let Some(record) = self.source.parked_records.get(&nid) else { return Ok(None) };
        let record = InputRoomEvent::decode(record.clone())
            .map_err(|error| StoreError::Corrupt { what: format!("parked input {nid} ({error})") })?;
        Ok(Some(RoomInput { parked: Some(nid), ..RoomInput::new(partition, record) }))
    }

    /// Whether the batch is as large as it may get: parked events have made it so, or what its records have cost.
    pub(super) fn is_full(&self) -> bool {
        self.unparked >= MAX_UNPARKED || self.source.effort.total() >= Budget::LIVE.steps
    }

    /// Loads ahead what the inputs are going to ask for, in a few rounds for all of them.
    pub(super) async fn foresee(&mut self, inputs: &[Input]) -> Result<(), StoreError> {
        let mut foreseen = Vec::with_capacity(inputs.len());
        for input in inputs {
            let Body::Room(room_input) = &input.body else { continue };
            let id = <&RoomId>::try_from(room_input.record.room_id.as_str());
            let Some(room) = id.ok().and_then(|id| self.room(id)) else { continue };
            if self.verdicts.contains_key(&input.input_id) {
                continue;
            }
            // What panics here does so again when it is applied, and is set aside there.
            if let Ok(foresight) = guard(|| rooms::foresee(&room, &room_input.record)) {
                foreseen.push((room, foresight));
            }
        }
        for _ in 0..MAX_FORESIGHT {
            let mut needs = Needs::default();
            for (room, foresight) in &foreseen {
                foresight.note_lacking(room, &self.source, &mut needs);
            }
            if needs.is_empty() {
                break;
            }
            self.load(needs).await?;
        }
        Ok(())
    }

    /// Calls the pure half until it has what it asks for.
    async fn decide(
        &mut self,
        partition: u32,
        input: &RoomInput,
    ) -> Result<Result<Settled, String>, Failure> {
        let Some(counters) = self.touched.get(&partition).map(|partition| partition.counters) else {
            return Ok(Err("its partition is not owned".to_owned()));
        };
        let room = <&RoomId>::try_from(input.record.room_id.as_str()).ok().and_then(|id| self.room(id));
        if room.is_none() && self.purging.contains(&input.record.room_id) {
            let reason = if begins(input) { ErrorReason::BadState } else { ErrorReason::RoomUnknown };
            let message = "the room was deleted, and is not all gone yet".to_owned();
            let rejected = Rejected { reason: reason.into(), message };
            return Ok(Ok(Settled::Refused(Verdict { outcome: Some(Decision::Rejected(rejected)) })));
        }
        self.source.effort.begin_decision();
        loop {
            match guard(|| rooms::apply(room.as_ref(), input, &self.source, counters, self.env)) {
                Ok(Outcome::Need(needs)) => {
                    if !self.source.effort.charge_load(needs.len()) {
                        return Err(Failure::Overrun);
                    }
                    self.load(*needs).await?;
                }
                Ok(Outcome::Overrun) => return Err(Failure::Overrun),
                Ok(Outcome::Applied(applied)) => return Ok(Ok(Settled::Applied(applied))),
                Ok(Outcome::Refused(verdict)) => return Ok(Ok(Settled::Refused(verdict))),
                Ok(Outcome::Poison(error)) | Err(error) => return Ok(Err(error)),
            }
        }
    }

    fn room(&self, id: &RoomId) -> Option<Room> {
        match self.rooms.get(id) {
            Some(room) => room.clone(),
            None => self.known.rooms.find(id),
        }
    }

    /// Takes over what an input has changed.
    fn take(&mut self, partition: u32, input: &RoomInput, applied: Applied) -> Verdict {
        if self.way == Way::LowPriority && self.pristine.is_none() {
            self.pristine = Some(self.source.clone());
        }
        self.source.absorb(&applied);
        let Applied { room, mut rows, outputs, amended, verdict, counters, unparked: _ } = applied;
        for output in &outputs {
            self.batch.facts.note(room.nid(), output);
        }
        self.batch.facts.take(std::mem::take(&mut rows.facts));
        let purged = rows.purged.is_some();
        if purged {
            self.purging.insert(input.record.room_id.clone());
        }
        if let Ok(id) = OwnedRoomId::try_from(input.record.room_id.as_str()) {
            self.rooms.insert(id, (!purged).then_some(room));
        }
        let mut epoch = 0;
        if let Some(touched) = self.touched.get_mut(&partition) {
            touched.counters = counters;
            epoch = touched.epoch_number();
        }
        self.batch.rooms.merge(rows);
        for (seq, receipt) in amended {
            self.amend_receipt(partition, seq, receipt);
        }
        if !outputs.is_empty() {
            let queue = self.outputs.entry((InputLog::Room, partition)).or_default();
            for output in outputs {
                let mut record = output.record;
                record.epoch = epoch;
                self.batch.room_output.push(OutputRow {
                    partition: small(partition),
                    seq: output.seq,
                    event_nid: output.event_nid.map(|nid| nid.0),
                    body: encode_without_json(&mut record),
                });
                queue.push(Record::Room(Box::new(record)));
            }
        }
        verdict
    }

    /// Has a record of this batch tell another receipt.
    fn amend_receipt(&mut self, partition: u32, seq: i64, receipt: Receipt) {
        let queue = self.outputs.get_mut(&(InputLog::Room, partition)).into_iter().flatten();
        let record = queue.rev().find_map(|record| match record {
            Record::Room(record) if i64::try_from(record.seq) == Ok(seq) => Some(record),
            Record::Room(_) | Record::User(_) => None,
        });
        let Some(record) = record else { return };
        record.body = Some(output_room_event::Body::Receipt(receipt));
        let body = encode_without_json(record);
        set_body(&mut self.batch.room_output, partition, seq, body);
    }

    /// Has a record of this batch tell other account data.
    fn amend_account_data(&mut self, partition: u32, seq: u64, content: Bytes) {
        let queue = self.outputs.get_mut(&(InputLog::User, partition)).into_iter().flatten();
        let record = queue.rev().find_map(|record| match record {
            Record::User(record) if record.seq == seq => Some(record),
            Record::Room(_) | Record::User(_) => None,
        });
        let Some(record) = record else { return };
        if let Some(output_user_event::Fact::AccountDataChanged(changed)) = &mut record.fact {
            changed.content = content;
        }
        let body = Bytes::from(record.encode_to_vec());
        set_body(&mut self.batch.user_output, partition, i64::try_from(seq).unwrap_or(i64::MAX), body);
    }

    fn apply_user(&mut self, input: &Input, record: &plexus_proto::log::v1::InputUserEvent) -> Verdict {
        if let Some(known) = self.verdicts.get(&input.input_id) {
            return repeated(known);
        }
        let user = self.users.get(&record.user_id).cloned().unwrap_or_default();
        let (next_seq, epoch) = match self.touched.get(&input.partition) {
            Some(partition) => (partition.next_user_seq, partition.epoch_number()),
            None => return self.set_aside(input, "its partition is not owned"),
        };
        let at = users::At { partition: input.partition, next_seq, epoch };
        let verdict = match guard(|| users::apply(user, record, at, &self.env.server_name)) {
            Ok(users::Outcome::Applied(applied)) => {
                let users::Applied { user, changes, outputs, amended, verdict, next_seq } = *applied;
                self.users.insert(record.user_id.clone(), user);
                if changes.iter().any(users::Change::ends_session) {
                    self.signed_out.insert(record.user_id.clone());
                }
                if let Some(partition) = self.touched.get_mut(&input.partition) {
                    partition.next_user_seq = next_seq;
                }
                self.batch.users.merge(&record.user_id, changes);
                for (seq, content) in amended {
                    self.amend_account_data(input.partition, seq, content);
                }
                let queue = self.outputs.entry((InputLog::User, input.partition)).or_default();
                for output in outputs {
                    self.batch.user_output.push(OutputRow {
                        partition: small(input.partition),
                        seq: i64::try_from(output.seq).unwrap_or(i64::MAX),
                        event_nid: None,
                        body: Bytes::from(output.encode_to_vec()),
                    });
                    queue.push(Record::User(Box::new(output)));
                }
                verdict
            }
            Ok(users::Outcome::Refused(verdict)) => verdict,
            Ok(users::Outcome::Poison(error)) => return self.set_aside(input, &error),
            Err(panicked) => return self.set_aside(input, &panicked),
        };
        self.keep_verdict(input, input.input_id, &verdict);
        verdict
    }

    /// Sets an input aside that can never be processed.
    fn set_aside(&mut self, input: &Input, error: &str) -> Verdict {
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
            partition: small(input.partition),
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
            partition: small(input.partition),
            verdict: Bytes::from(verdict.encode_to_vec()),
            created_ts: input.produced_ts,
        });
    }

    /// Closes the batch: compares what was with what will be. `published` tells how far the output logs are.
    pub(super) fn finish(mut self, published: impl Fn(Lane) -> i64) -> Done {
        for (number, after) in &mut self.touched {
            let Some(before) = self.known.partitions.get(number) else { continue };
            if self.way == Way::Aside || after.bulk.stored != before.bulk.stored {
                if self.way == Way::Aside {
                    after.aside_nid = after.counters.next_nid;
                    after.counters.next_nid = before.counters.next_nid;
                }
                self.batch.bulk_fences.push(BulkFence {
                    partition: small(*number),
                    epoch: before.epoch,
                    offset_before: before.bulk.stored,
                    offset: after.bulk.stored,
                    input_id: after.bulk.stored_input_id.clone(),
                    next_nid: after.aside_nid,
                });
            }
            if self.way == Way::Aside {
                continue;
            }
            let lane = |log| Lane { log, partition: *number };
            after.room_published = after.room_published.max(published(lane(InputLog::Room)));
            after.user_published = after.user_published.max(published(lane(InputLog::User)));
            self.batch.fences.push(Fence {
                partition: small(*number),
                epoch: before.epoch,
                room_offset_before: before.room.stored,
                user_offset_before: before.user.stored,
                room_offset: after.room.stored,
                room_input_id: after.room.stored_input_id.clone(),
                user_offset: after.user.stored,
                user_input_id: after.user.stored_input_id.clone(),
                next_room_seq: after.counters.next_seq,
                next_user_seq: after.next_user_seq,
                next_nid: after.counters.next_nid,
                room_published_seq: after.room_published,
                user_published_seq: after.user_published,
            });
        }
        let Self { batch, touched, rooms, signed_out, outputs, decided, decided_late, .. } = self;
        let Self { deferring, worked_off, dead_letters, .. } = self;
        Done {
            batch,
            touched,
            rooms,
            signed_out,
            outputs,
            decided,
            decided_late,
            deferring,
            worked_off,
            dead_letters,
        }
    }
}

/// Sets the body of a row that the batch writes.
fn set_body(rows: &mut [OutputRow], partition: u32, seq: i64, body: Bytes) {
    let partition = small(partition);
    if let Some(row) = rows.iter_mut().rev().find(|row| row.partition == partition && row.seq == seq) {
        row.body = body;
    }
}

/// The key of the client's transaction that an input names, if it does.
fn txn_key(input: &RoomInput) -> Option<Key> {
    match &input.record.body {
        Some(input_room_event::Body::Intent(intent)) => rooms::txn_key(intent),
        Some(
            input_room_event::Body::Batch(_)
            | input_room_event::Body::Pdu(_)
            | input_room_event::Body::Pdus(_)
            | input_room_event::Body::Snapshot(_)
            | input_room_event::Body::FetchDone(_)
            | input_room_event::Body::Control(_),
        )
        | None => None,
    }
}

/// Whether an input would make a room that is not known.
fn begins(input: &RoomInput) -> bool {
    use input_room_event::Body;
    matches!(input.record.body, Some(Body::Batch(_) | Body::Snapshot(_)))
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

/// The offset after an input, as the database holds it.
pub(super) fn next_offset(offset: Offset) -> i64 {
    i64::try_from(offset.saturating_add(1)).unwrap_or(i64::MAX)
}

/// A partition number as the database holds it.
pub(super) fn small(partition: u32) -> i16 {
    i16::try_from(partition).unwrap_or(i16::MAX)
}
