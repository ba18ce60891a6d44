//! Holds the destinations of the shards that are ours, starts attempts when their time has come, and keeps what must not
//! be forgotten.
//!
//! One task, so that nothing is locked; attempts and what is kept go beside it.

mod attempts;
mod shards;
mod typists;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use plexus_log::{Log, OutputRoom, Ownership};
use plexus_s2s::{Health, now_ms};
use plexus_service::Shutdown;
use ruma::{OwnedServerName, ServerName};
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{error, info, warn};

use self::{shards::Shard, typists::Typists};
use super::{
    Contacts, Vector,
    attempt::{Attempt, Courier},
    destination::Destination,
    edus, follow, metrics,
    progress::{self, Progress, Saved},
    room_servers::Servers,
    route::Item,
    shard_of,
    upstream::Upstream,
};
use crate::Federation;

/// Name of the group that shares the shards.
const GROUP: &str = "federation-sender";
/// Attempts at a time: in all, and to servers that fail.
const AT_ONCE: usize = 512;
const PROBES: usize = 64;
/// How often what is new is kept.
const SAVE: Duration = Duration::from_secs(2);
/// How often positions are kept although nothing was sent, in ticks of saving.
const IDLE_SAVES: u32 = 30;
/// How long attempts may go on at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// How long receipts wait for others: in rooms with few servers, and with many, in milliseconds.
const RECEIPTS: i64 = 1_000;
const RECEIPTS_OF_MANY: i64 = 30_000;
const MANY_SERVERS: usize = 50;

/// The destinations.
pub(super) struct Hub {
    courier: Courier,
    contacts: Contacts,
    health: Health,
    log: Log,
    shutdown: Shutdown,
    /// Names this sender.
    name: Vec<u8>,
    serial: u64,
    commands: mpsc::UnboundedSender<follow::Command>,
    /// Shards that the group gave us.
    owned: BTreeSet<u32>,
    /// Shards that the room server gave us.
    shards: BTreeMap<u32, Shard>,
    destinations: HashMap<OwnedServerName, Destination>,
    /// When something is to be done for whom: for servers that take what they are sent, and for those that fail.
    timers: BTreeSet<(i64, OwnedServerName)>,
    probe_timers: BTreeSet<(i64, OwnedServerName)>,
    due: HashMap<OwnedServerName, i64>,
    attempts: JoinSet<Attempt>,
    /// Servers that fail and are being tried.
    probes: BTreeSet<OwnedServerName>,
    /// Up to where the follower told everything.
    position: Box<Vector>,
    typists: Typists,
    saving: Option<tokio::task::JoinHandle<(Progress, Saved)>>,
    /// Whether positions are worth keeping, and for how many ticks they were not.
    has_sent: bool,
    idle_saves: u32,
}

impl Hub {
    pub(super) fn new(
        federation: &Federation,
        upstream: Upstream,
        log: Log,
        shutdown: Shutdown,
        commands: mpsc::UnboundedSender<follow::Command>,
    ) -> Self {
        let (own, peers) = (federation.name.clone(), federation.peers.clone());
        let health = peers.health().clone();
        Self {
            courier: Courier { own, peers, upstream, tells_names: federation.config.federation.device_names },
            contacts: federation.contacts.clone(),
            health,
            log,
            shutdown,
            name: rand::random::<[u8; 16]>().to_vec(),
            serial: 0,
            commands,
            owned: BTreeSet::new(),
            shards: BTreeMap::new(),
            destinations: HashMap::new(),
            timers: BTreeSet::new(),
            probe_timers: BTreeSet::new(),
            due: HashMap::new(),
            attempts: JoinSet::new(),
            probes: BTreeSet::new(),
            position: Box::new([0; super::PARTITION_COUNT]),
            typists: Typists::default(),
            saving: None,
            has_sent: false,
            idle_saves: 0,
        }
    }

