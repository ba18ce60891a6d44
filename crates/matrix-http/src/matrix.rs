//! The one extractor and the one response for ruma's types.

use axum::{
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use http::request::Parts;
use ruma::api::{
    IncomingRequest, IncomingRequestExt as _, OutgoingResponse, OutgoingResponseExt as _,
    error::{DeserializationError, FromHttpRequestError},
};
use serde::de::{DeserializeOwned, value::SeqDeserializer};

use crate::{MatrixError, body};

/// A request or a response in ruma's types.
///
/// Path arguments are passed in the order of the route, which is ruma's order for all paths of an endpoint.
#[derive(Debug, Clone)]
pub struct Matrix<T>(pub T);

impl<S, T> FromRequest<S> for Matrix<T>
where
    S: Send + Sync,
    T: IncomingRequest,
{
    type Rejection = MatrixError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let params = path_params(&mut parts, state).await?;
        let mut bytes = body::read(&mut parts.extensions, body).await?;
        if bytes.is_empty() && T::METHOD == http::Method::POST {
            // Clients leave out bodies in which everything is optional; ruma forgives that for most endpoints only.
            bytes = bytes::Bytes::from_static(b"{}");
        }
        body::check_depth(&bytes)?;
        let request = http::Request::from_parts(parts, &bytes[..]);
        let args: Vec<&str> = params.iter().map(|(_, value)| value).collect();
        T::try_from_http_request(request, &args).map(Self).map_err(|error| request_error(&error))
    }
}

impl<T: OutgoingResponse> IntoResponse for Matrix<T> {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<BytesMut>() {
            Ok(response) => response.map(|body| axum::body::Body::from(body.freeze())),
            Err(error) => {
                tracing::error!(%error, "response could not be encoded");
                MatrixError::internal().into_response()
            }
        }
    }
}

/// Extracts the path arguments alone, in the order of the route: for handlers that read the body as it came.
#[derive(Debug, Clone)]
pub struct PathArgs<T>(pub T);

impl<S, T> FromRequestParts<S> for PathArgs<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = MatrixError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let params = path_params(parts, state).await?;
        let args = params.iter().map(|(_, value)| value);
        T::deserialize(SeqDeserializer::<_, serde::de::value::Error>::new(args))
            .map(Self)
            .map_err(|error| MatrixError::invalid_param(format!("A part of the path does not fit: {error}")))
    }
}

/// Extracts the query: for handlers that read the body as it came.
#[derive(Debug, Clone)]
pub struct QueryArgs<T>(pub T);

impl<S, T> FromRequestParts<S> for QueryArgs<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = MatrixError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        serde_html_form::from_str(parts.uri.query().unwrap_or_default())
            .map(Self)
            .map_err(|error| param_error(&error.to_string()))
    }
}

/// Reads the arguments in the path. None has a NUL: nothing that is named so can be stored.
async fn path_params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, MatrixError> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| MatrixError::invalid_param("The path is not UTF-8"))?;
    if let Some((name, _)) = params.iter().find(|(_, value)| value.contains('\0')) {
        return Err(MatrixError::invalid_param(format!("`{name}` in the path has a NUL")));
    }
    Ok(params)
}

/// Query and path arguments are strings: one is either missing or has a wrong value.
fn param_error(message: &str) -> MatrixError {
    if message.contains("missing field") {
        MatrixError::missing_param(format!("A parameter is missing: {message}"))
    } else {
        MatrixError::invalid_param(format!("A parameter does not fit: {message}"))
    }
}

fn request_error(error: &FromHttpRequestError) -> MatrixError {
    let error = match error {
        FromHttpRequestError::Deserialization(error) => error,
        FromHttpRequestError::MethodMismatch { .. } => return MatrixError::wrong_method(),
        other => return MatrixError::unknown(other.to_string()),
    };
    match error {
        DeserializationError::Json(error) => body::json_error(error),
        DeserializationError::Query(error) => param_error(&error.to_string()),
        DeserializationError::Utf8(error) => MatrixError::not_json(error.to_string()),
        DeserializationError::Ident(error) => MatrixError::invalid_param(error.to_string()),
        DeserializationError::Header(error) => MatrixError::missing_param(error.to_string()),
        other => MatrixError::unknown(other.to_string()),
    }
}
