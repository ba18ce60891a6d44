//! Finds the client's address of a request.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

use axum::extract::FromRequestParts;
use http::request::Parts;
use plexus_service::http::Client;

/// The address of the client, for rate limits: what the listener left as [`Client`], which takes trusted reverse
/// proxies into account. Without a listener (in tests) it is 0.0.0.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    pub(crate) fn of(client: Option<&Client>) -> Self {
        Self(client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.address.ip().to_canonical()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts.extensions.get::<Client>()))
    }
}
