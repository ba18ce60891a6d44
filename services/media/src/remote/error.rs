//! Why media of another server did not come.

use http::StatusCode;
use plexus_matrix_http::MatrixError;
use plexus_outbound::FetchError;
use plexus_s2s::CallError;

use crate::{id::not_found, serve::not_yet_uploaded};

/// Why it did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// The other server has no such media.
    #[error("the other server has no such media")]
    NotFound,
    /// It is not there yet.
    #[error("the media has not been uploaded yet")]
    NotYetUploaded,
    /// It is larger than is allowed.
    #[error("the media is too large")]
    TooLarge,
    /// The other server refuses, or cannot be reached.
    #[error("the other server did not answer with media")]
    Call(#[source] CallError),
    /// Where the other server sent us did not answer with media.
    #[error("the media could not be fetched from where it is said to be")]
    Fetch(#[source] FetchError),
    /// What came is no media, or not all of it.
    #[error("what the other server answered is no media: {0}")]
    Failed(String),
    /// We failed.
    #[error("it could not be stored")]
    Ours(MatrixError),
}

impl RemoteError {
    pub(super) fn of_call(error: CallError) -> Self {
        match &error {
            CallError::Refused(refusal) => match (refusal.status.as_u16(), refusal.errcode.as_deref()) {
                (_, Some("M_NOT_YET_UPLOADED")) => Self::NotYetUploaded,
                (404, _) => Self::NotFound,
                (413, _) | (_, Some("M_TOO_LARGE")) => Self::TooLarge,
                _ => Self::Call(error),
            },
            CallError::TooLarge => Self::TooLarge,
            CallError::BackOff { .. }
            | CallError::Discover(_)
            | CallError::Connect(_)
            | CallError::Http(_)
            | CallError::TimedOut
            | CallError::Busy
            | CallError::Request(_) => Self::Call(error),
        }
    }

    pub(super) fn of_fetch(error: FetchError) -> Self {
        if matches!(error, FetchError::TooLarge) { Self::TooLarge } else { Self::Fetch(error) }
    }

    /// Whether it will be the same for a while.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::NotFound | Self::TooLarge | Self::Call(_) | Self::Fetch(_) | Self::Failed(_) => true,
            Self::NotYetUploaded | Self::Ours(_) => false,
        }
    }

    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::NotYetUploaded => "not yet uploaded",
            Self::TooLarge => "too large",
            Self::Call(_) | Self::Fetch(_) | Self::Failed(_) => "failed",
            Self::Ours(_) => "ours",
        }
    }

    /// The same, for another reader.
    pub(super) fn copy(&self) -> Self {
        match self {
            Self::NotFound => Self::NotFound,
            Self::NotYetUploaded => Self::NotYetUploaded,
            Self::TooLarge => Self::TooLarge,
            Self::Call(error) => Self::Failed(error.to_string()),
            Self::Fetch(error) => Self::Failed(error.to_string()),
            Self::Failed(why) => Self::Failed(why.clone()),
            Self::Ours(error) => Self::Ours(error.clone()),
        }
    }
}

impl From<RemoteError> for MatrixError {
    fn from(error: RemoteError) -> Self {
        let bad_gateway = |errcode, message: String| Self::new(StatusCode::BAD_GATEWAY, errcode, message);
        match error {
            RemoteError::NotFound => not_found(),
            RemoteError::NotYetUploaded => not_yet_uploaded(),
            RemoteError::TooLarge => bad_gateway("M_TOO_LARGE", error.to_string()),
            RemoteError::Call(_) | RemoteError::Fetch(_) | RemoteError::Failed(_) => {
                bad_gateway("M_UNKNOWN", error.to_string())
            }
            RemoteError::Ours(error) => error,
        }
    }
}