    /// Runs until shutdown.
    pub(super) async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        let mut ownership = match self.log.join_group::<OutputRoom>(GROUP) {
            Ok(ownership) => ownership,
            Err(failure) => {
                error!(error = %failure, "the sender cannot join its group");
                self.shutdown.fail(format!("the sender cannot join its group: {failure}"));
                return;
            }
        };
        let mut heard = self.contacts.listen();
        let mut tick = interval(SAVE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        loop {
            self.start_attempts();
            let next = self.pause();
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                change = ownership.next() => match change {
                    Some(change) => self.change_ownership(change).await,
                    None => break,
                },
                Some(ended) = self.attempts.join_next(), if !self.attempts.is_empty() => match ended {
                    Ok(attempt) => self.finish(attempt),
                    // Its destination would wait for ever.
                    Err(failure) => {
                        self.shutdown.fail(format!("an attempt to send ended unexpectedly: {failure}"));
                        break;
                    }
                },
                saved = ended(&mut self.saving) => self.saved(saved).await,
                word = heard.recv() => match word {
                    Ok(server) => self.hear(&server),
                    // Whoever was missed says something again.
                    Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => {}
                },
                _ = tick.tick() => self.tick().await,
                item = items.recv() => match item {
                    Some(item) => self.take(item),
                    None => break,
                },
                () = sleep(next) => {}
            }
        }
        self.stop(ownership).await;
    }

    /// Lets attempts end, and keeps what came of them.
    async fn stop(mut self, ownership: Ownership) {
        let drained = async {
            while let Some(ended) = self.attempts.join_next().await {
                if let Ok(attempt) = ended {
                    self.finish(attempt);
                }
            }
        };
        if timeout(DRAIN, drained).await.is_err() {
            info!("some servers take their time; they are sent again what they may have");
        }
        if let Some(saving) = self.saving.take() {
            drop(timeout(DRAIN, saving).await);
        }
        self.has_sent = true;
        let progress = self.progress();
        if timeout(DRAIN, progress::save(&self.courier.upstream, &progress)).await.is_err() {
            warn!("how far the sender is could not be kept");
        }
        drop(ownership);
    }

    fn is_ours(&self, server: &ServerName) -> bool {
        *server != self.courier.own && self.shards.contains_key(&shard_of(server))
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Pdu { pdu, shards, servers, also, except } => {
                for server in servers.iter().chain(&also) {
                    if *server != except && shards.contains(shard_of(server)) && self.is_ours(server) {
                        self.destination(server).add(Arc::clone(&pdu));
                        self.schedule(server);
                        self.has_sent = true;
                    }
                }
            }
            Item::Behind { server, room_id, after } => {
                if self.is_ours(&server) {
                    self.destination(&server).fall_behind(&room_id, after, after);
                    self.schedule(&server);
                }
            }
            Item::Outbox(server) => {
                if self.is_ours(&server) {
                    self.destination(&server).has_outbox();
                    self.schedule(&server);
                }
            }
            Item::Typing { room_id, user_id, is_typing, servers } => {
                if self.typists.hear(&room_id, &user_id, is_typing, &servers, now_ms()) {
                    self.add_edus(&servers, |edus| {
                        edus.add_typing(room_id.clone(), user_id.clone(), is_typing);
                    });
                }
            }
            Item::Receipt { receipt, servers } => {
                let wait = if servers.len() > MANY_SERVERS { RECEIPTS_OF_MANY } else { RECEIPTS };
                let until = now_ms() + wait;
                self.add_edus(&servers, |edus| edus.add_receipt(receipt.clone(), until));
            }
            Item::Position(position) => self.position = position,
            Item::CaughtUp(shards) => {
                for (_, shard) in self.shards.iter_mut().filter(|(number, _)| shards.contains(**number)) {
                    shard.is_told = true;
                }
            }
        }
    }

    fn add_edus(&mut self, servers: &Servers, add: impl Fn(&mut edus::Edus)) {
        for server in servers.iter() {
            if !self.is_ours(server) {
                continue;
            }
            if let Some(edus) = self.destination(server).edus() {
                add(edus);
            }
            self.schedule(server);
        }
    }

    fn destination(&mut self, server: &ServerName) -> &mut Destination {
        // Most are there already, and need no name of their own.
        if !self.destinations.contains_key(server) {
            self.destinations.insert(server.to_owned(), Destination::default());
        }
        self.destinations.entry(server.to_owned()).or_default()
    }

    async fn tick(&mut self) {
        let now = now_ms();
        for (room_id, user_id, servers) in self.typists.take_ended(now) {
            self.add_edus(&servers, |edus| edus.add_typing(room_id.clone(), user_id.clone(), false));
        }
        self.claim_missing().await;
        self.tell_metrics(now);
        if self.saving.is_some() || self.shards.is_empty() {
            return;
        }
        self.idle_saves += 1;
        let progress = self.progress();
        // Operators may want something of those that are kept.
        let may_be_ordered = self.destinations.values().any(|destination| destination.failures() > 0);
        if progress.positions.is_empty() && progress.changes.is_empty() && !may_be_ordered {
            return;
        }
        let upstream = self.courier.upstream.clone();
        self.saving = Some(self.shutdown.spawn(async move {
            let saved = progress::save(&upstream, &progress).await;
            (progress, saved)
        }));
    }

    fn tell_metrics(&self, now: i64) {
        let (mut failing, mut behind, mut rooms, mut oldest) = (0, 0, 0, 0);
        for destination in self.destinations.values() {
            rooms += destination.rooms_behind();
            match destination.failing_since().map(|since| now - since) {
                Some(age) => {
                    failing += 1;
                    oldest = oldest.max(age);
                }
                None if destination.rooms_behind() > 0 => behind += 1,
                None => {}
            }
        }
        let waiting = self.destinations.len().saturating_sub(failing + behind);
        metrics::gauges(failing, behind, waiting, rooms, oldest);
    }
}

/// Waits for a task, if there is one.
async fn ended<T>(task: &mut Option<tokio::task::JoinHandle<T>>) -> Option<T> {
    match task {
        Some(running) => {
            let result = running.await;
            *task = None;
            result.ok()
        }
        None => std::future::pending().await,
    }
}
