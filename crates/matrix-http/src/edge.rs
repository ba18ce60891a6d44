//! Admits requests between a listener and the handlers: by address, by load, and by the bytes they hold.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use hyper::body::Body as _;
use plexus_service::{
    Config,
    http::{Client, Held, UnderWay},
};
use ruma::OwnedUserId;

use crate::{
    AuthedUser, Authenticator, ClientAddress, MatrixError, Policy, RateLimiter,
    auth::find_token,
    budget::{Budget, Spent},
    policy::{Access, Charge},
    rate_limit::network,
    turns::{Turn, Turns},
};

mod answer;

/// Bytes of one body, or answer, that are counted in all, but for nobody.
const SMALL: usize = 4 * 1024;

/// What the routes of a process share. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    authenticator: Authenticator,
    limits: RateLimiter,
    bodies: Budget,
    answers: Budget,
    reads: Turns,
    body_timeout: Duration,
    max_body: usize,
    accepts_query_token: bool,
    hasher: RandomState,
}

impl Edge {
    /// Makes the edge of a process, which serves all its routes.
    #[must_use]
    pub fn new(config: &Config, authenticator: Authenticator) -> Self {
        let http = &config.http;
        Self(Arc::new(Inner {
            authenticator,
            limits: RateLimiter::new(&config.rate_limits),
            bodies: Budget::new(http.body_bytes, http.body_bytes_per_user),
            answers: Budget::new(http.answer_bytes, http.answer_bytes_per_user),
            reads: Turns::new(http.expensive_reads_per_user, http.waiting_reads_per_user),
            body_timeout: Duration::from_secs(http.body_timeout_s),
            max_body: config.clientapi.max_body_bytes,
            accepts_query_token: config.clientapi.query_access_token,
            hasher: RandomState::new(),
        }))
    }

    /// The rate limits, for handlers that count themselves.
    #[must_use]
    pub fn limits(&self) -> &RateLimiter {
        &self.0.limits
    }

    /// Bytes of bodies and of answers that are under way.
    #[must_use]
    pub fn bytes_under_way(&self) -> (usize, usize) {
        (self.0.bodies.total(), self.0.answers.total())
    }

    /// Finds out whose an access token is that came in a body: `M_UNKNOWN_TOKEN` if it is nobody's.
    pub async fn authenticate(&self, token: &str) -> Result<AuthedUser, MatrixError> {
        self.0.authenticator.authenticate(token).await
    }

    /// Makes sure that the session of a request has not ended since the request was let in: for those that waited.
    pub async fn confirm(&self, user: &AuthedUser) -> Result<(), MatrixError> {
        self.0.authenticator.confirm(user).await
    }

    /// Counts a read that only its handler knows to be expensive, and waits for its turn.
    pub async fn expensive_read(&self, user: &AuthedUser, cost: u32) -> Result<Turn, MatrixError> {
        self.0.limits.check_read(&user.id, cost)?;
        let holder = self.holder(user.id.as_str());
        self.0.limits.check_served(holder)?;
        self.take_turn(holder).await
    }

    async fn take_turn(&self, holder: u64) -> Result<Turn, MatrixError> {
        if self.0.answers.is_spent() {
            return Err(MatrixError::busy());
        }
        self.0.reads.take(holder).await
    }

    fn holder(&self, name: impl Hash) -> u64 {
        self.0.hasher.hash_one(name)
    }

    /// Lets a request in: finds out whose it is, counts it, and has it wait for its turn. Its body is not looked at.
    pub(crate) async fn admit(
        &self,
        policy: Policy,
        request: Request,
    ) -> Result<(Request, Admitted), MatrixError> {
        let (mut parts, body) = request.into_parts();
        let client = parts.extensions.get::<Client>();
        let address = ClientAddress::of(client).0;
        let held = client.and_then(|client| client.held.clone());
        let under_way = match &held {
            Some(held) => Some(held.begin_request().ok_or_else(too_many)?),
            None => None,
        };
        let token = match policy.access {
            Access::Anybody => None,
            Access::User | Access::UserIfAny | Access::UserIfValid => {
                find_token(&parts, self.0.accepts_query_token)
            }
        };
        let user = match token {
            Some(token) => match self.0.authenticator.authenticate_from(&token, address).await {
                Ok(user) => Some(user),
                Err(_) if policy.access == Access::UserIfValid => None,
                Err(error) => return Err(error),
            },
            None if policy.access == Access::User => return Err(MatrixError::missing_token()),
            None => None,
        };
        let limits = &self.0.limits;
        match (policy.charge, &user) {
            (Charge::Read(cost), Some(user)) => limits.check_read(&user.id, cost)?,
            (Charge::Read(cost), None) => limits.check_open_read(address, cost)?,
            (Charge::User(limit), Some(user)) => limits.check(limit, &user.id)?,
            (Charge::User(_), None) | (Charge::Nothing, _) => {}
            (Charge::Login, _) => limits.check_login(address)?,
        }
        let holder = match &user {
            Some(user) => self.holder(user.id.as_str()),
            None => self.holder(network(address)),
        };
        if matches!(policy.charge, Charge::Read(_)) {
            limits.check_served(holder)?;
        }
        // Reads may have bodies, too; these are not kept.
        let writer = match policy.charge {
            Charge::User(_) | Charge::Nothing => user.as_ref().map(|user| user.id.clone()),
            Charge::Read(_) | Charge::Login => None,
        };
        let turn = if policy.expensive { Some(self.take_turn(holder).await?) } else { None };
        let bodies = (!body.is_end_stream()).then(|| {
            let max = policy.max_body.unwrap_or(self.0.max_body);
            Intake {
                max,
                timeout: self.0.body_timeout,
                writer,
                hold: Arc::new(BodyHold { edge: self.clone(), holder, held, bytes: AtomicUsize::new(0) }),
            }
        });
        if let Some(user) = user {
            parts.extensions.insert(user);
        }
        if let Some(intake) = &bodies {
            parts.extensions.insert(intake.clone());
        }
        let admitted = Admitted { edge: self.clone(), holder, turn, _bodies: bodies, _under_way: under_way };
        Ok((Request::from_parts(parts, body), admitted))
    }
}

