//! Reads the output log of rooms and the ephemeral one, and tells the hub who is to be sent what.
//!
//! Records of rooms come in order, without holes and repeats, as for every reader. A shard that comes to us is told what it
//! missed from the room server first; if that is gone there, too, all servers of the rooms in question are behind.

use std::time::Duration;

use futures::TryStreamExt as _;
use plexus_log::{Entry, Ephemeral, Log, LogError, OutputRoom, PARTITIONS, StartAt};
use plexus_proto::log::v1::{self, OutputRoomEvent, ephemeral::Body};
use plexus_s2s::now_ms;
use plexus_service::{Shutdown, TraceContext};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tonic::Status;
use tracing::{error, info, warn};

use super::{
    PARTITION_COUNT, Shards, Vector,
    room_servers::RoomServers,
    route::{Item, route},
    shard_of,
    upstream::{Upstream, is_gone},
};

/// Records read at once.
const BATCH: usize = 256;
/// How often it is looked for what the log did not bring.
const IDLE: Duration = Duration::from_secs(10);
/// Pauses after failures, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Word about typing that is older than this tells nothing any more, in milliseconds.
const MAX_AGE: i64 = 60_000;

/// What the hub asks of the follower.
#[derive(Debug)]
pub(super) enum Command {
    /// Tells shards what came after these positions, then whatever comes.
    Begin { shards: Shards, after: Box<Vector> },
    /// Tells shards nothing more.
    End(Shards),
}

/// Follows the logs.
pub(super) struct Follower {
    log: Log,
    upstream: Upstream,
    own: OwnedServerName,
    items: mpsc::Sender<Item>,
    shutdown: Shutdown,
    rooms: RoomServers,
    /// Up to where records were read; nothing before the first heads are known.
    position: Option<Box<Vector>>,
    shards: Shards,
    /// Shards that are still to be told what they missed, after these positions.
    waiting: Vec<(Shards, Box<Vector>)>,
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("it is time to stop")]
    Shutdown,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the room server failed: {0}")]
    Upstream(Status),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Upstream(status)
    }
}

impl Follower {
    pub(super) fn new(
        log: Log,
        upstream: Upstream,
        own: OwnedServerName,
        items: mpsc::Sender<Item>,
        shutdown: Shutdown,
    ) -> Self {
        let rooms = RoomServers::new(own.clone());
        let shards = Shards::default();
        Self { log, upstream, own, items, shutdown, rooms, position: None, shards, waiting: Vec::new() }
    }

