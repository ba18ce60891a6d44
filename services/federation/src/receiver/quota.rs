//! Limits requests of other servers under way: by class, so that a flood of one kind does not delay another, and by server.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use plexus_matrix_http::{Buckets, MatrixError};
use plexus_service::config::RateLimit;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::metrics;

/// Failures of authentication of one address.
const FAILURES: RateLimit = RateLimit { per_second: 5.0, burst: 100 };

/// Invites of one user of ours, whoever sends them.
const INVITES: RateLimit = RateLimit { per_second: 0.05, burst: 50 };

/// One-time keys of one user of ours that one server claims.
const CLAIMS: (u32, u32) = (2, 500);
/// Invites of one server, whoever is invited.
const INVITES_OF_SERVER: RateLimit = RateLimit { per_second: 1.0, burst: 300 };

/// A kind of request.
pub(crate) trait CostClass: Send + Sync + 'static {
    /// Requests of the rate of a server that one takes.
    const COST: u32;
    /// Requests at a time.
    const AT_ONCE: usize;
    /// How long one more waits for its turn.
    const PATIENCE: Duration;
    /// Where its turns are.
    fn turns(quotas: &Quotas) -> &Arc<Semaphore>;
}

/// Transactions, which wait for each other by themselves.
pub(crate) struct Live;
/// Events and states of rooms.
pub(crate) struct Graph;
/// Questions about what lies in a table.
pub(crate) struct Query;
/// Keys of other servers, which have to be fetched.
pub(crate) struct Keys;
/// Media, which is handed out piece by piece.
pub(crate) struct Media;
/// Users who come and go: they are awaited in the room, and a join is answered with its state.
pub(crate) struct Membership;

impl CostClass for Live {
    const COST: u32 = 1;
    const AT_ONCE: usize = 1_000;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn turns(quotas: &Quotas) -> &Arc<Semaphore> {
        &quotas.live
    }
}

impl CostClass for Graph {
    const COST: u32 = 5;
    const AT_ONCE: usize = 16;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn turns(quotas: &Quotas) -> &Arc<Semaphore> {
        &quotas.graph
    }
}

impl CostClass for Query {
    const COST: u32 = 1;
    const AT_ONCE: usize = 64;
    const PATIENCE: Duration = Duration::from_secs(5);

    fn turns(quotas: &Quotas) -> &Arc<Semaphore> {
        &quotas.query
    }
}

impl CostClass for Membership {
    const COST: u32 = 5;
    const AT_ONCE: usize = 16;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn turns(quotas: &Quotas) -> &Arc<Semaphore> {
        &quotas.membership
    }
}

impl CostClass for Media {
    const COST: u32 = 2;
    const AT_ONCE: usize = 100;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn turns(quotas: &Quotas) -> &Arc<Semaphore> {
        &quotas.media
    }
}

impl CostClass for Keys {
    const COST: u32 = 1;
    const AT_ONCE: usize = 16;
    const PATIENCE: Duration = Duration::from_secs(5);

    fn turns(quotas: &Quotas) -> &Arc<Semaphore> {
        &quotas.keys
    }
}

/// What may be under way.
pub(crate) struct Quotas {
    /// Requests, by server.
    pub(crate) origins: Buckets,
    /// Failures of authentication, by address.
    pub(crate) failures: Buckets,
    live: Arc<Semaphore>,
    /// Invites, by who is invited.
    pub(crate) invites: Buckets,
    /// One-time keys that are claimed, by server and owner.
    pub(crate) claims: Buckets,
    /// Invites, by the server that sends them.
    pub(crate) invites_of: Buckets,
    graph: Arc<Semaphore>,
    query: Arc<Semaphore>,
    keys: Arc<Semaphore>,
    membership: Arc<Semaphore>,
    media: Arc<Semaphore>,
}

/// The right to be under way.
pub(crate) struct Turn<C> {
    _permit: OwnedSemaphorePermit,
    _class: PhantomData<C>,
}

impl Quotas {
    /// Nothing is under way.
    pub(crate) fn new(origin_rate: RateLimit) -> Self {
        let turns = |at_once| Arc::new(Semaphore::new(at_once));
        Self {
            origins: Buckets::new(origin_rate),
            failures: Buckets::new(FAILURES),
            live: turns(Live::AT_ONCE),
            invites: Buckets::new(INVITES),
            claims: Buckets::new(RateLimit { per_second: f64::from(CLAIMS.0), burst: CLAIMS.1 }),
            invites_of: Buckets::new(INVITES_OF_SERVER),
            graph: turns(Graph::AT_ONCE),
            query: turns(Query::AT_ONCE),
            keys: turns(Keys::AT_ONCE),
            membership: turns(Membership::AT_ONCE),
            media: turns(Media::AT_ONCE),
        }
    }

    /// Waits for a turn.
    pub(crate) async fn take<C: CostClass>(&self) -> Result<Turn<C>, MatrixError> {
        match timeout(C::PATIENCE, Arc::clone(C::turns(self)).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit, _class: PhantomData }),
            Ok(Err(_)) | Err(_) => {
                metrics::refused("turn");
                Err(MatrixError::limit_exceeded(C::PATIENCE))
            }
        }
    }
}