fn too_many() -> MatrixError {
    MatrixError::limit_exceeded(Duration::from_secs(1))
}

fn refusal(spent: Spent) -> MatrixError {
    match spent {
        Spent::InAll => MatrixError::busy(),
        Spent::OfHolder => too_many(),
    }
}

/// A request that was let in, until it is answered.
pub(crate) struct Admitted {
    edge: Edge,
    holder: u64,
    turn: Option<Turn>,
    _bodies: Option<Intake>,
    _under_way: Option<UnderWay>,
}

impl Admitted {
    /// Counts the answer until it was handed out. The turn lasts as long if the answer is still being read.
    pub(crate) fn answer(self, response: Response) -> Response {
        let length =
            response.body().size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        match length {
            Some(length) if length <= SMALL => response,
            Some(length) => match answer::hold(&self.edge, self.holder, length) {
                Ok(held) => {
                    self.edge.0.limits.count_served(self.holder, length);
                    response.map(|body| Body::new(answer::Counted::new(body, held)))
                }
                Err(spent) => refusal(spent).into_response(),
            },
            None => {
                let served = answer::Served::new(&self.edge, self.holder);
                response.map(|body| Body::new(answer::Counted::new(body, (self.turn, served))))
            }
        }
    }
}

/// How a body may be read.
#[derive(Clone)]
pub(crate) struct Intake {
    /// Most bytes.
    pub(crate) max: usize,
    /// How long it may take to begin with.
    pub(crate) timeout: Duration,
    /// Who writes it, if it is kept.
    writer: Option<OwnedUserId>,
    hold: Arc<BodyHold>,
}

impl Intake {
    /// Counts bytes that were read, until the request is answered.
    pub(crate) fn add(&self, bytes: usize) -> Result<(), MatrixError> {
        self.hold.add(bytes)
    }

    /// Counts a body that was read as a whole against what its user may write.
    pub(crate) fn finish(&self, bytes: usize) -> Result<(), MatrixError> {
        match &self.writer {
            Some(user) => self.hold.edge.0.limits.check_written(user, bytes),
            None => Ok(()),
        }
    }
}

/// Bytes of a body: in all and by address, and by holder once they are many.
struct BodyHold {
    edge: Edge,
    holder: u64,
    held: Option<Arc<Held>>,
    bytes: AtomicUsize,
}

impl BodyHold {
    fn add(&self, bytes: usize) -> Result<(), MatrixError> {
        let budget = &self.edge.0.bodies;
        let own = self.bytes.load(Ordering::Relaxed);
        budget.add(bytes, own).map_err(refusal)?;
        if self.held.as_ref().is_some_and(|held| !held.add_body(bytes)) {
            budget.remove(bytes);
            return Err(too_many());
        }
        let sum = own + bytes;
        let counted = if own > SMALL { own } else { 0 };
        if sum > SMALL && budget.add_to(self.holder, sum - counted, counted).is_err() {
            budget.remove(bytes);
            if let Some(held) = &self.held {
                held.remove_body(bytes);
            }
            return Err(too_many());
        }
        self.bytes.store(sum, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for BodyHold {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        if bytes == 0 {
            return;
        }
        self.edge.0.bodies.remove(bytes);
        if let Some(held) = &self.held {
            held.remove_body(bytes);
        }
        if bytes > SMALL {
            self.edge.0.bodies.remove_from(self.holder, bytes);
        }
    }
}

#[cfg(test)]
mod tests;
