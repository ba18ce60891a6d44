//! Reads the input logs.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::FutureExt as _;
use plexus_log::{
    Entry, InputRoom, InputRoomBulk, InputUser, Log, LogError, Offset, Reader, StartAt, Topic, partition_of,
};
use plexus_proto::{
    input::v1::InputLog,
    log::v1::{InputRoomEvent, InputUserEvent, input_room_event},
};
use plexus_service::TraceContext;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tracing::{Span, info_span};

use super::InputId;
use crate::rooms::RoomInput;

/// Records of one batch.
pub(super) const BATCH_RECORDS: usize = 256;
/// Records of the bulk lane that are read ahead: they may be large.
const BULK_RECORDS: usize = 16;

/// A record of an input log, decoded.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) log: InputLog,
    pub(super) partition: u32,
    pub(super) offset: Offset,
    /// ID of the input; for a record that has none, a digest of its bytes.
    pub(super) input_id: InputId,
    /// When it was produced; 0 for a record that cannot be decoded.
    pub(super) produced_ts: i64,
    pub(super) payload: Bytes,
    pub(super) body: Body,
    /// How often it has failed on its own.
    pub(super) attempts: u8,
    /// Whether it may be processed aside of live traffic.
    pub(super) off_turn: bool,
    /// Whether it has cost more than the budget of live traffic.
    pub(super) overran: bool,
    /// Its number in `deferred_inputs`, if it comes from there.
    pub(super) deferred: Option<i64>,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Room(Box<RoomInput>),
    User(Box<InputUserEvent>),
    /// It can never be processed, for this reason.
    Poison(String),
}

impl Input {
    /// Room ID or user ID; empty if the record cannot be decoded.
    pub(super) fn key(&self) -> &str {
        match &self.body {
            Body::Room(input) => &input.record.room_id,
            Body::User(record) => &record.user_id,
            Body::Poison(_) => "",
        }
    }

    /// What log lines about it are part of: the trace of the request that led to it.
    pub(super) fn span(&self) -> Span {
        let traceparent = match &self.body {
            Body::Room(input) => &input.record.traceparent,
            Body::User(record) => &record.traceparent,
            Body::Poison(_) => return Span::none(),
        };
        TraceContext::parse(traceparent)
            .map_or_else(Span::none, |trace| info_span!("input", trace_id = %trace.trace_id()))
    }

    /// The topic it came from.
    pub(super) fn topic(&self) -> &'static str {
        match self.log {
            InputLog::User => InputUser::SPEC.name,
            InputLog::RoomBulk => InputRoomBulk::SPEC.name,
            InputLog::Room | InputLog::Unspecified => InputRoom::SPEC.name,
        }
    }
}

impl Input {
    /// A record of a room that was deferred.
    pub(super) fn deferred(log: InputLog, partition: u32, offset: Offset, payload: Bytes, id: i64) -> Self {
        let record = InputRoomEvent::decode(payload.clone());
        let body = |record| Body::Room(Box::new(RoomInput::new(partition, record)));
        Self { off_turn: false, deferred: Some(id), ..read(log, (partition, offset, payload), record, body) }
    }

    /// The room that it is for.
    pub(super) fn room_id(&self) -> Option<&str> {
        match &self.body {
            Body::Room(input) => Some(&input.record.room_id),
            Body::User(_) | Body::Poison(_) => None,
        }
    }

    /// Roughly how many events it holds.
    pub(super) fn events(&self) -> usize {
        match &self.body {
            Body::Room(input) => match &input.record.body {
                Some(input_room_event::Body::Pdus(batch)) => batch.pdus.len(),
                Some(input_room_event::Body::Snapshot(chunk)) => chunk.pdus.len(),
                _ => 1,
            },
            Body::User(_) | Body::Poison(_) => 1,
        }
    }
}

/// Readers of the input logs, and what they have read.
pub(super) struct Intake {
    rooms: Reader<InputRoom>,
    users: Reader<InputUser>,
    bulk: Reader<InputRoomBulk>,
    /// Read of the live logs, in order for each lane, and not yet committed.
    pub(super) pending: VecDeque<Input>,
    /// The same of the bulk lane.
    pub(super) pending_bulk: VecDeque<Input>,
}

impl Intake {
    /// Opens the readers, without partitions at first.
    pub(super) fn open(log: &Log) -> Result<Self, LogError> {
        Ok(Self {
            rooms: log.reader()?,
            users: log.reader()?,
            bulk: log.reader()?,
            pending: VecDeque::new(),
            pending_bulk: VecDeque::new(),
        })
    }

    /// Starts reading a lane, or starts it again elsewhere. What was read of it and is not yet committed is dropped.
    pub(super) async fn assign(
        &mut self,
        log: InputLog,
        partition: u32,
        start: StartAt,
    ) -> Result<(), LogError> {
        self.drop_pending(|input| input.log == log && input.partition == partition);
        match log {
            InputLog::User => self.users.assign(partition, start).await,
            InputLog::RoomBulk => self.bulk.assign(partition, start).await,
            InputLog::Room | InputLog::Unspecified => self.rooms.assign(partition, start).await,
        }
    }

    /// Stops reading a partition.
    pub(super) async fn unassign(&mut self, partition: u32) -> Result<(), LogError> {
        self.drop_pending(|input| input.partition == partition);
        self.rooms.unassign(partition).await?;
        self.bulk.unassign(partition).await?;
        self.users.unassign(partition).await
    }

    /// Drops what was read and is not wanted any more.
    pub(super) fn drop_pending(&mut self, unwanted: impl Fn(&Input) -> bool) {
        self.pending.retain(|input| !unwanted(input));
        self.pending_bulk.retain(|input| !unwanted(input));
    }

