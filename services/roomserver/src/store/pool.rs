//! Pools of connections for reads, and single connections for writers.
//!
//! Reads of different cost do not share connections: a flood of searches keeps nobody from logging in, and slow pages of
//! history keep nobody's token from being known.

use std::{sync::Arc, time::Duration};

use diesel::ConnectionError;
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection as _,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig,
        deadpool::{Object, Pool},
    },
};
use futures::FutureExt as _;
use plexus_service::config::PostgresConfig;
use tokio::sync::Semaphore;

use super::StoreError;

/// Connections for reads of one kind; cheap to clone.
#[derive(Clone)]
pub(crate) struct ReadPool {
    connections: Pool<AsyncPgConnection>,
    /// One for each read that may wait for a connection.
    places: Arc<Semaphore>,
    /// How long a read waits for a connection.
    patience: Duration,
}

/// The pools of a room server; cheap to clone.
#[derive(Clone)]
pub(crate) struct Pools {
    /// Who somebody is: sessions, accounts.
    pub(crate) login: ReadPool,
    /// Ordinary reads.
    pub(crate) reads: ReadPool,
    /// Reads whose cost does not follow from what they return: searches, walks through spaces and relations, verification.
    pub(crate) search: ReadPool,
}

/// A connection of a pool.
pub(crate) type PooledConnection = Object<AsyncPgConnection>;

/// How long an ordinary read may take before Postgres cancels it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Nearly all that is asked for is asked for by keys. Without statistics, as of tables that were empty a minute ago, Postgres
/// would rather read the whole of them, and keep to that.
const PLANS: &str = "SET enable_seqscan TO off; SET enable_hashjoin TO off; SET enable_mergejoin TO off";

/// Postgres ends a writer that goes no further within a transaction: one that is paused or cut off must not keep the rows
/// of its partitions from whoever takes them over. Between two statements pass microseconds; a group of consumers waits
/// longer than this before it gives partitions away.
const ABANDONED: &str = "SET idle_in_transaction_session_timeout = '3s'";

/// How long an ordinary read waits for a connection.
const WAIT: Duration = Duration::from_secs(10);
/// Most ordinary reads that wait for each connection. More than these would wait for longer than they are ready to.
const WAITING: usize = 1_000;

#[cfg(test)]
impl ReadPool {
    /// How many more may wait.
    pub(crate) fn free_places(&self) -> usize {
        self.places.available_permits()
    }
}

/// Opens the pools; each connects when first used.
pub(crate) fn open(config: &PostgresConfig) -> Result<Pools, StoreError> {
    let size = |connections: u32| usize::try_from(connections.max(1)).unwrap_or(usize::MAX);
    let ordinary = |connections: u32| {
        let size = size(connections);
        open_one(&config.url, size, size.saturating_mul(WAITING), WAIT, STATEMENT_TIMEOUT)
    };
    let timeout = Duration::from_millis(config.search_timeout_ms.max(1));
    let searches = size(config.search_connections);
    Ok(Pools {
        login: ordinary(config.login_connections)?,
        reads: ordinary(config.max_connections)?,
        search: open_one(&config.url, searches, size(config.search_waiting), timeout, timeout)?,
    })
}

fn open_one(
    url: &str,
    size: usize,
    places: usize,
    patience: Duration,
    timeout: Duration,
) -> Result<ReadPool, StoreError> {
    let settings = format!("{PLANS}; SET statement_timeout = {}", timeout.as_millis());
    let mut manager = ManagerConfig::default();
    manager.custom_setup = Box::new(move |url| {
        let (url, settings) = (url.to_owned(), settings.clone());
        async move { establish(&url, &settings).await }.boxed()
    });
    let manager = AsyncDieselConnectionManager::new_with_config(url, manager);
    let connections = Pool::builder(manager)
        .max_size(size)
        .build()
        .map_err(|source| StoreError::Connect { source: Box::new(source) })?;
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    Ok(ReadPool { connections, places, patience })
}

/// Takes a connection from a pool. Fails at once if too many wait already.
pub(crate) async fn get(pool: &ReadPool) -> Result<PooledConnection, StoreError> {
    let Ok(_place) = pool.places.try_acquire() else { return Err(StoreError::Busy) };
    match tokio::time::timeout(pool.patience, pool.connections.get()).await {
        Ok(got) => got.map_err(|source| StoreError::Connect { source: Box::new(source) }),
        Err(_elapsed) => Err(StoreError::Busy),
    }
}

/// Opens a connection outside the pools, for a writer.
pub(crate) async fn connect(url: &str) -> Result<AsyncPgConnection, StoreError> {
    let settings = format!("{PLANS}; {ABANDONED}");
    establish(url, &settings).await.map_err(|source| StoreError::Connect { source: Box::new(source) })
}

async fn establish(url: &str, settings: &str) -> Result<AsyncPgConnection, ConnectionError> {
    let mut connection = super::connect::connect(url).await?;
    connection.batch_execute(settings).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}
