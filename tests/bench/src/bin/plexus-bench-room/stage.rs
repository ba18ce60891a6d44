//! A log, a room server on it, and writers who await verdicts.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use plexus_log::{InputRoom, InputRoomBulk, Log, LogError, OutputRoom, StartAt, memory, partition_of};
use plexus_proto::{
    input::v1::{
        Accepted, AwaitInputRequest, InputLog, Verdict, input_service_client::InputServiceClient,
        verdict::Outcome,
    },
    log::v1::{InputRoomEvent, NewEvent, input_room_event, output_room_event},
    room::v1::{StreamStateRequest, room_query_service_client::RoomQueryServiceClient},
};
use plexus_roomserver::{Deps, RoomServer};
use plexus_service::{Config, RpcChannel, Shutdown};
use serde_json::json;

/// Name of the server under test.
pub(crate) const SERVER: &str = "bench.test";

/// How long a verdict may take.
const VERDICT: Duration = Duration::from_secs(120);

/// A room server at work.
pub(crate) struct Stage {
    log: Log,
    server: RoomServer,
    shutdown: Shutdown,
    channel: RpcChannel,
    _folder: tempfile::TempDir,
}

/// An input that was written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    log: InputLog,
    partition: u32,
    offset: u64,
    input_id: Bytes,
}

impl Stage {
    /// Starts everything on the database at this URL.
    pub(crate) async fn start(url: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config: Config = serde_json::from_value(json!({
            "server": {"name": SERVER, "signing_key": folder.path().join("signing.key")},
            "postgres": {"url": url},
        }))?;
        let log = memory::open(memory::MemoryConfig::default());
        let shutdown = Shutdown::new();
        let deps = Deps { config: Arc::new(config), log: log.clone(), shutdown: shutdown.clone() };
        let server = plexus_roomserver::start(deps).await?;
        let channel = RpcChannel::in_process(server.routes());
        while !server.ready().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { log, server, shutdown, channel, _folder: folder })
    }

    /// The services for operators.
    pub(crate) fn operators(&self) -> RpcChannel {
        RpcChannel::in_process(self.server.operator_routes())
    }

    /// Writes a record to a lane; waits while the log is full.
    pub(crate) async fn write(&self, lane: InputLog, record: &InputRoomEvent) -> anyhow::Result<Written> {
        loop {
            let written = match lane {
                InputLog::RoomBulk => self.log.append::<InputRoomBulk>(record).await,
                _ => self.log.append::<InputRoom>(record).await,
            };
            match written {
                Ok((partition, offset)) => {
                    return Ok(Written { log: lane, partition, offset, input_id: record.input_id.clone() });
                }
                Err(LogError::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Awaits the verdict on an input.
    pub(crate) async fn verdict(&self, written: &Written) -> anyhow::Result<Verdict> {
        let mut request = tonic::Request::new(AwaitInputRequest {
            log: written.log.into(),
            partition: written.partition,
            offset: written.offset,
            input_id: written.input_id.clone(),
        });
        request.set_timeout(VERDICT);
        let answer = InputServiceClient::new(self.channel.clone()).await_input(request).await?;
        answer.into_inner().verdict.context("no verdict")
    }

    /// Awaits the verdict on an input that is to be accepted.
    pub(crate) async fn accepted(&self, written: &Written) -> anyhow::Result<Accepted> {
        match self.verdict(written).await?.outcome {
            Some(Outcome::Accepted(accepted)) => Ok(accepted),
            other => bail!("an input was not accepted: {other:?}"),
        }
    }

    /// Writes a record and awaits that it is accepted.
    pub(crate) async fn put(&self, lane: InputLog, record: &InputRoomEvent) -> anyhow::Result<Accepted> {
        let written = self.write(lane, record).await?;
        self.accepted(&written).await
    }

    /// The events that were put out of a room, up to a `seq`.
    pub(crate) async fn events(&self, room: &str, to: u64) -> anyhow::Result<Vec<NewEvent>> {
        let mut reader = self.log.reader::<OutputRoom>()?;
        reader.assign(partition_of(room), StartAt::Oldest).await?;
        let (mut seq, mut events) = (0, Vec::new());
        while seq < to {
            for entry in reader.next_batch(100).await? {
                let record = entry.record?;
                seq = record.seq;
                if let (true, Some(output_room_event::Body::NewEvent(event))) =
                    (record.room_id == room, record.body)
                {
                    events.push(event);
                }
            }
        }
        Ok(events)
    }

    /// Reads a state as a whole; returns the number of its entries.
    pub(crate) async fn state(&self, request: StreamStateRequest) -> anyhow::Result<usize> {
        let mut chunks =
            RoomQueryServiceClient::new(self.channel.clone()).stream_state(request).await?.into_inner();
        let mut entries = 0;
        while let Some(chunk) = chunks.message().await? {
            entries += chunk.events.len();
        }
        Ok(entries)
    }

    /// Ends everything in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        ensure!(self.shutdown.finish(Duration::from_secs(20)).await, "the room server does not stop");
        Ok(())
    }
}

/// A record of a room.
pub(crate) fn record(room: &str, body: input_room_event::Body) -> InputRoomEvent {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    InputRoomEvent {
        version: 1,
        input_id: Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()),
        room_id: room.to_owned(),
        produced_ts: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        traceparent: String::new(),
        body: Some(body),
    }
}
