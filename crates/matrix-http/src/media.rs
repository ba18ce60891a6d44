//! Queries of media that clients and other servers ask alike.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid)

use std::time::Duration;

use plexus_proto::log::v1::ThumbnailMethod;

use crate::MatrixError;

/// Wait for media that is not there yet if the query does not say how long.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(20);
/// Longest wait for it.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Reads `timeout_ms`: how long media that is not there yet is waited for.
#[must_use]
pub fn patience(timeout_ms: Option<u64>) -> Duration {
    timeout_ms.map_or(DEFAULT_WAIT, Duration::from_millis).min(MAX_WAIT)
}

/// Reads `method`: how a thumbnail fits its size. Fails with `M_INVALID_PARAM` if there is no such method.
pub fn thumbnail_method(method: Option<&str>) -> Result<ThumbnailMethod, MatrixError> {
    match method {
        None | Some("scale") => Ok(ThumbnailMethod::Scale),
        Some("crop") => Ok(ThumbnailMethod::Crop),
        Some(_) => Err(MatrixError::invalid_param("`method` must be `crop` or `scale`")),
    }
}
