//! Shards that come and go, and what the room server keeps of them.

use std::{collections::HashMap, time::Duration};

use plexus_log::OwnershipEvent;
use plexus_proto::room::v1::{
    self as room, AckOutgoingEdusRequest, DestinationOrder, destination_order::Kind,
};
use plexus_s2s::now_ms;
use ruma::{OwnedServerName, RoomId, ServerName};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Hub, IDLE_SAVES};
use crate::sender::{
    PARTITION_COUNT, Shards, Vector,
    destination::{Change, Destination, Row},
    follow::Command,
    progress::{self, Progress, Saved},
    shard_of,
};

/// How long claiming may take before it is tried again.
const CLAIM: Duration = Duration::from_secs(20);
/// A start tries those that failed soon, and not all at once: the first after this, the next ones so much later each, in
/// milliseconds.
const GRACE: i64 = 1_000;
const APART: i64 = 20;

/// A shard that is ours.
#[derive(Debug)]
pub(super) struct Shard {
    /// Positions as they are kept.
    kept: Box<Vector>,
    /// Whether the follower has told it everything up to its position.
    pub(super) is_told: bool,
}

impl Hub {
    pub(super) async fn change_ownership(&mut self, change: OwnershipEvent) {
        match change {
            OwnershipEvent::Gained(shards) => {
                self.owned.extend(shards);
                self.claim_missing().await;
            }
            // Nobody may have taken them over. What we keep is refused if somebody has.
            OwnershipEvent::Expired(_) => {}
            OwnershipEvent::Lost { partitions, done } => {
                let lost = Shards::of(partitions.iter().copied());
                // One after the other, so that the later word counts.
                if let Some(saving) = self.saving.take() {
                    let saved = saving.await.ok();
                    self.saved(saved).await;
                }
                let progress = self.progress();
                drop(timeout(CLAIM, progress::save(&self.courier.upstream, &progress)).await);
                self.owned.retain(|shard| !lost.contains(*shard));
                self.give_up(lost);
                drop(done);
            }
        }
    }

    /// Claims the shards that the group gave us and the room server has not yet.
    pub(super) async fn claim_missing(&mut self) {
        let missing: Vec<u32> =
            self.owned.iter().copied().filter(|shard| !self.shards.contains_key(shard)).collect();
        if missing.is_empty() {
            return;
        }
        let claim = timeout(CLAIM, self.courier.upstream.claim(&self.name, missing)).await;
        match claim {
            Ok(Ok(chunks)) => self.claimed(chunks),
            Ok(Err(status)) => {
                warn!(error = %status, "the sender cannot claim its destinations, trying again")
            }
            Err(_) => warn!("the sender cannot claim its destinations in time, trying again"),
        }
    }

    fn claimed(&mut self, chunks: Vec<room::ClaimShardsResponse>) {
        let (now, mut failing, mut rooms) = (now_ms(), 0, 0);
        let mut positions = Vec::new();
        for chunk in chunks {
            positions.extend(chunk.shards);
            for kept in chunk.destinations {
                let Ok(server) = ServerName::parse(kept.server.as_str()) else { continue };
                if !self.destinations.contains_key(&server) {
                    let retry_ts = now + GRACE + APART * failing;
                    failing += 1;
                    let row = Row {
                        failures: kept.failures,
                        first_failure_ts: kept.first_failure_ts,
                        retry_ts,
                        error: kept.error,
                        last_success_ts: kept.last_success_ts,
                    };
                    self.contacts.set_failing(&server, row.failures > 0);
                    self.destinations.insert(server.clone(), Destination::restore(row, retry_ts));
                }
                if let Some(destination) = self.destinations.get_mut(&server) {
                    for room in kept.rooms {
                        let Ok(room_id) = RoomId::parse(room.room_id.as_str()) else { continue };
                        destination.restore_room(room_id, room.after_seq);
                        rooms += 1;
                    }
                }
            }
        }
        info!(shards = positions.len(), destinations = failing, rooms, "the sender has claimed destinations");
        // Most shards are equally far: they are told together.
        let mut together: HashMap<Box<Vector>, Shards> = HashMap::new();
        for shard in positions {
            let mut after = Box::new([0; PARTITION_COUNT]);
            for (slot, position) in after.iter_mut().zip(shard.positions) {
                *slot = position;
            }
            let shards = together.entry(after.clone()).or_default();
            *shards = shards.with(Shards::of([shard.shard]));
            self.shards.insert(shard.shard, Shard { kept: after, is_told: false });
        }
        for (after, shards) in together {
            // The follower only ends with the process.
            drop(self.commands.send(Command::Begin { shards, after }));
        }
        let servers: Vec<OwnedServerName> = self.destinations.keys().cloned().collect();
        for server in servers {
            self.schedule(&server);
        }
    }

