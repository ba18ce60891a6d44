//! Brings the schema, and what is stored, up to date at start.

use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::{StoreError, backfill, pool};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// Only one instance migrates at a time: the number of the advisory lock, "plexus" in ASCII.
const LOCK: &str = "SELECT pg_advisory_lock(123625377494387)";

/// Runs the migrations that have not run yet. Other instances that start meanwhile wait for it.
pub(crate) async fn run(url: &str) -> Result<(), StoreError> {
    let mut connection = pool::connect(url).await?;
    connection.batch_execute(LOCK).await.map_err(StoreError::query("migrate.lock"))?;
    // Migrations run on Diesel's blocking interface, which may not be driven from a task of the runtime.
    // The lock goes with the connection.
    let handle = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        let _runtime = handle.enter();
        apply(connection)
    });
    match done.await {
        Ok(result) => backfill::run(&mut result?).await,
        Err(failure) => Err(StoreError::Connect { source: Box::new(failure) }),
    }
}

fn apply(connection: AsyncPgConnection) -> Result<AsyncPgConnection, StoreError> {
    let mut harness = AsyncMigrationHarness::new(connection);
    let versions =
        harness.run_pending_migrations(MIGRATIONS).map_err(|source| StoreError::Connect { source })?;
    if let (Some(from), Some(to)) = (versions.first(), versions.last()) {
        tracing::info!(%from, %to, migrations = versions.len(), "migrated the database");
    }
    Ok(harness.into_inner())
}
