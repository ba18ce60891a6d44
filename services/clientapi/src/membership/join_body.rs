//! The body of a request to join a room.

use axum::extract::{FromRequest, Request};
use plexus_matrix_http::{Json, MatrixError, RawBody};
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a client says when it joins. An empty body is `{}`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct JoinBody {
    /// Why.
    pub(crate) reason: Option<String>,
    /// Proof that an invite by a third-party identifier is for the user.
    pub(crate) third_party_signed: Option<ThirdPartySigned>,
    /// Everything else. The specification does not know it; clients rely on finding it in their member event.
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// What an identity server has signed for whom a third-party identifier belongs to.
#[derive(Debug, Deserialize)]
pub(crate) struct ThirdPartySigned {
    /// Who sent the invite.
    pub(crate) sender: OwnedUserId,
    /// Whom it is for.
    pub(crate) mxid: OwnedUserId,
    /// State key of the `m.room.third_party_invite`.
    pub(crate) token: String,
    /// Signatures, and what else is signed: it must stay as it is.
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

impl ThirdPartySigned {
    /// As it was signed.
    pub(crate) fn to_json(&self) -> Value {
        let Self { sender, mxid, token, rest } = self;
        let mut signed = rest.clone();
        for (key, value) in [("sender", sender.as_str()), ("mxid", mxid.as_str()), ("token", token)] {
            signed.insert(key.to_owned(), Value::from(value));
        }
        Value::Object(signed)
    }
}

impl JoinBody {
    fn parse(body: &[u8]) -> Result<Self, MatrixError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        Json::parse(body).map(|body| body.0)
    }
}

impl<S: Send + Sync> FromRequest<S> for JoinBody {
    type Rejection = MatrixError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        Self::parse(&RawBody::from_request(request, state).await?.0)
    }
}
