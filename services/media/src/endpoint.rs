//! Answers clients: one file for each endpoint, after ruma's module paths.

pub(crate) mod create_content_async;
pub(crate) mod create_mxc_uri;
pub(crate) mod download;
pub(crate) mod get_media_config;
pub(crate) mod get_media_preview;
pub(crate) mod own;
pub(crate) mod thumbnail;
pub(crate) mod upload;

use plexus_input::SubmitError;
use plexus_matrix_http::MatrixError;
use plexus_proto::common::v1::ErrorReason;

use crate::{Media, serve::quota_exceeded};

/// Why an upload did not become media.
pub(crate) fn refused(media: &Media, error: SubmitError) -> MatrixError {
    if error.reason() == Some(ErrorReason::QuotaExceeded) { quota_exceeded(media) } else { error.into() }
}
