//! Connections: a pool for reads, and single ones for who writes.

use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::{
    AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig,
        deadpool::{Object, Pool},
    },
};
use futures::FutureExt as _;
use plexus_service::config::PostgresConfig;

use super::StoreError;

/// Connections for reads; cheap to clone.
pub(crate) type ReadPool = Pool<AsyncPgConnection>;

/// A connection of the pool.
pub(crate) type PooledConnection = Object<AsyncPgConnection>;

/// How long a read may take before Postgres cancels it.
const STATEMENT_TIMEOUT: &str = "SET statement_timeout = '30s'";

/// Nearly all that is asked for is asked for by keys. Without statistics, as of tables that were empty a minute ago, Postgres
/// would rather read the whole of them, and keep to that.
const PLANS: &str = "SET enable_seqscan TO off; SET enable_hashjoin TO off; SET enable_mergejoin TO off";

/// Postgres ends a writer that goes no further within a transaction: one that is paused or cut off must not keep the rows
/// of its partitions from whoever takes them over. Between two statements pass microseconds; a group of consumers waits
/// longer than this before it gives partitions away.
const ABANDONED: &str = "SET idle_in_transaction_session_timeout = '3s'";

/// How long a read waits for a connection.
const WAIT: Duration = Duration::from_secs(10);

/// Opens the pool; connects when first used.
pub(crate) fn open(config: &PostgresConfig) -> Result<ReadPool, StoreError> {
    let mut manager = ManagerConfig::default();
    manager.custom_setup = Box::new(|url| establish_reader(url.to_owned()).boxed());
    let manager = AsyncDieselConnectionManager::new_with_config(&config.url, manager);
    Pool::builder(manager)
        .max_size(usize::try_from(config.max_connections.max(1)).unwrap_or(usize::MAX))
        .build()
        .map_err(|source| StoreError::Connect { source: Box::new(source) })
}

/// Takes a connection from the pool.
pub(crate) async fn get(pool: &ReadPool) -> Result<PooledConnection, StoreError> {
    match tokio::time::timeout(WAIT, pool.get()).await {
        Ok(got) => got.map_err(|source| StoreError::Connect { source: Box::new(source) }),
        Err(elapsed) => Err(StoreError::Connect { source: Box::new(elapsed) }),
    }
}

/// Opens a connection outside the pool, for a writer.
pub(crate) async fn connect(url: &str) -> Result<AsyncPgConnection, StoreError> {
    let settings = format!("{PLANS}; {ABANDONED}");
    establish(url, &settings).await.map_err(|source| StoreError::Connect { source: Box::new(source) })
}

async fn establish_reader(url: String) -> Result<AsyncPgConnection, ConnectionError> {
    establish(&url, &format!("{PLANS}; {STATEMENT_TIMEOUT}")).await
}

async fn establish(url: &str, settings: &str) -> Result<AsyncPgConnection, ConnectionError> {
    let mut connection = AsyncPgConnection::establish(url).await?;
    connection.batch_execute(settings).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}
