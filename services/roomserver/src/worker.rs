//! The worker: reads the input logs of the partitions this instance owns, applies their records, commits, publishes.
//!
//! Each of its [shards] does all of that for its partitions, one batch after the other; while a batch is committed the next
//! one gathers in the logs. Only chunks of rooms where nobody is yet go to the [bulk lane](bulk_lane), and records that cost
//! much are left to the [low-priority lane](low_lane).
//! What keeps it honest is `partition_state`: a batch commits only if its partitions are still owned under the same
//! epoch and stand where the batch found them. After any failure the worker reconnects, claims its partitions again
//! under a new epoch, reads from the database where they stand, and goes on from there; so it does not matter whether
//! a commit that was cut off had happened or not.

mod bulk_lane;
mod cache;
mod deferred;
mod engine;
mod guests;
mod input_batch;
mod inputs;
mod intake;
mod janitor;
mod low_lane;
mod member_jobs;
mod ownership;
mod pace;
mod partition;
mod publisher;
mod retention;
mod shards;
#[cfg(test)]
mod tests;
mod upgrades;
mod verdict_board;

use std::sync::Arc;

use plexus_events::key_file;
use plexus_log::InputRoom;
use plexus_service::Shutdown;
use ruma::ServerName;
use tokio::task::AbortHandle;

use self::{engine::Engine, publisher::Publisher, shards::Shard};
pub(crate) use self::{
    engine::now_ms,
    inputs::{leave, room_input, user_input},
    verdict_board::{InputId, Lookup, VerdictBoard},
};
use crate::{
    app::{App, StartError},
    rooms::Env,
};

/// Name of the group that shares the partitions.
const GROUP: &str = "roomserver";

/// Joins the group and begins to work. Returns the tasks, which run until shutdown.
pub(crate) fn start(app: &App, shutdown: &Shutdown) -> Result<Vec<AbortHandle>, StartError> {
    let path = &app.config.server.signing_key;
    let signing_key = key_file::load_or_create(path)
        .map_err(|source| StartError::SigningKey { path: path.clone(), source: Box::new(source) })?;
    let server_name = ServerName::parse(app.config.server.name.as_str())
        .map_err(|error| StartError::ServerName(Box::new(error)))?;
    let env = Arc::new(Env { server_name, signing_key });
    let ownership = app.log.join_group::<InputRoom>(GROUP)?;
    let (guest_access, guests) = guests::task(app.clone(), shutdown.clone());
    let mut tasks = Vec::new();
    let mut inlets = Vec::new();
    for shard in Shard::all(app.config.roomserver.shards) {
        let (publisher, publishing) = Publisher::new(app.log.clone());
        let (inlet, ownership) = shards::channel(shard);
        let engine =
            Engine::open(app.clone(), Arc::clone(&env), shard, publisher, ownership, guest_access.clone())?;
        inlets.push(inlet);
        tasks.push(shutdown.spawn(publishing).abort_handle());
        tasks.push(shutdown.spawn(engine.run(shutdown.clone())).abort_handle());
    }
    app.verdicts.expect_shards(inlets.len());
    tasks.extend([
        shutdown.spawn(shards::distribute(ownership, inlets)).abort_handle(),
        shutdown.spawn(janitor::run(app.clone(), shutdown.clone())).abort_handle(),
        shutdown.spawn(guests).abort_handle(),
        shutdown.spawn(member_jobs::run(app.clone(), shutdown.clone())).abort_handle(),
        shutdown.spawn(upgrades::run(app.clone(), shutdown.clone())).abort_handle(),
    ]);
    Ok(tasks)
}
