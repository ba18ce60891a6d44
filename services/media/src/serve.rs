//! Handing out bytes: which media, whether it may be told, and with which headers.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid)

use std::{ops::Range, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use plexus_matrix_http::MatrixError;
use plexus_media_store::{Blob, Hash};
use plexus_proto::media::v1::{Media as Row, MediaState};
use plexus_s2s::now_ms;
use tokio::time::{Instant, sleep};

use crate::{
    Media,
    disposition::content_disposition,
    id::{MediaUri, not_found},
    range::{Wanted, is_known, wanted},
    receive::failed,
    rows::{DAY_MS, uploader},
};

/// Pauses between two looks at media that is awaited.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Browsers load nothing from what is shown, and run nothing in it.
const POLICY: &str = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; \
                      style-src 'unsafe-inline'; object-src 'self';";

/// The content type that says nothing.
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// Who may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Users of ours, and other servers.
    Known,
    /// Anybody: only what was public already.
    Anybody,
}

/// Bytes, and what is told of them.
pub(crate) struct File {
    pub(crate) hash: Hash,
    pub(crate) content_type: String,
    pub(crate) file_name: String,
    pub(crate) blob: Blob,
}

impl Media {
    /// Finds media of ours, waiting for it to be uploaded.
    pub(crate) async fn find_own(&self, uri: &MediaUri, wait: Duration) -> Result<Row, MatrixError> {
        let deadline = Instant::now() + wait;
        let mut pause = FIRST_PAUSE;
        loop {
            let row = self.rows.find(uri).await?.filter(|row| !row.quarantined).ok_or_else(not_found)?;
            match row.state() {
                MediaState::Ready => return Ok(row),
                MediaState::Pending => {}
                MediaState::Absent | MediaState::Unspecified => return Err(not_found()),
            }
            if Instant::now() + pause > deadline {
                return Err(not_yet_uploaded());
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether anybody may be told of media that became ready then.
    pub(crate) fn is_public(&self, row: &Row) -> bool {
        row.ready_ts < self.media_config().unauthenticated_before_ts
    }

    /// Opens the bytes of media that is ready.
    pub(crate) async fn open(&self, uri: &MediaUri, row: &Row) -> Result<File, MatrixError> {
        let blob = row.blob.as_ref().ok_or_else(MatrixError::internal)?;
        let hash = Hash::try_from(&blob.sha256[..]).map_err(|_| MatrixError::internal())?;
        let file = self.open_blob(hash, blob.content_type.clone(), blob.file_name.clone()).await?;
        self.touch(uploader(row).as_deref(), uri, row.accessed_ts);
        Ok(file)
    }

    pub(crate) async fn open_blob(
        &self,
        hash: Hash,
        content_type: String,
        file_name: String,
    ) -> Result<File, MatrixError> {
        let blob = self.store.find(hash).await.map_err(|error| failed(&error))?;
        let blob = blob.ok_or_else(|| {
            tracing::error!(%hash, "a blob is gone that a row names");
            not_found()
        })?;
        Ok(File { hash, content_type, file_name, blob })
    }
}

pub(crate) fn not_yet_uploaded() -> MatrixError {
    let message = "The media has not been uploaded yet";
    MatrixError::new(StatusCode::GATEWAY_TIMEOUT, "M_NOT_YET_UPLOADED", message)
}

/// Answers a request with a file, or the part of it that is asked for.
pub(crate) fn answer(request: &HeaderMap, file: File, audience: Audience) -> Response {
    let etag = format!("\"{}\"", file.hash);
    let size = file.blob.size();
    let mut headers = describe(&file.content_type, &file.file_name, audience);
    set(&mut headers, header::ETAG, &etag);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if is_known(request, &etag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let (status, range) = match wanted(request, size, &etag) {
        Wanted::All => (StatusCode::OK, 0..size),
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            set(&mut headers, header::CONTENT_RANGE, &text);
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Wanted::Unsatisfiable => {
            let message = "The media does not have this range";
            let mut refusal =
                MatrixError::new(StatusCode::RANGE_NOT_SATISFIABLE, "M_UNKNOWN", message).into_response();
            set(refusal.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
            return refusal;
        }
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    (status, headers, body(file.blob, range)).into_response()
}

fn body(blob: Blob, range: Range<u64>) -> Body {
    let pieces = blob.stream(range).inspect(|piece| {
        if let Ok(piece) = piece {
            crate::metrics::served(u64::try_from(piece.len()).unwrap_or(0));
        }
    });
    Body::from_stream(pieces)
}

/// The content type of media, or the one that says nothing.
pub(crate) fn told_type(content_type: &str) -> &str {
    if content_type.is_empty() { OCTET_STREAM } else { content_type }
}

/// The headers that all media is told with.
pub(crate) fn describe(content_type: &str, file_name: &str, audience: Audience) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let content_type = told_type(content_type);
    set(&mut headers, header::CONTENT_TYPE, content_type);
    set(&mut headers, header::CONTENT_DISPOSITION, &content_disposition(content_type, file_name));
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CACHE_CONTROL,
            match audience {
                Audience::Known => "private, max-age=31536000, immutable",
                Audience::Anybody => "public, max-age=86400, immutable",
            },
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

/// Sets a header to what was told by strangers, or to what says nothing.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(OCTET_STREAM));
    headers.insert(name, value);
}

/// Refuses an upload of a user who has too much already, before its body is read.
pub(crate) async fn check_quota(
    media: &Media,
    user_id: &ruma::UserId,
    length: Option<u64>,
) -> Result<(), MatrixError> {
    let config = media.media_config();
    if config.bytes_per_user == 0 && config.bytes_per_user_and_day == 0 && config.files_per_user == 0 {
        return Ok(());
    }
    let usage = media.rows.usage(user_id).await?;
    let length = length.unwrap_or(1);
    let today = now_ms().saturating_sub(usage.day_ts) < DAY_MS;
    let day_bytes = if today { usage.day_bytes } else { 0 };
    let exceeds = |limit: u64, sum: u64| limit > 0 && sum > limit;
    if exceeds(config.bytes_per_user, usage.bytes.saturating_add(length))
        || exceeds(config.bytes_per_user_and_day, day_bytes.saturating_add(length))
        || exceeds(config.files_per_user, usage.files.saturating_add(1))
    {
        return Err(quota_exceeded(media));
    }
    Ok(())
}

/// What a user is told who has stored as much as is allowed.
pub(crate) fn quota_exceeded(media: &Media) -> MatrixError {
    let message = "You have stored as much as is allowed";
    let url = &media.media_config().quota_info_url;
    if url.is_empty() {
        return MatrixError::forbidden(message);
    }
    MatrixError::new(StatusCode::FORBIDDEN, "M_USER_LIMIT_EXCEEDED", message).with("info_uri", url.as_str())
}
