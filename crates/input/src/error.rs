//! Why an input did not become a fact.

use plexus_log::LogError;
use plexus_matrix_http::{MatrixError, reason_error};
use plexus_proto::common::v1::ErrorReason;

/// Why an input did not become a fact, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It was refused; nothing changed.
    #[error("input was refused: {message}")]
    Rejected {
        /// Why, for machines.
        reason: ErrorReason,
        /// Why, for people.
        message: String,
    },
    /// It waits for events that this server lacks.
    #[error("input waits for missing events")]
    Parked,
    /// The verdict did not come in time; the input may still be applied.
    #[error("verdict did not come in time")]
    TimedOut,
    /// The record is larger than a log takes.
    #[error("input is too large for a log")]
    TooLarge,
    /// The log, or the verdict, cannot be reached; the input may still be applied.
    #[error("input log or room server cannot be reached")]
    Unavailable,
}

impl SubmitError {
    /// The reason of a refusal.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Rejected { reason, .. } => Some(*reason),
            Self::Parked | Self::TimedOut | Self::TooLarge | Self::Unavailable => None,
        }
    }
}

impl From<LogError> for SubmitError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::TooLarge { .. } => Self::TooLarge,
            LogError::TimedOut => Self::TimedOut,
            LogError::Closed | LogError::Broker { .. } => Self::Unavailable,
        }
    }
}

impl From<SubmitError> for MatrixError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected { reason, message } => reason_error(reason, &message),
            SubmitError::Parked | SubmitError::TimedOut => Self::timed_out(),
            SubmitError::TooLarge => Self::too_large("The request is too large"),
            SubmitError::Unavailable => Self::unavailable(),
        }
    }
}
