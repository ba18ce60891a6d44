//! Claims and releases partitions.

mod reading;

use std::time::{Duration, Instant};

use plexus_log::OwnershipEvent;
use plexus_proto::input::v1::InputLog;
use tracing::{info, warn};

use super::{
    InputId,
    engine::{CONTEST_PAUSE, Engine, EngineError, connect, report_corrupt},
    input_batch::partition_column,
    partition::{INPUT_LOGS, Partition},
    publisher::{Lane, Record},
};
use crate::{
    metrics as names,
    store::{
        deferred, output,
        partitions::{self, PartitionState},
    },
};

/// Time between two looks at whether others have claimed what we work on without the group's word.
const DOUBT: Duration = Duration::from_secs(1);
/// Output records read at once for publishing again.
const PAGE: i64 = 500;

impl Engine {
    /// Takes note of what the group says. Partitions that are gained are claimed by the next [`Engine::settle`].
    pub(super) async fn change_ownership(&mut self, event: OwnershipEvent) -> Result<(), EngineError> {
        match event {
            OwnershipEvent::Gained(gained) => {
                info!(count = gained.len(), "partitions gained");
                // Others stay unconfirmed: the group may have given them to an earlier process that is no more.
                self.unconfirmed.retain(|partition| !gained.contains(partition));
                self.wanted.extend(gained);
            }
            OwnershipEvent::Expired(partitions) => {
                warn!(
                    count = partitions.len(),
                    "the group has lost sight of us; going on unless others take over"
                );
                self.unconfirmed.extend(partitions);
            }
            OwnershipEvent::Lost { partitions, done } => {
                info!(count = partitions.len(), "partitions lost");
                let given_up = self.give_up(&partitions).await;
                // The group may have stopped waiting.
                done.send(()).ok();
                given_up?;
            }
        }
        self.heard = true;
        Ok(())
    }

    /// Lets partitions go that are not ours to claim any more.
    async fn give_up(&mut self, partitions: &[u32]) -> Result<(), EngineError> {
        for partition in partitions {
            self.wanted.remove(partition);
            self.unconfirmed.remove(partition);
            self.contested.remove(partition);
        }
        self.release(partitions).await
    }

    /// Takes up what an earlier process at our address has left behind: it did not release its partitions, so it was
    /// killed. The group will know only when the session of that process has expired; the fence lets us go on at once.
    async fn recall(&mut self, conn: &mut diesel_async::AsyncPgConnection) -> Result<(), EngineError> {
        let roomserver = &self.app.config.roomserver;
        // An address that names no machine is nobody's own.
        let anywhere = roomserver.advertise.is_empty() && roomserver.listen.address.ip().is_unspecified();
        if self.recalled || anywhere {
            return Ok(());
        }
        let left = partitions::list_of_owner(conn, self.app.verdicts.address()).await?;
        self.recalled = true;
        let left = left.into_iter().filter_map(|partition| u32::try_from(partition).ok());
        let left = left.filter(|partition| self.shard.has(*partition));
        // The group may have spoken first: then it has given us some of them, and the others to that process.
        let wanted = &self.wanted;
        self.unconfirmed.extend(left.filter(|partition| !wanted.contains(partition)));
        if !self.unconfirmed.is_empty() {
            info!(
                count = self.unconfirmed.len(),
                "going on with partitions of an earlier process at our address"
            );
            self.wanted.extend(&self.unconfirmed);
        }
        Ok(())
    }

    /// Lets go of partitions that we work on without the group's word and that another instance has claimed.
    async fn yield_unconfirmed(
        &mut self,
        conn: &mut diesel_async::AsyncPgConnection,
    ) -> Result<(), EngineError> {
        if self.unconfirmed.is_empty() {
            return Ok(());
        }
        let ours = partitions::list_of_owner(conn, self.app.verdicts.address()).await?;
        let taken: Vec<u32> = self
            .unconfirmed
            .iter()
            .copied()
            .filter(|number| !ours.contains(&partition_column(*number)))
            .collect();
        if !taken.is_empty() {
            info!(count = taken.len(), "others have claimed partitions that the group had not given us");
        }
        for number in taken {
            self.wanted.remove(&number);
            self.unconfirmed.remove(&number);
            self.let_go(number).await?;
        }
        Ok(())
    }

