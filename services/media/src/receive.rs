//! Taking the body of an upload into the store, as it comes.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use plexus_matrix_http::MatrixError;
use plexus_media_store::{Store, StoreError, Stored};
use tokio::time::{Instant, timeout, timeout_at};

use crate::serve::OCTET_STREAM;

/// Bytes that earn a body one more second.
const BYTES_PER_SECOND: u64 = 8 * 1024;
/// How long the next bytes may take, whatever was earned.
const SILENCE: Duration = Duration::from_secs(60);
/// How long, and how much, is read of what nobody wants.
const DRAIN: Duration = Duration::from_secs(10);
const MAX_DRAINED: usize = 128 << 20;
/// Longest content type and longest name that are kept.
pub(crate) const MAX_CONTENT_TYPE: usize = 255;
pub(crate) const MAX_FILE_NAME: usize = 1_024;

/// The length that a body is said to have, if it is allowed.
pub(crate) fn check_length(headers: &HeaderMap, max: u64) -> Result<Option<u64>, MatrixError> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = length.to_str().ok().and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| MatrixError::unknown("The Content-Length is no number"))?;
    if length > max { Err(too_large(max)) } else { Ok(Some(length)) }
}

/// Reads on for a while what nobody wants: a client that is still sending would otherwise lose the answer that says so.
pub(crate) fn drain(mut body: Body) {
    tokio::spawn(async move {
        let mut length = 0;
        let read = async {
            while let Some(Ok(frame)) = body.frame().await {
                length += frame.data_ref().map_or(0, bytes::Bytes::len);
                if length > MAX_DRAINED {
                    break;
                }
            }
        };
        timeout(DRAIN, read).await.ok();
    });
}

/// Stores a body.
pub(crate) async fn receive(
    store: &Store,
    body: &mut Body,
    max: u64,
    patience: Duration,
) -> Result<Stored, MatrixError> {
    let mut upload = store.begin().await.map_err(|error| failed(&error))?;
    let begun = Instant::now();
    loop {
        let earned = Duration::from_secs(upload.size() / BYTES_PER_SECOND);
        let deadline = (begun + patience + earned).min(Instant::now() + SILENCE);
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(MatrixError::unknown("The request body could not be read")),
            Err(_) => {
                let message = "The request body did not come in time";
                return Err(MatrixError::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", message));
            }
        };
        let Ok(piece) = frame.into_data() else { continue };
        if upload.size().saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX)) > max {
            return Err(too_large(max));
        }
        upload.write(piece).await.map_err(|error| failed(&error))?;
    }
    let stored = upload.finish().await.map_err(|error| failed(&error))?;
    crate::metrics::stored(stored.size);
    Ok(stored)
}

/// The content type of a request, as its sender says.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if value.is_empty() || value.len() > MAX_CONTENT_TYPE {
        OCTET_STREAM.to_owned()
    } else {
        value.to_owned()
    }
}

/// A name as it is kept.
pub(crate) fn file_name(name: Option<String>) -> Result<String, MatrixError> {
    let name = name.unwrap_or_default();
    if name.len() > MAX_FILE_NAME {
        return Err(MatrixError::invalid_param(format!("`filename` has more than {MAX_FILE_NAME} bytes")));
    }
    if name.contains('\0') {
        return Err(MatrixError::invalid_param("`filename` contains a NUL character"));
    }
    Ok(name)
}

fn too_large(max: u64) -> MatrixError {
    MatrixError::too_large(format!("The upload is larger than {max} bytes"))
}

/// A failure of the store, which clients are told nothing of.
pub(crate) fn failed(error: &StoreError) -> MatrixError {
    tracing::error!(error = plexus_s2s::chain(error), "the store of media failed");
    MatrixError::internal()
}
