//! Decides which rooms are worked on: those of the partitions that this process owns in the group of fetchers, when the
//! room server says that something is missing, and again when it is time to.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashSet, VecDeque},
    time::Duration,
};

use plexus_log::{Entry, LogError, OutputRoom, OwnershipEvent, Reader, StartAt, partition_of};
use plexus_proto::{
    log::v1::{FetchRequest, OutputRoomEvent, output_room_event::Body},
    room::v1::ListOpenFetchesRequest,
};
use plexus_s2s::now_ms;
use plexus_service::Shutdown;
use ruma::{OwnedEventId, OwnedRoomId};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{Instrument as _, debug, info_span, warn};

use super::{Failure, saga};
use crate::{
    Federation,
    upstream::{self, timed},
};

/// The group that shares the rooms.
const GROUP: &str = "plexus-fetcher";
/// Records that are taken from the log at once.
const BATCH: usize = 500;
/// Rooms that are worked on at the same time.
const MAX_SAGAS: usize = 64;
/// How long one room may take before another one gets its turn.
const SAGA_DEADLINE: Duration = Duration::from_secs(30 * 60);
/// How long it takes until a part of ours that failed is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until shutdown.
pub(crate) async fn run(federation: Federation, shutdown: Shutdown) {
    let mut driver = Driver::new(federation);
    loop {
        let ended = tokio::select! {
            ended = driver.follow() => ended,
            () = shutdown.requested() => return,
        };
        match ended {
            Ok(()) | Err(LogError::Closed) => return,
            Err(error) => warn!(%error, "the fetcher cannot read the log, trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = shutdown.requested() => return,
        }
    }
}

/// What a task of the driver has come to.
enum Done {
    /// A saga has ended, and is to go on at a time.
    Saga(OwnedRoomId, Result<Option<i64>, Failure>),
    /// The parked events of a partition were listed.
    Listed(u32, Result<HashSet<OwnedRoomId>, String>),
    /// What an operator asked for was fetched, or not.
    Named,
}

struct Driver {
    federation: Federation,
    owned: BTreeSet<u32>,
    tasks: JoinSet<Done>,
    running: HashSet<OwnedRoomId>,
    /// Rooms that are worked on, and about which more was heard meanwhile.
    again: HashSet<OwnedRoomId>,
    ready: VecDeque<OwnedRoomId>,
    /// Rooms and partitions that are looked at later.
    later: BinaryHeap<Reverse<(Instant, Target)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Room(OwnedRoomId),
    Partition(u32),
}

impl Driver {
    fn new(federation: Federation) -> Self {
        Self {
            federation,
            owned: BTreeSet::new(),
            tasks: JoinSet::new(),
            running: HashSet::new(),
            again: HashSet::new(),
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
        }
    }

    /// Reads the log until it fails. Nothing here waits for an answer: whoever does not read holds up who writes.
    async fn follow(&mut self) -> Result<(), LogError> {
        let log = self.federation.log.clone();
        let mut ownership = log.join_group::<OutputRoom>(GROUP)?;
        let mut reader = log.reader::<OutputRoom>()?;
        self.owned.clear();
        loop {
            self.begin_sagas();
            let next = self.later.peek().map(|Reverse((when, _))| *when);
            tokio::select! {
                event = ownership.next() => match event {
                    Some(event) => self.change_ownership(event, &mut reader).await?,
                    None => return Ok(()),
                },
                batch = reader.next_batch(BATCH) => self.take(batch?),
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.finish(done),
                    Err(error) => warn!(%error, "a task of the fetcher has ended before its time"),
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.wake(),
            }
        }
    }

    async fn change_ownership(
        &mut self,
        event: OwnershipEvent,
        reader: &mut Reader<OutputRoom>,
    ) -> Result<(), LogError> {
        match event {
            OwnershipEvent::Gained(partitions) => {
                for partition in partitions {
                    // What is asked for from here on is heard; what was asked for before is listed.
                    reader.assign(partition, StartAt::End).await?;
                    self.owned.insert(partition);
                    self.list(partition);
                }
            }
            // Two who work on one room repeat each other, and change nothing.
            OwnershipEvent::Expired(_) => {}
            OwnershipEvent::Lost { partitions, done } => {
                for partition in partitions {
                    reader.unassign(partition).await?;
                    self.owned.remove(&partition);
                }
                let owned = &self.owned;
                self.ready.retain(|room_id| owned.contains(&partition_of(room_id.as_str())));
                // The group may have stopped waiting.
                done.send(()).ok();
            }
        }
        Ok(())
    }

    fn take(&mut self, batch: Vec<Entry<OutputRoomEvent>>) {
        for entry in batch {
            let Ok(record) = entry.record else { continue };
            let Some(Body::Fetch(request)) = record.body else { continue };
            let Ok(room_id) = OwnedRoomId::try_from(record.room_id) else { continue };
            if request.event_id.is_empty() {
                self.fetch_named(room_id, request);
            } else {
                self.look_at(room_id);
            }
        }
    }

    /// A room is worked on as soon as there is a place.
    fn look_at(&mut self, room_id: OwnedRoomId) {
        if self.running.contains(&room_id) {
            self.again.insert(room_id);
        } else if !self.ready.contains(&room_id) {
            self.ready.push_back(room_id);
        }
    }

    fn begin_sagas(&mut self) {
        while self.running.len() < MAX_SAGAS
            && let Some(room_id) = self.ready.pop_front()
        {
            let federation = self.federation.clone();
            self.running.insert(room_id.clone());
            let span = info_span!("fetch", room.id = %room_id);
            let saga = async move {
                let run = saga::run(&federation, &room_id);
                let ended = tokio::time::timeout(SAGA_DEADLINE, run).await;
                let ended =
                    ended.unwrap_or_else(|_| Err(Failure::Unreachable("it takes too long".to_owned())));
                Done::Saga(room_id, ended)
            };
            self.tasks.spawn(saga.instrument(span));
        }
    }

    fn list(&mut self, partition: u32) {
        let federation = self.federation.clone();
        self.tasks.spawn(async move { Done::Listed(partition, rooms_of(&federation, partition).await) });
    }

    fn fetch_named(&mut self, room_id: OwnedRoomId, request: FetchRequest) {
        let ids = request.missing_prev_event_ids.into_iter().chain(request.missing_auth_event_ids);
        let ids: Vec<OwnedEventId> = ids.filter_map(|id| id.try_into().ok()).collect();
        let federation = self.federation.clone();
        self.tasks.spawn(async move {
            if let Err(error) = saga::fetch_named(&federation, &room_id, ids).await {
                warn!(room.id = %room_id, %error, "an event that an operator asks for cannot be fetched");
            }
            Done::Named
        });
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Saga(room_id, ended) => {
                self.running.remove(&room_id);
                let heard = self.again.remove(&room_id);
                match ended {
                    Ok(_) if heard => self.look_at(room_id),
                    Ok(None) => {}
                    Ok(Some(when)) => {
                        let pause = u64::try_from(when.saturating_sub(now_ms())).unwrap_or(0);
                        let when = Instant::now() + Duration::from_millis(pause);
                        self.later.push(Reverse((when, Target::Room(room_id))));
                    }
                    Err(error) => {
                        debug!(room.id = %room_id, %error, "a room cannot be worked on");
                        self.later.push(Reverse((Instant::now() + RETRY, Target::Room(room_id))));
                    }
                }
            }
            Done::Listed(partition, Ok(rooms)) if self.owned.contains(&partition) => {
                for room_id in rooms {
                    self.look_at(room_id);
                }
            }
            Done::Listed(partition, Err(error)) => {
                warn!(partition, error, "parked events cannot be listed, trying again");
                self.later.push(Reverse((Instant::now() + RETRY, Target::Partition(partition))));
            }
            Done::Listed(_, Ok(_)) | Done::Named => {}
        }
    }

    /// Takes up what is due.
    fn wake(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((when, _))) = self.later.peek()
            && *when <= now
            && let Some(Reverse((_, target))) = self.later.pop()
        {
            match target {
                Target::Room(room_id) if self.owned.contains(&partition_of(room_id.as_str())) => {
                    self.look_at(room_id);
                }
                Target::Partition(partition) if self.owned.contains(&partition) => self.list(partition),
                Target::Room(_) | Target::Partition(_) => {}
            }
        }
    }
}

/// The rooms of a partition that have parked events which lack something.
async fn rooms_of(federation: &Federation, partition: u32) -> Result<HashSet<OwnedRoomId>, String> {
    let (mut rooms, mut after) = (HashSet::new(), 0);
    loop {
        let request = ListOpenFetchesRequest { room_id: String::new(), partition, after, limit: u32::MAX };
        let page = upstream::graph(&federation.rooms).list_open_fetches(timed(request)).await;
        let page = page.map_err(|status| status.message().to_owned())?.into_inner();
        rooms.extend(page.fetches.into_iter().filter_map(|fetch| OwnedRoomId::try_from(fetch.room_id).ok()));
        after = page.next;
        if after == 0 {
            return Ok(rooms);
        }
    }
}