    /// Drops what belongs to shards.
    fn give_up(&mut self, lost: Shards) {
        self.shards.retain(|shard, _| !lost.contains(*shard));
        drop(self.commands.send(Command::End(lost)));
        let gone: Vec<OwnedServerName> =
            self.destinations.keys().filter(|server| lost.contains(shard_of(server))).cloned().collect();
        for server in gone {
            self.destinations.remove(&server);
            self.contacts.set_failing(&server, false);
            self.schedule(&server);
        }
    }

    /// How far we are: what has changed since it was taken last. It counts as kept from here on.
    pub(super) fn progress(&mut self) -> Progress {
        self.serial += 1;
        let mut progress = Progress {
            sender: self.name.clone(),
            serial: self.serial,
            shards: self.shards.keys().copied().collect(),
            ..Progress::default()
        };
        for (server, destination) in &mut self.destinations {
            if let Some(change) = destination.take_change() {
                progress.changes.push((server.clone(), change));
            }
        }
        if !self.has_sent && self.idle_saves < IDLE_SAVES {
            return progress;
        }
        (self.has_sent, self.idle_saves) = (false, 0);
        let mut reached: std::collections::BTreeMap<u32, Box<Vector>> = self
            .shards
            .iter()
            .filter(|(_, shard)| shard.is_told)
            .map(|(number, _)| (*number, self.position.clone()))
            .collect();
        for (server, destination) in &self.destinations {
            if let Some(positions) = reached.get_mut(&shard_of(server)) {
                destination.hold_back(positions);
            }
        }
        for (number, positions) in reached {
            if self.shards.get(&number).is_some_and(|shard| shard.kept != positions) {
                progress.positions.push((number, positions));
            }
        }
        progress
    }

    /// What came of keeping it.
    pub(super) async fn saved(&mut self, saved: Option<(Progress, Saved)>) {
        let Some((progress, saved)) = saved else {
            self.shutdown.fail("how far the sender is cannot be kept");
            return;
        };
        match saved {
            Saved::Yes(orders) => {
                for (number, positions) in progress.positions {
                    if let Some(shard) = self.shards.get_mut(&number) {
                        shard.kept = positions;
                    }
                }
                let recovered = progress.changes.iter().filter(|(_, change)| *change == Change::Recovered);
                for server in recovered.map(|(server, _)| server.clone()).collect::<Vec<_>>() {
                    self.schedule(&server);
                }
                for order in orders {
                    self.obey(&order);
                }
            }
            Saved::Lost(lost) => {
                warn!(?lost, "shards of the sender were taken over by another one");
                self.put_back(progress);
                self.give_up(Shards::of(lost));
            }
            Saved::Failed(status) => {
                warn!(error = %status, "how far the sender is cannot be kept, trying again");
                self.put_back(progress);
            }
        }
    }

    fn put_back(&mut self, progress: Progress) {
        self.has_sent = true;
        for (server, change) in progress.changes {
            self.destination(&server).put_change_back(change);
        }
    }

    /// Does what an operator wants.
    fn obey(&mut self, order: &DestinationOrder) {
        let Ok(server) = ServerName::parse(order.server.as_str()) else { return };
        let Some(destination) = self.destinations.get_mut(&server) else { return };
        match order.kind() {
            Kind::Retry => destination.hurry(),
            Kind::Forget => {
                destination.forget();
                let (upstream, name) = (self.courier.upstream.clone(), server.to_string());
                self.shutdown.spawn(async move {
                    let all = AckOutgoingEdusRequest { server: name, all: true, ..Default::default() };
                    if let Err(status) = upstream.acknowledge(all).await {
                        warn!(error = %status, "what waits for a server could not be given up");
                    }
                });
                self.contacts.set_failing(&server, false);
            }
            Kind::Unspecified => return,
        }
        info!(%server, kind = order.kind().as_str_name(), "an operator wants something of a destination");
        self.health.succeed(&server);
        self.schedule(&server);
    }
}
