//! Append, await, and what to do when the answer does not come.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use plexus_log::{InputRoom, InputRoomBulk, InputUser, Log, LogError, Topic};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{
        Accepted, AwaitInputRequest, InputLog, Verdict, input_service_client::InputServiceClient,
        verdict::Outcome,
    },
    log::v1::{InputRoomEvent, InputUserEvent, input_room_event, input_user_event},
};
use plexus_service::{
    Dialer, RpcChannel, TraceContext,
    refusal::{metadata_of, reason_of},
};
use ruma::{RoomId, UserId};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;
use uuid::Uuid;

use crate::{MediaKey, SubmitError, owners::Owners};

/// How long a caller waits for a verdict, appending included.
pub const VERDICT_DEADLINE: Duration = Duration::from_secs(30);

/// Pauses between attempts: doubling from the first to the last.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_millis(500);

/// How channels to the owners of partitions are opened.
#[derive(Clone)]
pub enum Connect {
    /// There is one room server, in this process: it owns everything.
    InProcess,
    /// Over the network, at the addresses that room servers advertise.
    Network {
        /// How they are reached.
        dialer: Dialer,
    },
}

/// Writes inputs and awaits their verdicts. Cheap to clone.
#[derive(Clone)]
pub struct InputWriter {
    log: Log,
    owners: Owners,
    deadline: Duration,
}

/// Which log an input of a room goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// That of live traffic.
    Live,
    /// That of chunks of joins and gaps, which live traffic does not wait for.
    Bulk,
}

/// An input of a room that lies in its log: it will be judged, whoever waits for that.
#[derive(Debug)]
pub struct Written {
    lane: Lane,
    record: InputRoomEvent,
    position: Position,
}

/// Where a record lies.
#[derive(Debug)]
struct Position {
    log: InputLog,
    partition: u32,
    offset: u64,
}

impl InputWriter {
    /// Writes to `log`; asks `rooms`, which may lead to any instance, until it learns who owns what.
    #[must_use]
    pub fn new(log: Log, rooms: RpcChannel, connect: Connect) -> Self {
        let connect: Arc<crate::owners::ConnectFn> = match connect {
            Connect::InProcess => Arc::new(|_: &str| None),
            Connect::Network { dialer } => Arc::new(move |address: &str| {
                dialer
                    .connect(address)
                    .inspect_err(|error| tracing::warn!(%error, address, "owner has an unusable address"))
                    .ok()
            }),
        };
        Self { log, owners: Owners::new(rooms, connect), deadline: VERDICT_DEADLINE }
    }

    /// Waits at most this long for verdicts.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Asks something of a room.
    pub async fn submit_room(
        &self,
        room_id: &RoomId,
        body: input_room_event::Body,
    ) -> Result<Accepted, SubmitError> {
        let record = room_record(room_id, body);
        self.submit::<InputRoom>(InputLog::Room, &record.input_id.clone(), &record).await
    }

    /// Writes an input of a room without waiting for its verdict: for writers who have several under way. Inputs of a room
    /// are judged in the order in which they were written to their lane.
    pub async fn append_room(
        &self,
        room_id: &RoomId,
        lane: Lane,
        body: input_room_event::Body,
    ) -> Result<Written, SubmitError> {
        let record = room_record(room_id, body);
        let deadline = Instant::now() + self.deadline;
        let mut pause = Backoff::new(deadline);
        let position = self.append_to(lane, &record, deadline, &mut pause).await?;
        Ok(Written { lane, record, position })
    }

    /// Waits for the verdict on an input, whatever it is. One that was lost with its log is written again.
    pub async fn verdict_on(&self, mut written: Written) -> Result<Outcome, SubmitError> {
        let deadline = Instant::now() + self.deadline;
        let mut pause = Backoff::new(deadline);
        loop {
            let input_id = &written.record.input_id;
            let verdict = self.verdict(&written.position, input_id, deadline, &mut pause).await?;
            match settled(verdict, &written.position)? {
                Some(outcome) => return Ok(outcome),
                None => pause.wait().await?,
            }
            written.position = self.append_to(written.lane, &written.record, deadline, &mut pause).await?;
        }
    }

