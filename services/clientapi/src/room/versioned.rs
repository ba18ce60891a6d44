//! Requests that name a room version.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use plexus_matrix_http::{Matrix, MatrixError, RawBody, reason_error};
use plexus_proto::common::v1::ErrorReason;
use ruma::{RoomVersionId, api::IncomingRequest};
use serde::Deserialize;
use serde_json::Value;

/// Extracts a request in ruma's types. A text that cannot be a room version is one that is not supported, like any other
/// that is not served.
#[derive(Debug, Clone)]
pub(crate) struct Versioned<T>(pub(crate) T);

#[derive(Deserialize)]
struct Named {
    room_version: Option<Value>,
    new_version: Option<Value>,
}

impl<S, T> FromRequest<S> for Versioned<T>
where
    S: Send + Sync,
    T: IncomingRequest,
{
    type Rejection = MatrixError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let RawBody(bytes) = RawBody::from_request(Request::from_parts(parts.clone(), body), state).await?;
        check(&bytes)?;
        let Matrix(request) =
            Matrix::from_request(Request::from_parts(parts, Body::from(bytes)), state).await?;
        Ok(Self(request))
    }
}

/// Refuses a body that names no version where it should. Whatever else is wrong with it is found by who reads all of it.
fn check(body: &[u8]) -> Result<(), MatrixError> {
    let Ok(named) = serde_json::from_slice::<Named>(body) else { return Ok(()) };
    for version in [named.room_version, named.new_version].into_iter().flatten() {
        if let Value::String(version) = version
            && RoomVersionId::try_from(version.as_str()).is_err()
        {
            let message = format!("room version {version:?} is not supported");
            return Err(reason_error(ErrorReason::UnsupportedRoomVersion, &message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_version_is_unsupported() {
        let long = format!(r#"{{"room_version":"{}"}}"#, "1".repeat(33));
        for body in [r#"{"room_version":"my_bad_version"}"#, r#"{"new_version":""}"#, &long] {
            assert!(check(body.as_bytes()).unwrap_err().is("M_UNSUPPORTED_ROOM_VERSION"), "{body}");
        }
        for body in [r#"{"room_version":"11"}"#, r#"{"new_version":11}"#, "{}", "[]", "{", ""] {
            check(body.as_bytes()).unwrap();
        }
    }
}
