//! Finds out which server makes a request: the header, then its rate, then its key, then the signature.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#request-authentication)
//!
//! What costs us something comes after what costs less. The rate of a server is counted once it is known to be that
//! server: whoever could count for others could silence them. Before that, failures count by address.

use axum::{
    extract::{FromRequest, FromRequestParts as _, Request},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use plexus_matrix_http::{ClientAddress, MatrixError, RawBody, network};
use plexus_s2s::{
    Purpose,
    authorization::{Authorization, Signed as SignedRequest},
    keys::KeyError,
};
use ruma::OwnedServerName;
use tracing::debug;

use super::quota::{CostClass, Turn};
use crate::{Federation, metrics};

/// Most headers of a request: one for each key that a server has.
const MAX_HEADERS: usize = 8;

/// A request that a server has signed. Its class says what it costs, and how many of its kind may be under way.
pub(crate) struct Signed<C> {
    /// The server.
    pub(crate) origin: OwnedServerName,
    /// The body; empty if there is none.
    pub(crate) body: Bytes,
    /// Held until the request is answered.
    _turn: Turn<C>,
}

impl<C: CostClass> FromRequest<Federation> for Signed<C> {
    type Rejection = Response;

    async fn from_request(request: Request, federation: &Federation) -> Result<Self, Response> {
        authenticate(request, federation).await.map_err(|error| error.into_response())
    }
}

async fn authenticate<C: CostClass>(
    request: Request,
    federation: &Federation,
) -> Result<Signed<C>, MatrixError> {
    let (mut parts, body) = request.into_parts();
    let Ok(ClientAddress(address)) = ClientAddress::from_request_parts(&mut parts, &()).await;
    // Loopback is a reverse proxy that does not tell whom it speaks for: all servers would pay for one.
    let address = (!address.is_loopback()).then(|| network(address));
    let quotas = &federation.quotas;
    if let Some(address) = address {
        quotas.failures.peek(address).map_err(|after| {
            metrics::refused("address");
            MatrixError::limit_exceeded(after)
        })?;
    }
    let fail = |reason: &'static str, error: MatrixError| {
        metrics::refused(reason);
        if let Some(address) = address {
            quotas.failures.force(address);
        }
        error
    };
    let claims = read(&parts.headers, federation).map_err(|why| fail("header", unauthorized(why)))?;
    let uri = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let method = parts.method.clone();
    let RawBody(body) = RawBody::from_request(Request::from_parts(parts, body), federation).await?;

    let origin = claims[0].origin.clone();
    let signed = SignedRequest {
        method: method.as_str(),
        uri: &uri,
        origin: &origin,
        destination: &federation.name,
        content: (!body.is_empty()).then_some(&body[..]),
    };
    // What is signed is made once, however many signatures there are.
    let bytes = signed.bytes().map_err(|error| {
        metrics::refused("body");
        MatrixError::not_json(format!("The request body is no JSON object: {}", error.detail()))
    })?;
    verify(federation, &claims, &bytes).await.map_err(|refusal| match refusal {
        Refusal::Server(why) => fail("signature", unauthorized(why)),
        Refusal::Ours(error) => {
            metrics::refused("key");
            error
        }
    })?;
    if federation.blocks.has_server(origin.as_str()) {
        metrics::refused("blocked");
        return Err(MatrixError::forbidden("An operator of this server has blocked the server"));
    }
    quotas.origins.take(origin.as_str(), C::COST).map_err(|after| {
        metrics::refused("rate");
        MatrixError::limit_exceeded(after)
    })?;
    federation.peers.health().succeed(&origin);
    federation.contacts.heard_from(&origin);
    let turn = quotas.take::<C>().await?;
    Ok(Signed { origin, body, _turn: turn })
}

/// Why a request is not let in.
enum Refusal {
    /// Its signature is none.
    Server(&'static str),
    /// We cannot tell.
    Ours(MatrixError),
}

/// Reads the headers: at least one, all of one server, and for us.
fn read(headers: &HeaderMap, federation: &Federation) -> Result<Vec<Authorization>, &'static str> {
    let mut claims: Vec<Authorization> = Vec::new();
    for value in headers.get_all(header::AUTHORIZATION) {
        let claim = Authorization::parse(value.as_bytes()).map_err(|error| {
            debug!(%error, "a request is signed in a way that cannot be read");
            "The Authorization header is malformed"
        })?;
        if claim.destination.as_ref().is_some_and(|destination| *destination != federation.name) {
            return Err("The request is meant for another server");
        }
        if claims.first().is_some_and(|first| first.origin != claim.origin) || claims.len() >= MAX_HEADERS {
            return Err("The Authorization headers do not go together");
        }
        claims.push(claim);
    }
    match claims.first() {
        None => Err("Missing Authorization header"),
        Some(claim) if claim.origin == federation.name => Err("The request claims to be from this server"),
        Some(_) => Ok(claims),
    }
}

/// Every signature by a key that is known must be right, and one is needed.
async fn verify(federation: &Federation, claims: &[Authorization], bytes: &[u8]) -> Result<(), Refusal> {
    let mut verified = false;
    let mut failure = Refusal::Server("The request is not signed with a key of its server");
    for claim in claims.iter().filter(|claim| claim.key_id.starts_with("ed25519:")) {
        match federation.keys.find(&claim.origin, &claim.key_id, Purpose::Request).await {
            Ok(key) if plexus_events::verify::is_signed(bytes, &claim.signature, &key) => verified = true,
            Ok(_) => return Err(Refusal::Server("The signature of the request is wrong")),
            Err(error) => {
                debug!(origin = %claim.origin, key_id = claim.key_id, %error, "no key for a request");
                match error {
                    KeyError::NotValid | KeyError::Banned => {}
                    KeyError::Unavailable(_) => {
                        failure = Refusal::Server("The keys of the server cannot be had");
                    }
                    KeyError::Busy => failure = Refusal::Ours(MatrixError::busy()),
                    KeyError::Store(_) => failure = Refusal::Ours(MatrixError::internal()),
                }
            }
        }
    }
    if verified { Ok(()) } else { Err(failure) }
}

fn unauthorized(why: &'static str) -> MatrixError {
    MatrixError::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", why)
}