    /// Runs until shutdown.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut pause = PAUSE.0;
        loop {
            let began = Instant::now();
            match self.follow(&mut commands).await {
                Stop::Shutdown | Stop::Log(LogError::Closed) => return,
                stop => warn!(error = %stop, "the sender cannot follow the logs, trying again"),
            }
            // What is in memory of rooms may be half of a record ahead.
            self.rooms.clear();
            pause =
                if began.elapsed() > Duration::from_secs(60) { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shutdown.requested() => return,
            }
        }
    }

    async fn follow(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Stop {
        match self.read(commands).await {
            Ok(never) => match never {},
            Err(stop) => stop,
        }
    }

    async fn read(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<std::convert::Infallible, Stop> {
        let mut reader = self.log.reader::<OutputRoom>()?;
        let mut live = self.log.reader::<Ephemeral>()?;
        let shutdown = self.shutdown.clone();
        let open = async {
            for partition in 0..PARTITIONS {
                reader.assign(partition, StartAt::End).await?;
                live.assign(partition, StartAt::End).await?;
            }
            // The reader is open: nothing that is committed from here on escapes both it and these heads.
            Ok::<_, Stop>(self.upstream.heads().await?)
        };
        let heads = tokio::select! {
            heads = open => heads?,
            () = shutdown.requested() => return Err(Stop::Shutdown),
        };
        if self.position.is_none() {
            info!("the sender follows the log");
            self.position = Some(Box::new(heads));
            self.tell_position().await?;
        } else {
            self.fill_to(&heads).await?;
        }
        self.begin_waiting().await?;
        let mut idle = interval_at(Instant::now() + IDLE, IDLE);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Heads as they were one interval ago: what was committed by then must have arrived by now.
        let mut due = heads;
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return Err(Stop::Shutdown),
                command = commands.recv() => match command {
                    Some(Command::Begin { shards, after }) => {
                        self.waiting.push((shards, after));
                        self.begin_waiting().await?;
                    }
                    Some(Command::End(shards)) => {
                        self.shards = self.shards.without(shards);
                        self.waiting.retain(|(waiting, _)| *waiting != shards);
                    }
                    None => return Err(Stop::Shutdown),
                },
                batch = reader.next_batch(BATCH) => self.take(batch?).await?,
                batch = live.next_batch(BATCH) => self.take_live(batch?).await?,
                _ = idle.tick() => {
                    self.fill_to(&due).await?;
                    if let Ok(heads) = self.upstream.heads().await {
                        due = heads;
                    }
                }
            }
        }
    }

    async fn take(&mut self, batch: Vec<Entry<OutputRoomEvent>>) -> Result<(), Stop> {
        for entry in batch {
            match entry.record {
                Ok(record) if record.partition == entry.partition => {
                    if record.seq > self.position(entry.partition) + 1 {
                        self.fill(entry.partition, record.seq - 1).await?;
                    }
                    self.apply(record).await?;
                }
                // Its fact, if it was one, is in the room server's database.
                _ => {
                    error!(partition = entry.partition, offset = entry.offset, "record cannot be read");
                    let heads = self.upstream.heads().await?;
                    let head = index(entry.partition).and_then(|index| heads.get(index)).copied();
                    self.fill(entry.partition, head.unwrap_or(0)).await?;
                }
            }
        }
        self.tell_position().await
    }

    fn position(&self, partition: u32) -> u64 {
        let position = self.position.as_ref().zip(index(partition));
        position.and_then(|(position, index)| position.get(index)).copied().unwrap_or(0)
    }

    fn set_position(&mut self, partition: u32, seq: u64) {
        if let Some((position, index)) = self.position.as_mut().zip(index(partition))
            && let Some(slot) = position.get_mut(index)
        {
            *slot = seq;
        }
    }

    /// Routes a record that follows the last one. Repeats are dropped.
    async fn apply(&mut self, record: OutputRoomEvent) -> Result<(), Stop> {
        if record.seq <= self.position(record.partition) {
            return Ok(());
        }
        if !self.shards.is_empty() {
            let routed = route(&self.upstream, &mut self.rooms, self.own.as_str(), &record, self.shards);
            let routed = match TraceContext::parse(&record.traceparent) {
                Some(trace) => trace.scope(routed).await,
                None => routed.await,
            };
            if let Some(item) = routed? {
                self.tell(item).await?;
            }
        }
        self.set_position(record.partition, record.seq);
        Ok(())
    }

    async fn fill_to(&mut self, heads: &Vector) -> Result<(), Stop> {
        for (partition, head) in (0..PARTITIONS).zip(heads) {
            if *head > self.position(partition) {
                self.fill(partition, *head).await?;
            }
        }
        self.tell_position().await
    }

    /// Reads records up to a `seq` from the room server.
    async fn fill(&mut self, partition: u32, to: u64) -> Result<(), Stop> {
        let after = self.position(partition);
        if to <= after {
            return Ok(());
        }
        let range = async {
            let mut chunks = self.upstream.range(partition, after, to).await?;
            while let Some(records) = chunks.try_next().await? {
                for record in records {
                    if record.partition == partition {
                        self.apply(record).await?;
                    }
                }
            }
            Ok::<_, Stop>(())
        };
        match range.await {
            Err(Stop::Upstream(status)) if is_gone(&status) => {
                self.rooms.clear();
                self.miss(partition, self.position(partition), self.shards).await?;
            }
            filled => filled?,
        }
        self.set_position(partition, to);
        Ok(())
    }

    async fn begin_waiting(&mut self) -> Result<(), Stop> {
        while let Some((shards, after)) = self.waiting.last().cloned() {
            self.begin(shards, &after).await?;
            self.waiting.pop();
        }
        Ok(())
    }

    /// Tells shards what came after some positions, up to where we are.
    async fn begin(&mut self, shards: Shards, after: &Vector) -> Result<(), Stop> {
        for (partition, after) in (0..PARTITIONS).zip(after) {
            let to = self.position(partition);
            if *after < to {
                match self.repeat(partition, *after, to, shards).await {
                    Err(Stop::Upstream(status)) if is_gone(&status) => {
                        self.miss(partition, *after, shards).await?;
                    }
                    // Begun again, it tells some of it twice: servers drop what they have.
                    repeated => repeated?,
                }
            }
        }
        self.shards = self.shards.with(shards);
        self.tell_position().await?;
        self.tell(Item::CaughtUp(shards)).await
    }

    async fn repeat(&self, partition: u32, after: u64, to: u64, shards: Shards) -> Result<(), Stop> {
        // Servers of rooms as they were then.
        let mut rooms = RoomServers::new(self.own.clone());
        let mut chunks = self.upstream.range(partition, after, to).await?;
        while let Some(records) = chunks.try_next().await? {
            for record in records.iter().filter(|record| record.seq > after && record.seq <= to) {
                let own = self.own.as_str();
                if let Some(item) = route(&self.upstream, &mut rooms, own, record, shards).await? {
                    self.tell(item).await?;
                }
            }
        }
        Ok(())
    }

    /// Records after a `seq` are gone: whoever is in a room of the partition where something happened lacks it.
    async fn miss(&self, partition: u32, after: u64, shards: Shards) -> Result<(), Stop> {
        warn!(partition, after, "records are gone: the servers of the rooms in question are behind");
        let mut rooms = self.upstream.room_servers(partition, after).await?;
        while let Some(room) = rooms.try_next().await? {
            let Ok(room_id) = RoomId::parse(room.room_id.as_str()) else { continue };
            for name in room.servers {
                let Ok(server) = ServerName::parse(name.as_str()) else { continue };
                if shards.contains(shard_of(&server)) {
                    self.tell(Item::Behind { server, room_id: room_id.clone(), after }).await?;
                }
            }
        }
        Ok(())
    }

    async fn take_live(&mut self, batch: Vec<Entry<v1::Ephemeral>>) -> Result<(), Stop> {
        let now = now_ms();
        for record in batch.into_iter().filter_map(|entry| entry.record.ok()) {
            let Some(Body::Typing(typing)) = record.body else { continue };
            let (Ok(room_id), Ok(user_id)) =
                (OwnedRoomId::try_from(record.room_id), UserId::parse(typing.user_id))
            else {
                continue;
            };
            let is_old = (record.produced_ts - now).abs() > MAX_AGE;
            if is_old || self.shards.is_empty() || user_id.server_name() != self.own {
                continue;
            }
            let seq = self.position(plexus_log::partition_of(room_id.as_str())) + 1;
            let servers = self.rooms.before(&self.upstream, &room_id, seq).await?;
            if !servers.is_empty() {
                let is_typing = typing.timeout_ms > 0;
                self.tell(Item::Typing { room_id, user_id, is_typing, servers }).await?;
            }
        }
        Ok(())
    }

    async fn tell_position(&self) -> Result<(), Stop> {
        match &self.position {
            Some(position) => self.tell(Item::Position(position.clone())).await,
            None => Ok(()),
        }
    }

    async fn tell(&self, item: Item) -> Result<(), Stop> {
        tokio::select! {
            told = self.items.send(item) => told.map_err(|_| Stop::Shutdown),
            () = self.shutdown.requested() => Err(Stop::Shutdown),
        }
    }
}

fn index(partition: u32) -> Option<usize> {
    usize::try_from(partition).ok().filter(|index| *index < PARTITION_COUNT)
}