    /// The queue of a lane.
    pub(super) fn queue(&mut self, log: InputLog) -> &mut VecDeque<Input> {
        match log {
            InputLog::RoomBulk => &mut self.pending_bulk,
            InputLog::Room | InputLog::User | InputLog::Unspecified => &mut self.pending,
        }
    }

    /// Drops everything that was read.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.pending_bulk.clear();
    }

    /// Waits for records and returns all that are at hand, up to a batch of each log. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Vec<Input>, LogError> {
        let mut inputs = Vec::new();
        let bulk_has_room = self.pending_bulk.len() < BULK_RECORDS;
        tokio::select! {
            biased;
            rooms = self.rooms.next_batch(BATCH_RECORDS) => inputs.extend(rooms?.into_iter().map(room_input)),
            users = self.users.next_batch(BATCH_RECORDS) => inputs.extend(users?.into_iter().map(user_input)),
            bulk = self.bulk.next_batch(BULK_RECORDS), if bulk_has_room => {
                inputs.extend(bulk?.into_iter().map(bulk_input));
            }
        }
        // What the other log has at hand joins the batch; an error of it comes again by the next call.
        let also_users = inputs.first().is_some_and(|input: &Input| input.log == InputLog::Room);
        if also_users {
            if let Some(Ok(users)) = self.users.next_batch(BATCH_RECORDS).now_or_never() {
                inputs.extend(users.into_iter().map(user_input));
            }
        } else if inputs.first().is_some_and(|input: &Input| input.log == InputLog::RoomBulk) {
            return Ok(inputs);
        } else if let Some(Ok(rooms)) = self.rooms.next_batch(BATCH_RECORDS).now_or_never() {
            inputs.extend(rooms.into_iter().map(room_input));
        }
        Ok(inputs)
    }
}

/// The fields that records of both input logs have.
trait Envelope {
    fn version(&self) -> u32;
    fn input_id(&self) -> &[u8];
    fn key(&self) -> &str;
    fn produced_ts(&self) -> i64;
}

impl Envelope for InputRoomEvent {
    fn version(&self) -> u32 {
        self.version
    }
    fn input_id(&self) -> &[u8] {
        &self.input_id
    }
    fn key(&self) -> &str {
        &self.room_id
    }
    fn produced_ts(&self) -> i64 {
        self.produced_ts
    }
}

impl Envelope for InputUserEvent {
    fn version(&self) -> u32 {
        self.version
    }
    fn input_id(&self) -> &[u8] {
        &self.input_id
    }
    fn key(&self) -> &str {
        &self.user_id
    }
    fn produced_ts(&self) -> i64 {
        self.produced_ts
    }
}

fn room_input(entry: Entry<InputRoomEvent>) -> Input {
    let partition = entry.partition;
    input(InputLog::Room, entry, |record| Body::Room(Box::new(RoomInput::new(partition, record))))
}

fn bulk_input(entry: Entry<InputRoomEvent>) -> Input {
    let partition = entry.partition;
    input(InputLog::RoomBulk, entry, |record| Body::Room(Box::new(RoomInput::new(partition, record))))
}

fn user_input(entry: Entry<InputUserEvent>) -> Input {
    input(InputLog::User, entry, |record| Body::User(Box::new(record)))
}

fn input<R: Envelope>(log: InputLog, entry: Entry<R>, body: impl FnOnce(R) -> Body) -> Input {
    let Entry { partition, offset, payload, record, .. } = entry;
    read(log, (partition, offset, payload), record, body)
}

fn read<R: Envelope>(
    log: InputLog,
    (partition, offset, payload): (u32, Offset, Bytes),
    record: Result<R, prost::DecodeError>,
    body: impl FnOnce(R) -> Body,
) -> Input {
    let poisoned = |error: String, produced_ts| Input {
        log,
        partition,
        offset,
        input_id: digest(&payload),
        produced_ts,
        payload: payload.clone(),
        body: Body::Poison(error),
        attempts: 0,
        off_turn: false,
        overran: false,
        deferred: None,
    };
    let record = match record {
        Ok(record) => record,
        Err(error) => return poisoned(format!("not a record of this topic: {error}"), 0),
    };
    let produced_ts = record.produced_ts();
    let Ok(input_id) = InputId::try_from(record.input_id()) else {
        let error = format!("input_id has {} bytes instead of 16", record.input_id().len());
        return poisoned(error, produced_ts);
    };
    let error = if record.version() != 1 {
        Some(format!("format version {} is not known", record.version()))
    } else if partition_of(record.key()) != partition {
        Some(format!("{:?} does not belong to partition {partition}", shortened(record.key())))
    } else if record.key().contains('\0') {
        Some(format!("{:?} has a NUL", shortened(record.key())))
    } else if produced_ts < 0 {
        Some("produced_ts is negative".to_owned())
    } else {
        None
    };
    let body = match error {
        Some(error) => Body::Poison(error),
        None => body(record),
    };
    let off_turn = log == InputLog::RoomBulk && is_chunk(&body);
    Input {
        log,
        partition,
        offset,
        input_id,
        produced_ts,
        payload,
        body,
        attempts: 0,
        off_turn,
        overran: false,
        deferred: None,
    }
}

fn is_chunk(body: &Body) -> bool {
    let Body::Room(input) = body else { return false };
    matches!(input.record.body, Some(input_room_event::Body::Snapshot(_)))
}

/// What stands for the ID of a record that has none.
fn digest(payload: &[u8]) -> InputId {
    let mut id = InputId::default();
    id.copy_from_slice(&Sha256::digest(payload)[..16]);
    id
}

fn shortened(text: &str) -> &str {
    let end = (0..=text.len().min(255)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}