    async fn append_to(
        &self,
        lane: Lane,
        record: &InputRoomEvent,
        deadline: Instant,
        pause: &mut Backoff,
    ) -> Result<Position, SubmitError> {
        match lane {
            Lane::Live => self.append::<InputRoom>(InputLog::Room, record, deadline, pause).await,
            Lane::Bulk => self.append::<InputRoomBulk>(InputLog::RoomBulk, record, deadline, pause).await,
        }
    }

    /// Asks something of a user.
    pub async fn submit_user(
        &self,
        user_id: &UserId,
        command: input_user_event::Command,
    ) -> Result<Accepted, SubmitError> {
        self.submit_user_as(new_input_id(), user_id, command).await
    }

    /// Asks something of a user by an `input_id` that is derived from what it is: a repeat of it is one, whoever makes it,
    /// for as long as verdicts are kept.
    pub async fn submit_user_as(
        &self,
        input_id: Bytes,
        user_id: &UserId,
        command: input_user_event::Command,
    ) -> Result<Accepted, SubmitError> {
        self.submit_command(input_id, user_id.to_string(), command).await
    }

    /// Asks something of media, by an `input_id` that is derived from what it is.
    pub async fn submit_media_as(
        &self,
        input_id: Bytes,
        key: &MediaKey<'_>,
        command: input_user_event::Command,
    ) -> Result<Accepted, SubmitError> {
        self.submit_command(input_id, key.to_string(), command).await
    }

    async fn submit_command(
        &self,
        input_id: Bytes,
        key: String,
        command: input_user_event::Command,
    ) -> Result<Accepted, SubmitError> {
        let record = InputUserEvent {
            version: 1,
            input_id,
            user_id: key,
            produced_ts: now_ms(),
            traceparent: TraceContext::next_step().to_string(),
            command: Some(command),
        };
        self.submit::<InputUser>(InputLog::User, &record.input_id.clone(), &record).await
    }

    async fn submit<T: Topic>(
        &self,
        log: InputLog,
        input_id: &Bytes,
        record: &T::Record,
    ) -> Result<Accepted, SubmitError> {
        let deadline = Instant::now() + self.deadline;
        let mut pause = Backoff::new(deadline);
        loop {
            let position = self.append::<T>(log, record, deadline, &mut pause).await?;
            tracing::debug!(?log, partition = position.partition, offset = position.offset, "input written");
            let verdict = self.verdict(&position, input_id, deadline, &mut pause).await?;
            match settled(verdict, &position)? {
                Some(Outcome::Accepted(accepted)) => return Ok(accepted),
                Some(Outcome::Rejected(rejected)) => {
                    let reason = rejected.reason();
                    return Err(SubmitError::Rejected { reason, message: rejected.message });
                }
                Some(Outcome::Parked(_)) => return Err(SubmitError::Parked),
                Some(Outcome::Unknown(_)) | None => pause.wait().await?,
            }
        }
    }

    /// A failed append may have happened; the repeat has the same ID and is then recognized.
    async fn append<T: Topic>(
        &self,
        log: InputLog,
        record: &T::Record,
        deadline: Instant,
        pause: &mut Backoff,
    ) -> Result<Position, SubmitError> {
        loop {
            match timeout_at(deadline, self.log.append::<T>(record)).await {
                Ok(Ok((partition, offset))) => return Ok(Position { log, partition, offset }),
                Ok(Err(error @ (LogError::TimedOut | LogError::Broker { .. }))) => {
                    tracing::warn!(%error, "append to an input log failed");
                    pause.wait().await.map_err(|_| SubmitError::from(error))?;
                }
                Ok(Err(error @ (LogError::TooLarge { .. } | LogError::Closed))) => return Err(error.into()),
                Err(_) => return Err(SubmitError::TimedOut),
            }
        }
    }

