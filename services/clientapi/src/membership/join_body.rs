//! The body of a request to join a room.

use axum::extract::{FromRequest, Request};
use plexus_matrix_http::{JsonObject, MatrixError, RawBody};
use ruma::api::client::membership::ThirdPartySigned;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a client says when it joins. An empty body is `{}`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct JoinBody {
    /// Why.
    pub(crate) reason: Option<String>,
    /// Proof of an invite by a third party.
    pub(crate) third_party_signed: Option<ThirdPartySigned>,
    /// Everything else. The specification does not know it; clients rely on finding it in their member event.
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

impl JoinBody {
    fn parse(body: &[u8]) -> Result<Self, MatrixError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(JsonObject::parse(body)?.get())
            .map_err(|error| MatrixError::bad_json(format!("The request body does not fit: {error}")))
    }
}

impl<S: Send + Sync> FromRequest<S> for JoinBody {
    type Rejection = MatrixError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        Self::parse(&RawBody::from_request(request, state).await?.0)
    }
}
