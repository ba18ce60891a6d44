//! What a client asks.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use plexus_matrix_http::{AuthedUser, MatrixError, token::SyncToken};
use serde::Deserialize;

use super::filter::Filter;
use crate::{SyncService, limits};

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
}

impl Query {
    /// Asks for what happened since a token, as far as a filter wants it.
    pub(super) fn plain(filter: &str, since: Option<String>, timeout: u64) -> Self {
        Self { filter: Some(filter.to_owned()), since, timeout: Some(timeout), ..Self::default() }
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

/// A request that makes sense.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) user: AuthedUser,
    pub(crate) since: Option<SyncToken>,
    pub(crate) full_state: bool,
    pub(crate) timeout: Duration,
    pub(crate) state_after: StateAfter,
    pub(crate) filter: Arc<Filter>,
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
    pub(crate) async fn read(
        service: &SyncService,
        user: &AuthedUser,
        query: Query,
    ) -> Result<Self, MatrixError> {
        let since = match query.since.as_deref() {
            Some(token) => Some(token.parse::<SyncToken>().map_err(|_| {
                MatrixError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN_POS", "Unknown `since` token")
            })?),
            None => None,
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
        let timeout = if since.is_none() || query.full_state { Duration::ZERO } else { timeout };
        Ok(Self { user: user.clone(), since, full_state: query.full_state, timeout, state_after, filter })
    }
}