    /// Whether it is time to look again at what we work on without the group's word.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.unconfirmed.is_empty() && self.settled.elapsed() >= DOUBT
    }

    /// Lets partitions go, and tells the database so where they are still ours.
    pub(super) async fn release(&mut self, lost: &[u32]) -> Result<(), EngineError> {
        self.end_bulk().await;
        // What was published is worth noting: the next owner need not do it again.
        let flushed = self.flush().await;
        let mut released = Ok(());
        for number in lost {
            let Some(partition) = self.partitions.remove(number) else { continue };
            self.let_go(*number).await?;
            if let Some(conn) = &mut self.conn {
                let done = partitions::release(conn, partition_column(*number), partition.epoch).await;
                released = released.and(done);
            }
        }
        self.count_owned();
        flushed?;
        Ok(released?)
    }

    /// Forgets a partition.
    async fn let_go(&mut self, number: u32) -> Result<(), EngineError> {
        self.partitions.remove(&number);
        self.app.sessions.evict_partition(number);
        self.app.session_leases.end_all([number]);
        self.app.verdicts.lose(number);
        self.publisher.forget(number);
        self.deferred.forget(number);
        self.low.cancel(number);
        self.rooms.drop_partition(number);
        self.intake.unassign(number).await?;
        Ok(())
    }

    /// Connects if need be, lets go of what others have claimed, and claims what the group has given us. After a failure
    /// this also claims again what we had: the new epoch settles whether a commit that was cut off has happened.
    pub(super) async fn settle(&mut self) -> Result<(), EngineError> {
        self.end_bulk().await;
        let again = self.conn.is_none();
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect(&self.app).await?,
        };
        self.recall(&mut conn).await?;
        self.yield_unconfirmed(&mut conn).await?;
        self.settled = Instant::now();
        let claim: Vec<u32> = self
            .wanted
            .iter()
            .copied()
            .filter(|number| again || !self.partitions.contains_key(number))
            .filter(|number| !self.is_contested(*number))
            .collect();
        let numbers: Vec<i16> = claim.iter().map(|number| partition_column(*number)).collect();
        let rows = partitions::claim(&mut conn, &numbers, self.app.verdicts.address()).await?;
        let mut anew = 0;
        let waiting = deferred::list_waiting(&mut conn, &numbers).await?;
        self.deferred.take(&claim, &waiting);
        for row in &rows {
            let Ok(number) = u32::try_from(row.0.partition) else { continue };
            let known = self.partitions.get(&number);
            let taken = match Partition::from_rows(row) {
                Ok(partition) => partition,
                Err(failure) => {
                    report_corrupt(number, &failure);
                    continue;
                }
            };
            // Publishing begins anew from what the database knows.
            self.publisher.forget(number);
            let same_place = known.is_some_and(|known| {
                INPUT_LOGS.iter().all(|log| known.lane(*log).stored == taken.lane(*log).stored)
            });
            // Where nothing but our own claim has happened, what is in memory of rooms is what the database holds.
            let untouched = known.is_some_and(|known| {
                taken.epoch == known.epoch + 1 && taken.counters.next_seq == known.counters.next_seq
            });
            if !untouched {
                self.rooms.drop_partition(number);
            }
            let of_partition = waiting.iter().filter(|input| input.partition == row.0.partition);
            let ids = of_partition.filter_map(|input| InputId::try_from(input.input_id.as_slice()).ok());
            self.app.verdicts.set_deferred(number, ids);
            if same_place {
                self.keep_reading(number, taken);
            } else {
                anew += self.start_reading(number, taken).await?;
            }
            self.publish_again(&mut conn, &row.0).await?;
        }
        if anew > 0 {
            // A log inside the process begins anew with each start of it; elsewhere somebody should know.
            warn!(
                logs = anew,
                partitions = rows.len(),
                "input logs end before our positions: they are other ones now; reading them from their beginnings"
            );
        }
        if !rows.is_empty() {
            // Whoever had them before may have left deleted rooms half way.
            self.app.purged.notify_one();
        }
        self.conn = Some(conn);
        self.count_owned();
        Ok(())
    }

    /// Looks whether partitions are still ours, and lets go of those that are not; `true` if anything was amiss. The
    /// caller has to begin its batch again.
    pub(super) async fn reconcile(&mut self) -> Result<bool, EngineError> {
        self.end_bulk().await;
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect(&self.app).await?,
        };
        let rows = partitions::list(&mut conn).await?;
        self.conn = Some(conn);
        let mut amiss = false;
        for (row, bulk) in rows {
            let Ok(number) = u32::try_from(row.partition) else { continue };
            let Some(partition) = self.partitions.get(&number) else { continue };
            if row.epoch != partition.epoch {
                warn!(partition = number, owner = row.owner, "another instance has taken a partition over");
                amiss = true;
                metrics::counter!(names::ABORTED_BATCHES).increment(1);
                if self.unconfirmed.remove(&number) {
                    self.wanted.remove(&number);
                } else {
                    // Most likely the group has not told us yet. If it goes on to say that the partition is ours, the
                    // other instance is the one that was late, and we claim it again.
                    self.contested.insert(number, Instant::now() + CONTEST_PAUSE);
                }
                self.let_go(number).await?;
            } else if row.room_offset != partition.room.stored
                || row.user_offset != partition.user.stored
                || bulk.bulk_offset != partition.bulk.stored
            {
                // A commit happened of which we do not know. Claim everything again and read where it stands.
                amiss = true;
                self.conn = None;
            }
        }
        self.count_owned();
        Ok(amiss)
    }

    /// Publishes what was committed and may not have arrived in the output logs.
    async fn publish_again(
        &mut self,
        conn: &mut diesel_async::AsyncPgConnection,
        row: &PartitionState,
    ) -> Result<(), EngineError> {
        let Ok(number) = u32::try_from(row.partition) else { return Ok(()) };
        let lane = |log| Lane { log, partition: number };
        let mut after = row.room_published_seq;
        while after < row.next_room_seq - 1 {
            let records = output::list_rooms(conn, row.partition, after, row.next_room_seq - 1, PAGE).await?;
            let Some(last) = records.last() else { break };
            after = i64::try_from(last.seq).unwrap_or(i64::MAX);
            self.publisher
                .push(lane(InputLog::Room), records.into_iter().map(|record| Record::Room(Box::new(record))));
            self.publisher.has_room().await;
        }
        let mut after = row.user_published_seq;
        while after < row.next_user_seq - 1 {
            let records = output::list_users(conn, row.partition, after, row.next_user_seq - 1, PAGE).await?;
            let Some(last) = records.last() else { break };
            after = i64::try_from(last.seq).unwrap_or(i64::MAX);
            self.publisher
                .push(lane(InputLog::User), records.into_iter().map(|record| Record::User(Box::new(record))));
            self.publisher.has_room().await;
        }
        Ok(())
    }

    fn count_owned(&self) {
        let owned = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        metrics::gauge!(names::OWNED_PARTITIONS, "shard" => self.shard.label()).set(f64::from(owned));
    }
}