    async fn verdict(
        &self,
        position: &Position,
        input_id: &Bytes,
        deadline: Instant,
        pause: &mut Backoff,
    ) -> Result<Verdict, SubmitError> {
        // Instances that disagree about the owner must not make us spin between them.
        let mut redirected = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SubmitError::TimedOut);
            }
            let mut request = tonic::Request::new(AwaitInputRequest {
                log: position.log.into(),
                partition: position.partition,
                offset: position.offset,
                input_id: input_id.clone(),
            });
            request.set_timeout(left);
            let mut client = InputServiceClient::new(self.owners.channel(position.partition));
            let status = match timeout_at(deadline, client.await_input(request)).await {
                Err(_) => return Err(SubmitError::TimedOut),
                Ok(Ok(response)) => {
                    return response.into_inner().verdict.ok_or_else(|| {
                        tracing::error!("answer without a verdict");
                        SubmitError::Unavailable
                    });
                }
                Ok(Err(status)) => status,
            };
            if self.ask_elsewhere(position.partition, &status)? && !redirected {
                redirected = true;
                continue;
            }
            redirected = false;
            pause.wait().await?;
        }
    }

    /// What a failed question means: somebody else is to be asked at once (true) or after a pause (false), or there is
    /// no point in going on.
    fn ask_elsewhere(&self, partition: u32, status: &Status) -> Result<bool, SubmitError> {
        match reason_of(status) {
            Some(ErrorReason::NotOwner) => {
                let owner = metadata_of(status, "owner").filter(|owner| !owner.is_empty());
                let Some(owner) = owner else {
                    self.owners.forget(partition);
                    return Ok(false);
                };
                Ok(self.owners.learn(partition, &owner))
            }
            // The room server's own deadline is not ours: ours is checked before each question.
            Some(ErrorReason::TimedOut) => Ok(false),
            Some(reason) => Err(SubmitError::Rejected { reason, message: status.message().to_owned() }),
            None => {
                tracing::debug!(code = ?status.code(), message = status.message(), partition, "no verdict yet");
                // Whoever it was may be gone for good; any instance can tell who owns the partition now.
                if self.owners.is_known(partition) {
                    self.owners.forget(partition);
                }
                Ok(false)
            }
        }
    }
}

/// Reads a verdict; `None` if the input was lost with its log and has to be written again.
fn settled(verdict: Verdict, position: &Position) -> Result<Option<Outcome>, SubmitError> {
    let partition = position.partition;
    match verdict.outcome {
        Some(Outcome::Unknown(_)) => {
            tracing::warn!(partition, "input was lost with its log, writing it again");
            Ok(None)
        }
        Some(outcome) => Ok(Some(outcome)),
        None => {
            tracing::error!(partition, "verdict without an outcome");
            Err(SubmitError::Unavailable)
        }
    }
}

fn room_record(room_id: &RoomId, body: input_room_event::Body) -> InputRoomEvent {
    InputRoomEvent {
        version: 1,
        input_id: new_input_id(),
        room_id: room_id.to_string(),
        produced_ts: now_ms(),
        traceparent: TraceContext::next_step().to_string(),
        body: Some(body),
    }
}

/// Growing pauses, up to the deadline.
struct Backoff {
    next: Duration,
    deadline: Instant,
}

impl Backoff {
    fn new(deadline: Instant) -> Self {
        Self { next: FIRST_BACKOFF, deadline }
    }

    async fn wait(&mut self) -> Result<(), SubmitError> {
        let until = Instant::now() + self.next;
        if until >= self.deadline {
            sleep_until(self.deadline).await;
            return Err(SubmitError::TimedOut);
        }
        self.next = (self.next * 2).min(LAST_BACKOFF);
        sleep_until(until).await;
        Ok(())
    }
}

/// Time-ordered, so that the room server's index of inputs stays local.
fn new_input_id() -> Bytes {
    Bytes::copy_from_slice(&Uuid::now_v7().into_bytes())
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
