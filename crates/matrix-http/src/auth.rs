//! Whose request it is.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use http::{header, request::Parts};
use plexus_proto::{
    common::v1::ErrorReason,
    user::v1::{AuthenticateRequest, user_query_service_client::UserQueryServiceClient},
};
use plexus_service::{RoomServers, RpcChannel, Shutdown, refusal::reason_of};
use plexus_sessions::{Session, SessionCache, TokenHash};
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use sha2::{Digest as _, Sha256};

use crate::MatrixError;

/// How long a session is held at most: then the room server hears that the device is in use.
const HOLD: Duration = Duration::from_secs(60 * 60);

/// Asks the room server whose access token it is.
#[derive(Debug, Clone)]
pub struct Authenticator {
    users: UserQueryServiceClient<RpcChannel>,
    /// What is held of its answers.
    held: Option<SessionCache>,
}

impl Authenticator {
    /// Asks over this channel, for every request: the room server holds sessions.
    #[must_use]
    pub fn new(users: RpcChannel) -> Self {
        Self { users: UserQueryServiceClient::new(users), held: None }
    }

    /// Holds sessions by leases from the room servers until the process stops, and asks any of them for others.
    #[must_use]
    pub fn leasing(rooms: RoomServers, shutdown: &Shutdown) -> Self {
        let cache = SessionCache::new(Some(HOLD));
        plexus_sessions::keep_leases(&cache, rooms.each, shutdown);
        Self { users: UserQueryServiceClient::new(rooms.any), held: Some(cache) }
    }

    /// Finds the session of an access token.
    pub async fn authenticate(&self, token: &str) -> Result<AuthedUser, MatrixError> {
        self.authenticate_hash(hash_token(token), None).await
    }

    /// Finds the session of an access token that came from an address: the user is shown where their devices were seen.
    pub(crate) async fn authenticate_from(
        &self,
        token: &str,
        from: IpAddr,
    ) -> Result<AuthedUser, MatrixError> {
        self.authenticate_hash(hash_token(token), Some(from)).await
    }

    /// Makes sure that the session of a request has not ended since the request began: for those that waited.
    pub async fn confirm(&self, user: &AuthedUser) -> Result<(), MatrixError> {
        self.authenticate_hash(user.token_hash, None).await.map(drop)
    }

    async fn authenticate_hash(
        &self,
        token_hash: TokenHash,
        from: Option<IpAddr>,
    ) -> Result<AuthedUser, MatrixError> {
        let held = self.held.as_ref().and_then(|held| held.find(&token_hash));
        let session = match held.filter(|session| !session.has_expired()) {
            Some(session) => session,
            None => self.ask(token_hash, from).await?,
        };
        let id = UserId::parse(&session.user_id).map_err(|error| {
            tracing::error!(%error, user.id = session.user_id, "session of an invalid user ID");
            MatrixError::internal()
        })?;
        Ok(AuthedUser {
            id,
            device_id: session.device_id.as_str().into(),
            token_hash,
            guest: session.guest,
            admin: session.admin,
        })
    }

    /// Asks the room server, and holds what it says.
    async fn ask(&self, token_hash: TokenHash, from: Option<IpAddr>) -> Result<Arc<Session>, MatrixError> {
        let ticket = self.held.as_ref().filter(|held| held.holds_any()).map(SessionCache::ticket);
        let access_token_hash = token_hash.to_vec().into();
        let request = AuthenticateRequest {
            access_token_hash,
            fresh: ticket.is_some(),
            ip: from.map(|from| from.to_canonical().to_string()).unwrap_or_default(),
        };
        let answer = match self.users.clone().authenticate(request).await {
            Ok(response) => response.into_inner(),
            // A token of a deactivated account is a token that is no longer valid.
            Err(status) if reason_of(&status) == Some(ErrorReason::UserDeactivated) => {
                return Err(MatrixError::unknown_token(false));
            }
            Err(status) => return Err(status.into()),
        };
        let session = Arc::new(Session {
            user_id: answer.user_id,
            device_id: answer.device_id,
            guest: answer.guest,
            admin: answer.admin,
            expires_ts: answer.expires_ts,
        });
        if let (Some(held), Some(ticket), true) = (&self.held, ticket, answer.may_hold) {
            held.insert(ticket, token_hash, Arc::clone(&session));
        }
        Ok(session)
    }
}

/// The user and device whose access token came with the request; without one, the request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthedUser {
    /// User ID.
    pub id: OwnedUserId,
    /// Device ID.
    pub device_id: OwnedDeviceId,
    /// SHA-256 of the access token.
    pub token_hash: [u8; 32],
    /// Whether the account is a guest.
    pub guest: bool,
    /// Whether the account is a server administrator.
    pub admin: bool,
}

impl AuthedUser {
    /// Refuses guests.
    pub fn not_guest(&self) -> Result<(), MatrixError> {
        if self.guest {
            return Err(MatrixError::new(
                http::StatusCode::FORBIDDEN,
                "M_GUEST_ACCESS_FORBIDDEN",
                "Guests may not do this",
            ));
        }
        Ok(())
    }
}

/// Takes the user whom the [`Policy`](crate::Policy) of the route has let in.
impl<S: Send + Sync> FromRequestParts<S> for AuthedUser {
    type Rejection = MatrixError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.remove::<Self>().ok_or_else(MatrixError::missing_token)
    }
}

/// The user whose access token came with the request, if one came; a wrong one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionalUser(pub Option<AuthedUser>);

impl<S: Send + Sync> FromRequestParts<S> for OptionalUser {
    type Rejection = MatrixError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.remove::<AuthedUser>()))
    }
}

/// Returns the SHA-256 of a token: all that leaves the process that made or received it.
#[must_use]
pub fn hash_token(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Finds the access token of a request. The header goes first; the query is what old clients use.
pub(crate) fn find_token(parts: &Parts, accepts_query: bool) -> Option<Cow<'_, str>> {
    let from_header = parts.headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Cow::Borrowed(token.trim()))
    });
    let token = from_header.or_else(|| {
        let query = parts.uri.query().filter(|_| accepts_query)?;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(key, value)| (key == "access_token").then_some(value))
    })?;
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(accepts_query: bool, uri: &str, header: Option<&str>) -> Option<String> {
        let mut request = http::Request::get(uri);
        if let Some(value) = header {
            request = request.header(header::AUTHORIZATION, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        find_token(&parts, accepts_query).map(Cow::into_owned)
    }

    #[test]
    fn tokens_in_the_query_are_taken_unless_they_are_turned_off() {
        assert_eq!(token(true, "/sync?access_token=old", None).as_deref(), Some("old"));
        assert_eq!(token(false, "/sync?access_token=old", None), None);
        for accepts_query in [true, false] {
            let found = token(accepts_query, "/sync?access_token=old", Some("Bearer new"));
            assert_eq!(found.as_deref(), Some("new"));
            assert_eq!(token(accepts_query, "/sync", Some("Basic new")), None);
        }
    }
}
