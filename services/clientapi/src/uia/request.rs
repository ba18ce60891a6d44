//! The request: parameters, and perhaps `auth`.

use axum::extract::{FromRequest, Request};
use plexus_matrix_http::{Json, MatrixError, RawBody};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The body of a request that needs user-interactive authentication. An empty one is `{}`.
#[derive(Debug, Clone, Default)]
pub(crate) struct InteractiveRequest {
    /// `auth`, if it is there.
    pub(crate) auth: Option<Auth>,
    /// Everything else.
    pub(crate) params: Map<String, Value>,
}

/// `auth`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Auth {
    /// `type`.
    pub(crate) stage: Option<String>,
    /// `session`.
    pub(crate) session: Option<String>,
    /// All of it.
    pub(crate) data: Map<String, Value>,
}

impl InteractiveRequest {
    /// Splits a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, MatrixError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let Json(mut params) = Json::<Map<String, Value>>::parse(body)?;
        let auth = match params.remove("auth") {
            None | Some(Value::Null) => None,
            Some(Value::Object(data)) => {
                Some(Auth { stage: text(&data, "type")?, session: text(&data, "session")?, data })
            }
            Some(_) => return Err(MatrixError::bad_json("`auth` must be an object")),
        };
        Ok(Self { auth, params })
    }
}

impl<S: Send + Sync> FromRequest<S> for InteractiveRequest {
    type Rejection = MatrixError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        Self::parse(&RawBody::from_request(request, state).await?.0)
    }
}

/// Reads parameters into a type.
pub(crate) fn read_params<T: DeserializeOwned>(params: &Map<String, Value>) -> Result<T, MatrixError> {
    serde_json::from_value(Value::Object(params.clone()))
        .map_err(|error| MatrixError::bad_json(format!("The request body does not fit: {error}")))
}

fn text(data: &Map<String, Value>, key: &'static str) -> Result<Option<String>, MatrixError> {
    match data.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(MatrixError::bad_json(format!("`auth.{key}` must be a string"))),
    }
}
