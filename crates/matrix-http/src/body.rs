//! Reading request bodies.

use axum::{
    extract::{
        FromRequest, Request,
        rejection::{BytesRejection, FailedToBufferBody},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::{error::Category, value::RawValue};

use crate::MatrixError;

/// Reads the whole body, at most as much as the layer set by [`apply_layers`](crate::apply_layers) allows.
pub(crate) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, MatrixError> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            MatrixError::too_large("The request body is too large")
        }
        _ => MatrixError::unknown("The request body could not be read"),
    })
}

/// What a client is told about JSON that does not fit.
pub(crate) fn json_error(error: &serde_json::Error) -> MatrixError {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            MatrixError::not_json(format!("The request body is not JSON: {error}"))
        }
        Category::Data => MatrixError::bad_json(format!("The request body does not fit: {error}")),
    }
}

/// Extracts a body that is a JSON object, as the client wrote it.
///
/// For content that is stored or signed as it came: events, account data, filters.
#[derive(Debug, Clone)]
pub struct JsonObject(pub Box<RawValue>);

impl JsonObject {
    /// Checks that the bytes are one JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self, MatrixError> {
        let value: Box<RawValue> = serde_json::from_slice(bytes).map_err(|error| json_error(&error))?;
        if !value.get().starts_with('{') {
            return Err(MatrixError::bad_json("The request body must be a JSON object"));
        }
        Ok(Self(value))
    }

    /// Makes one of whatever becomes a JSON object.
    pub fn of(value: &impl Serialize) -> Result<Self, MatrixError> {
        serde_json::value::to_raw_value(value).map(Self).map_err(|error| {
            tracing::error!(%error, "response could not be encoded");
            MatrixError::internal()
        })
    }

    /// `{}`.
    #[must_use]
    pub fn empty() -> Self {
        Self(RawValue::from_string("{}".to_owned()).expect("an empty object is JSON"))
    }

    /// The JSON text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The JSON text, as bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        String::from(Box::<str>::from(self.0)).into_bytes()
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = MatrixError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        Self::parse(&read(request, state).await?)
    }
}

/// Answers with the object.
impl IntoResponse for JsonObject {
    fn into_response(self) -> Response {
        let content_type = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, content_type)], self.into_bytes()).into_response()
    }
}

/// Extracts the body as it came.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = MatrixError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        read(request, state).await.map(Self)
    }
}
