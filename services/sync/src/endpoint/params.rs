//! Parameters of `/sync`.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use plexus_log::partition_of;
use plexus_matrix_http::{AuthedUser, MatrixError, token::SyncToken};
use serde::Deserialize;
use tokio::time::Instant;

use super::filter::Filter;
use crate::{SyncService, limits, positions::Vector};

/// The query string.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Query {
    filter: Option<String>,
    since: Option<String>,
    #[serde(default)]
    full_state: bool,
    set_presence: Option<Presence>,
    timeout: Option<u64>,
    #[serde(default)]
    use_state_after: bool,
    #[serde(default, rename = "org.matrix.msc4222.use_state_after")]
    use_state_after_unstable: bool,
    /// Only `/sync` itself tells messages to devices, and takes them to have arrived.
    #[serde(skip)]
    is_plain: bool,
}

impl Query {
    /// Asks for what happened since a token, as far as a filter wants it.
    pub(super) fn plain(filter: &str, since: Option<String>, timeout: u64) -> Self {
        let timeout = Some(timeout);
        Self { filter: Some(filter.to_owned()), since, timeout, is_plain: true, ..Self::default() }
    }
}

/// Accepted, and without effect: there is no presence yet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Presence {
    Online,
    Offline,
    Unavailable,
}

/// What a client knows, as far as that tells anything.
pub(super) enum Since {
    Nothing,
    Position(Box<SyncToken>),
    /// Positions that are none here: of another generation of the database, or beyond all that was committed in this one.
    Elsewhere,
}

impl Since {
    /// Reads a token. Only one that no Plexus ever made is refused: clients repeat a token that is refused for ever.
    async fn read(
        service: &SyncService,
        user: &AuthedUser,
        token: Option<&str>,
    ) -> Result<Self, MatrixError> {
        let Some(token) = token else { return Ok(Self::Nothing) };
        let token = token.parse::<SyncToken>().map_err(|_| {
            MatrixError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN_POS", "Unknown `since` token")
        })?;
        Ok(Self::of(service, user, token).await)
    }

    /// Finds out what a token tells.
    pub(super) async fn of(service: &SyncService, user: &AuthedUser, token: SyncToken) -> Self {
        if !service.positions.is_of_generation(&token) {
            return Self::Elsewhere;
        }
        // Messages may have been delivered that this process has not heard of.
        let mut reached = token;
        let partition = usize::try_from(partition_of(user.id.as_str())).unwrap_or_default();
        if let Some(position) = reached.users.get_mut(partition) {
            *position = (*position).max(token.delivered_to(&user.id, &user.device_id));
        }
        // Another process gave the token out and had read further. What it has told is not told again in any case.
        let is_here = service.positions.reach(&reached, limits::CATCH_UP).await
            || !is_beyond_heads(service, &reached).await;
        // Whoever is that far knows the generation.
        if is_here && service.positions.is_of_generation(&token) {
            return Self::Position(Box::new(token));
        }
        Self::Elsewhere
    }
}

/// Whether a token tells of more than was ever committed.
async fn is_beyond_heads(service: &SyncService, token: &SyncToken) -> bool {
    let heads = tokio::try_join!(service.upstream.room_heads(), service.upstream.user_heads());
    let Ok(((rooms, _), users)) = heads else { return false };
    let is_beyond =
        |token: &Vector, heads: &Vector| token.iter().zip(heads).any(|(token, head)| token > head);
    is_beyond(&token.rooms, &rooms) || is_beyond(&token.users, &users)
}

/// A request that makes sense.
#[derive(Debug)]
pub(crate) struct Request {
    /// When it came: reading its token may take a while.
    pub(crate) came: Instant,
    pub(crate) user: AuthedUser,
    pub(crate) since: Option<SyncToken>,
    pub(crate) full_state: bool,
    pub(crate) timeout: Duration,
    pub(crate) state_after: StateAfter,
    pub(crate) filter: Arc<Filter>,
    /// Up to where messages have been delivered to the device, by the token; `None` if none are asked for.
    pub(crate) inbox: Option<u64>,
}

/// Where the client wants the state to be told up to, and under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateAfter {
    /// Up to the start of the timeline.
    No,
    /// Up to its end.
    Stable,
    /// Up to its end, by the name it had before it was specified.
    Unstable,
}

impl Request {
    /// What is wanted of a room by sliding sync: so many events, and the state after them.
    pub(super) fn of_room(user: &AuthedUser, came: Instant, limit: u16) -> Result<Self, MatrixError> {
        let filter = format!(r#"{{"room":{{"timeline":{{"limit":{limit}}}}}}}"#);
        Ok(Self {
            came,
            user: user.clone(),
            since: None,
            full_state: false,
            timeout: Duration::ZERO,
            state_after: StateAfter::Stable,
            inbox: None,
            filter: Arc::new(Filter::parse(filter.as_bytes())?),
        })
    }

    pub(crate) async fn read(
        service: &SyncService,
        user: &AuthedUser,
        query: Query,
    ) -> Result<Self, MatrixError> {
        let came = Instant::now();
        let (since, full_state) = match Since::read(service, user, query.since.as_deref()).await? {
            Since::Nothing => (None, query.full_state),
            Since::Position(token) => (Some(*token), query.full_state),
            // Whatever there is, as if nothing of it had been told: all state, timelines that do not go on from what the
            // client has, and rooms that were left.
            Since::Elsewhere => (Some(SyncToken::default()), true),
        };
        match query.set_presence {
            Some(Presence::Online | Presence::Offline | Presence::Unavailable) | None => {}
        }
        let filter = service.filters.get(service, &user.id, query.filter.as_deref()).await?;
        let timeout = Duration::from_millis(query.timeout.unwrap_or(0)).min(limits::MAX_POLL);
        let state_after = match (query.use_state_after, query.use_state_after_unstable) {
            (true, _) => StateAfter::Stable,
            (false, true) => StateAfter::Unstable,
            (false, false) => StateAfter::No,
        };
        // A client that begins, or that wants everything, does not wait for more.
        let delivered = |token: &SyncToken| token.delivered_to(&user.id, &user.device_id);
        let inbox = (!query.is_plain).then(|| since.as_ref().map_or(0, delivered));
        let timeout = if since.is_none() || full_state { Duration::ZERO } else { timeout };
        Ok(Self { came, user: user.clone(), since, full_state, timeout, state_after, filter, inbox })
    }
}
