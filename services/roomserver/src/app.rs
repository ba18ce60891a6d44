//! Constructs everything, once, in dependency order.

use std::{sync::Arc, time::Duration};

use plexus_log::Log;
use plexus_service::Config;
use plexus_sessions::SessionCache;
use tokio::{sync::Notify, task::AbortHandle};
use tracing::{info, warn};

use crate::{
    Deps, metrics, rpc,
    session_leases::SessionLeases,
    store::{
        self, StoreError,
        pool::{Pools, ReadPool},
        reads::state::NodeCache,
    },
    worker::{self, VerdictBoard},
};

/// What the RPCs share; cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// The event logs.
    pub(crate) log: Log,
    /// Connections for ordinary reads.
    pub(crate) pool: ReadPool,
    /// Connections for authentication.
    pub(crate) login_pool: ReadPool,
    /// Connections for searches and the like.
    pub(crate) search_pool: ReadPool,
    /// What this instance owns, how far it is, and who waits for it.
    pub(crate) verdicts: Arc<VerdictBoard>,
    /// Sessions by access token. A stale owner does not hear that it has been replaced, so they end by themselves too.
    pub(crate) sessions: SessionCache,
    /// Services that hold sessions of our users.
    pub(crate) session_leases: Arc<SessionLeases>,
    /// Told when rooms were deleted, whose rows are left.
    pub(crate) purged: Arc<Notify>,
    /// Told when something is to be done in all rooms of a user.
    pub(crate) member_jobs: Arc<Notify>,
    /// Nodes of state tries read lately.
    pub(crate) nodes: NodeCache,
}

/// A running room server.
#[derive(Clone)]
pub struct RoomServer {
    app: App,
    tasks: Vec<AbortHandle>,
}

/// Why a room server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error("the database at postgres.url cannot be used")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The logs cannot be used.
    #[error("the event logs cannot be used")]
    Log(#[from] plexus_log::LogError),
    /// There is no signing key.
    #[error("the signing key {} cannot be used", path.display())]
    SigningKey {
        /// Where it should be.
        path: std::path::PathBuf,
        /// Why it cannot be used.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server name is not one.
    #[error("server.name is not a server name")]
    ServerName(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread of the bulk lane cannot be started.
    #[error("no thread for the bulk lane: may the process have one more (ulimit -u, TasksMax of its unit)?")]
    BulkLane(#[source] std::io::Error),
    /// Told to stop before it had started.
    #[error("stopped before it had started")]
    Stopped,
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Database(Box::new(error))
    }
}

/// How long a session is held in memory.
const SESSION_TIME_TO_LIVE: Duration = Duration::from_secs(10);

pub(crate) async fn start(deps: Deps) -> Result<RoomServer, StartError> {
    metrics::describe();
    let Deps { config, log, shutdown } = deps;
    tokio::select! {
        migrated = migrate(&config.postgres.url) => migrated?,
        () = shutdown.requested() => return Err(StartError::Stopped),
    }
    log.create_topics().await?;
    let Pools { login: login_pool, reads: pool, search: search_pool } = store::pool::open(&config.postgres)?;
    let sessions = SessionCache::new(Some(SESSION_TIME_TO_LIVE));
    let session_leases = Arc::new(SessionLeases::default());
    let verdicts = Arc::new(VerdictBoard::new(advertised(&config)));
    let purged = Arc::new(Notify::new());
    let (member_jobs, nodes) = (Arc::default(), NodeCache::default());
    let app = App {
        config,
        log,
        pool,
        login_pool,
        search_pool,
        verdicts,
        sessions,
        session_leases,
        purged,
        member_jobs,
        nodes,
    };
    let tasks = worker::start(&app, &shutdown)?;
    Ok(RoomServer { app, tasks })
}

/// Migrates the database; waits for it while it is away.
async fn migrate(url: &str) -> Result<(), StoreError> {
    let mut pause = Duration::from_millis(250);
    loop {
        match store::migrate::run(url).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Connect { source }) if is_away(source.as_ref()) => {
                warn!(reason = %source, retry_in_ms = pause.as_millis(), "waiting for the database at postgres.url");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the database may yet come up. A refused password or a missing database will not mend itself, but whoever
/// operates the server may mend it meanwhile; only a failed migration is final.
fn is_away(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    source.downcast_ref::<diesel::ConnectionError>().is_some()
}

/// The address under which others reach this instance.
fn advertised(config: &Config) -> String {
    if config.roomserver.advertise.is_empty() {
        let listener = &config.roomserver.listen;
        let scheme = if listener.tls_certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", listener.address)
    } else {
        config.roomserver.advertise.clone()
    }
}

impl RoomServer {
    /// The services for other services: queries, streams, verdicts.
    #[must_use]
    pub fn routes(&self) -> tonic::service::Routes {
        rpc::routes(&self.app)
    }

    /// The services for operators.
    #[must_use]
    pub fn operator_routes(&self) -> tonic::service::Routes {
        rpc::operator_routes(&self.app)
    }

    /// Stops it on the spot, wherever it is, as a crash would. The orderly way is the `shutdown` it was started with.
    pub fn abort(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Whether it is at work: Postgres answers, and the group has told it what it owns (which may be nothing).
    pub async fn ready(&self) -> bool {
        if !self.app.verdicts.has_joined() {
            return false;
        }
        match store::pool::get(&self.app.login_pool).await {
            Ok(mut conn) => store::partitions::find(&mut conn, 0).await.is_ok(),
            Err(error) => {
                info!(reason = %error, "not ready: the database is away");
                false
            }
        }
    }
}
