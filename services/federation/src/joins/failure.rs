//! Translates refusals of other servers into errors for our users.

use http::StatusCode;
use plexus_proto::common::v1::ErrorReason;
use plexus_s2s::{CallError, Fault};
use plexus_service::refusal::refusal;
use tonic::{Code, Status};

/// Why something did not come about at one server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer makes no sense.
    #[error("the answer makes no sense: {0}")]
    Answer(String),
    /// The room has a version that is not served here.
    #[error("the room has version {0}, which is not served here")]
    Version(String),
}

/// What became of an event that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The server has not taken it, and never will.
    Refused,
    /// It never left.
    NotSent,
    /// Nobody knows.
    Unknown,
}

impl Failure {
    /// What became of the event that was sent with the call.
    pub(crate) fn fate(&self) -> Fate {
        match self {
            Self::Call(CallError::Refused(refusal)) => match refusal.status.as_u16() {
                408 | 429 => Fate::Unknown,
                400..=499 => Fate::Refused,
                _ => Fate::Unknown,
            },
            Self::Call(
                CallError::BackOff { .. }
                | CallError::Discover(_)
                | CallError::Connect(_)
                | CallError::Busy
                | CallError::Request(_),
            )
            | Self::Version(_) => Fate::NotSent,
            Self::Call(CallError::Http(_) | CallError::TimedOut | CallError::TooLarge) | Self::Answer(_) => {
                Fate::Unknown
            }
        }
    }

    /// Which of several failures tells most: the greatest.
    pub(crate) fn weight(&self) -> u8 {
        match self.reason() {
            ErrorReason::Forbidden => 5,
            ErrorReason::IncompatibleRoomVersion => 4,
            ErrorReason::UnableToAuthoriseJoin | ErrorReason::InviteBlocked => 3,
            ErrorReason::NotFound => 2,
            _ => 1,
        }
    }

    fn reason(&self) -> ErrorReason {
        match self {
            Self::Version(_) => ErrorReason::IncompatibleRoomVersion,
            Self::Call(CallError::Refused(refusal)) => match refusal.errcode.as_deref() {
                Some("M_INCOMPATIBLE_ROOM_VERSION") => ErrorReason::IncompatibleRoomVersion,
                Some("M_UNABLE_TO_AUTHORISE_JOIN" | "M_UNABLE_TO_GRANT_JOIN") => {
                    ErrorReason::UnableToAuthoriseJoin
                }
                Some("M_INVITE_BLOCKED" | "ORG.MATRIX.MSC4155.INVITE_BLOCKED") => ErrorReason::InviteBlocked,
                _ if refusal.status == StatusCode::FORBIDDEN => ErrorReason::Forbidden,
                _ if refusal.status == StatusCode::NOT_FOUND => ErrorReason::NotFound,
                _ => ErrorReason::RemoteFailed,
            },
            Self::Call(_) | Self::Answer(_) => ErrorReason::RemoteFailed,
        }
    }

    /// What our users are told.
    pub(crate) fn to_status(&self) -> Status {
        let reason = self.reason();
        let code = match reason {
            ErrorReason::Forbidden | ErrorReason::InviteBlocked => Code::PermissionDenied,
            ErrorReason::NotFound => Code::NotFound,
            ErrorReason::IncompatibleRoomVersion | ErrorReason::UnableToAuthoriseJoin => {
                Code::FailedPrecondition
            }
            _ => Code::Unavailable,
        };
        let message = match self {
            Self::Version(version) => version.clone(),
            Self::Call(CallError::Refused(refusal)) if !refusal.error.is_empty() => refusal.error.clone(),
            // Where servers are, and how they fail, is nothing for users.
            Self::Call(error) if error.fault() == Fault::Reach => "The server cannot be reached".to_owned(),
            Self::Call(_) | Self::Answer(_) => "The server did not answer with sense".to_owned(),
        };
        refusal(code, reason, message)
    }
}

/// Keeps the failure that tells most.
pub(crate) fn keep_best(best: &mut Option<Failure>, failure: Failure) {
    if best.as_ref().is_none_or(|best| best.weight() < failure.weight()) {
        *best = Some(failure);
    }
}

/// What users are told if nobody could be asked.
pub(crate) fn nobody() -> Status {
    refusal(Code::NotFound, ErrorReason::NotFound, "No server is known that is in the room")
}

#[cfg(test)]
mod tests {
    use plexus_s2s::request::Refusal;
    use plexus_service::refusal::reason_of;

    use super::*;

    fn refused(status: u16, errcode: &str) -> Failure {
        Failure::Call(CallError::Refused(Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            errcode: Some(errcode.to_owned()),
            error: String::new(),
            retry_after: None,
        }))
    }

    #[test]
    fn the_failure_that_tells_most_is_kept() {
        let failures = [
            (Failure::Call(CallError::TimedOut), ErrorReason::RemoteFailed),
            (refused(404, "M_NOT_FOUND"), ErrorReason::NotFound),
            (refused(400, "M_UNABLE_TO_GRANT_JOIN"), ErrorReason::UnableToAuthoriseJoin),
            (refused(400, "M_INCOMPATIBLE_ROOM_VERSION"), ErrorReason::IncompatibleRoomVersion),
            (refused(403, "M_FORBIDDEN"), ErrorReason::Forbidden),
        ];
        let mut best = None;
        for (failure, reason) in failures {
            keep_best(&mut best, failure);
            keep_best(&mut best, Failure::Answer(String::new()));
            assert_eq!(reason_of(&best.as_ref().unwrap().to_status()), Some(reason));
        }
    }

    #[test]
    fn only_what_was_refused_or_never_left_may_be_replaced() {
        for (failure, fate) in [
            (refused(403, "M_FORBIDDEN"), Fate::Refused),
            (refused(404, "M_NOT_FOUND"), Fate::Refused),
            (refused(429, "M_LIMIT_EXCEEDED"), Fate::Unknown),
            (refused(502, ""), Fate::Unknown),
            (Failure::Call(CallError::TimedOut), Fate::Unknown),
            (Failure::Call(CallError::TooLarge), Fate::Unknown),
            (Failure::Call(CallError::Busy), Fate::NotSent),
        ] {
            assert_eq!(failure.fate(), fate, "{failure}");
        }
    }
}
