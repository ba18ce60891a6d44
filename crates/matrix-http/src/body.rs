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

/// Deepest nesting of a body. Parsers have the same limit, but for the parts of a body that are kept as they came.
const MAX_DEPTH: usize = 128;

/// Refuses JSON that is nested too deep for whoever reads it later.
pub(crate) fn check_depth(json: &[u8]) -> Result<(), MatrixError> {
    if depth(json) <= MAX_DEPTH {
        return Ok(());
    }
    // This does not recurse, however deep it is.
    serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|error| json_error(&error))?;
    Err(MatrixError::bad_json(format!("The request body is nested more than {MAX_DEPTH} deep")))
}

/// How deep a text is nested, if it is JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
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

    /// Checks a body that a client sent.
    pub fn from_body(bytes: &[u8]) -> Result<Self, MatrixError> {
        check_depth(bytes)?;
        Self::parse(bytes)
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
        Self::from_body(&read(request, state).await?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_outside_of_texts() {
        for (json, expected) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{"b":[]},{}]}"#, 4),
            (r#"{"[[[[":"{{{{\"[[[["}"#, 1),
            (r#"{"a":"\\","b":[1]}"#, 2),
            ("[[[", 3),
            ("]]]", 0),
        ] {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn bodies_are_not_nested_too_deep() {
        let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        JsonObject::from_body(nested(MAX_DEPTH).as_bytes()).unwrap();
        for depth in [MAX_DEPTH + 1, 100_000] {
            assert!(JsonObject::from_body(nested(depth).as_bytes()).unwrap_err().is("M_BAD_JSON"));
        }
        let unfinished = format!(r#"{{"a":{}"#, "[".repeat(1_000));
        assert!(JsonObject::from_body(unfinished.as_bytes()).unwrap_err().is("M_NOT_JSON"));
    }
}
