//! Reading request bodies.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{error::Category, value::RawValue};
use tokio::time::{Instant, timeout_at};

use crate::{MatrixError, edge::Intake};

/// Bytes that earn a body one more second.
const BYTES_PER_SECOND: u64 = 8 * 1024;

/// Reads the whole body, as far as the [`Policy`](crate::Policy) of the route and the budgets of the process allow.
pub(crate) async fn read(extensions: &mut Extensions, mut body: Body) -> Result<Bytes, MatrixError> {
    let Some(intake) = extensions.get::<Intake>() else {
        // A request whose head says that there is no body.
        return Ok(Bytes::new());
    };
    if usize::try_from(body.size_hint().lower()).map_or(true, |length| length > intake.max) {
        return Err(too_large());
    }
    let begun = Instant::now();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0;
    loop {
        let earned = Duration::from_secs(u64::try_from(length).unwrap_or(u64::MAX) / BYTES_PER_SECOND);
        let frame = match timeout_at(begun + intake.timeout + earned, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(MatrixError::unknown("The request body could not be read")),
            Err(_) => return Err(too_slow()),
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > intake.max {
            return Err(too_large());
        }
        intake.add(data.len())?;
        // Nearly all bodies come in one piece, which need not be copied.
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    intake.finish(length)?;
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn too_large() -> MatrixError {
    MatrixError::too_large("The request body is too large")
}

fn too_slow() -> MatrixError {
    MatrixError::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", "The request body did not come in time")
}

/// A body that nobody has read yet: for handlers that decide first whether they want it.
#[derive(Debug)]
pub struct UnreadBody {
    extensions: Extensions,
    body: Body,
}

impl UnreadBody {
    /// Reads it as it came.
    pub async fn read(mut self) -> Result<Bytes, MatrixError> {
        read(&mut self.extensions, self.body).await
    }

    /// Reads a JSON object.
    pub async fn object(self) -> Result<JsonObject, MatrixError> {
        JsonObject::from_body(&self.read().await?)
    }
}

impl<S: Send + Sync> FromRequest<S> for UnreadBody {
    type Rejection = MatrixError;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        Ok(Self { extensions: parts.extensions, body })
    }
}

/// Extracts a body that is a JSON object into a type, and reads nothing else of it.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> Json<T> {
    /// Reads the bytes of an object.
    pub fn parse(bytes: &[u8]) -> Result<Self, MatrixError> {
        check_depth(bytes)?;
        // Structures may be read from arrays, too; clients may not write them so.
        let begins = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if begins.is_some_and(|byte| *byte != b'{') {
            JsonObject::parse(bytes)?;
        }
        serde_json::from_slice(bytes).map(Self).map_err(|error| json_error(&error))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = MatrixError;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        Self::parse(&read_all(request).await?)
    }
}

async fn read_all(request: Request) -> Result<Bytes, MatrixError> {
    let (mut parts, body) = request.into_parts();
    read(&mut parts.extensions, body).await
}

/// What a client is told about JSON that does not fit.
pub(crate) fn json_error(error: &serde_json::Error) -> MatrixError {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            MatrixError::not_json(format!("The request body is not JSON: {error}"))
        }
        Category::Data => does_not_fit(error),
    }
}

fn does_not_fit(error: &serde_json::Error) -> MatrixError {
    MatrixError::bad_json(format!("The request body does not fit: {error}"))
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
    /// Reads what is wanted of it.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, MatrixError> {
        // It is JSON: where a part does not fit, the parser speaks of syntax at times.
        serde_json::from_str(self.get()).map_err(|error| does_not_fit(&error))
    }

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

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        Self::from_body(&read_all(request).await?)
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

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        read_all(request).await.map(Self)
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
