//! The one table from reasons to what clients are told.

use http::StatusCode;
use plexus_proto::common::v1::ErrorReason;
use plexus_service::refusal::reason_of;
use tonic::{Code, Status};

use super::MatrixError;

/// Returns what a client is told for a reason; `message` is what the service said, for people. If a service failed, the
/// message is logged here and the client sees no detail.
#[must_use]
pub fn reason_error(reason: ErrorReason, message: &str) -> MatrixError {
    use ErrorReason as Reason;
    let (status, errcode) = match reason {
        // The message tells of our insides.
        Reason::Unspecified | Reason::DeadLettered | Reason::OutOfRange => {
            tracing::error!(?reason, message, "another service failed at a request");
            return MatrixError::internal();
        }
        Reason::Forbidden | Reason::NotJoined | Reason::Banned => (StatusCode::FORBIDDEN, "M_FORBIDDEN"),
        Reason::NotFound | Reason::RoomUnknown => (StatusCode::NOT_FOUND, "M_NOT_FOUND"),
        Reason::UserInUse => (StatusCode::BAD_REQUEST, "M_USER_IN_USE"),
        Reason::RoomInUse => (StatusCode::BAD_REQUEST, "M_ROOM_IN_USE"),
        Reason::AliasInUse => (StatusCode::CONFLICT, "M_UNKNOWN"),
        Reason::InvalidRoomState => (StatusCode::BAD_REQUEST, "M_INVALID_ROOM_STATE"),
        Reason::UnsupportedRoomVersion => (StatusCode::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION"),
        Reason::TooLarge | Reason::LimitExceeded => (StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE"),
        Reason::BadJson => (StatusCode::BAD_REQUEST, "M_BAD_JSON"),
        Reason::InvalidParam => (StatusCode::BAD_REQUEST, "M_INVALID_PARAM"),
        Reason::BadAlias => (StatusCode::BAD_REQUEST, "M_BAD_ALIAS"),
        Reason::UnknownToken => return MatrixError::unknown_token(false),
        Reason::ExpiredToken => return MatrixError::unknown_token(true),
        Reason::UserDeactivated => (StatusCode::FORBIDDEN, "M_USER_DEACTIVATED"),
        Reason::BadState => (StatusCode::BAD_REQUEST, "M_BAD_STATE"),
        Reason::NotOwner => return MatrixError::unavailable(),
        Reason::TimedOut => return MatrixError::timed_out(),
        Reason::Duplicate | Reason::InvalidRelation => (StatusCode::BAD_REQUEST, "M_UNKNOWN"),
        Reason::WrongRoomKeysVersion => (StatusCode::FORBIDDEN, "M_WRONG_ROOM_KEYS_VERSION"),
        Reason::InvalidSignature => (StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE"),
        Reason::MissingParam => (StatusCode::BAD_REQUEST, "M_MISSING_PARAM"),
        Reason::IncompatibleRoomVersion => return MatrixError::incompatible_room_version(message),
        Reason::UnableToAuthoriseJoin => (StatusCode::BAD_REQUEST, "M_UNABLE_TO_AUTHORISE_JOIN"),
        Reason::InviteBlocked => (StatusCode::FORBIDDEN, "M_INVITE_BLOCKED"),
        Reason::RemoteFailed => (StatusCode::BAD_GATEWAY, "M_UNKNOWN"),
        Reason::CannotOverwriteMedia => (StatusCode::CONFLICT, "M_CANNOT_OVERWRITE_MEDIA"),
        // `M_USER_LIMIT_EXCEEDED` has to name a page that explains the limit: whoever has one says so.
        Reason::NotYetUploaded => (StatusCode::GATEWAY_TIMEOUT, "M_NOT_YET_UPLOADED"),
        Reason::QuotaExceeded => (StatusCode::FORBIDDEN, "M_FORBIDDEN"),
        // That operators have taken it away is not told.
        Reason::Quarantined => return MatrixError::not_found("there is no such media"),
        Reason::DuplicateAnnotation => (StatusCode::BAD_REQUEST, "M_DUPLICATE_ANNOTATION"),
    };
    let message = if message.is_empty() { status.canonical_reason().unwrap_or("Refused") } else { message };
    MatrixError::new(status, errcode, message.to_owned())
}

/// A refusal becomes what the table says; a failed call is logged here, and the client sees no detail.
impl From<Status> for MatrixError {
    fn from(status: Status) -> Self {
        if let Some(reason) = reason_of(&status) {
            return reason_error(reason, status.message());
        }
        tracing::warn!(code = ?status.code(), message = status.message(), "call to another service failed");
        match status.code() {
            Code::Unavailable | Code::ResourceExhausted | Code::Aborted => Self::unavailable(),
            Code::DeadlineExceeded | Code::Cancelled => Self::timed_out(),
            Code::Ok
            | Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Self::internal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use plexus_service::refusal::refusal;

    use super::*;

    #[test]
    fn reasons_survive_the_wire() {
        let status = refusal(Code::AlreadyExists, ErrorReason::UserInUse, "taken");
        let error = MatrixError::from(status);
        assert_eq!((error.status, error.errcode), (StatusCode::BAD_REQUEST, Some("M_USER_IN_USE")));
        assert_eq!(error.error, "taken");
    }

    #[test]
    fn expired_tokens_are_soft_logouts() {
        let error = MatrixError::from(refusal(Code::Unauthenticated, ErrorReason::ExpiredToken, ""));
        assert_eq!(error.extra["soft_logout"], true);
        let error = MatrixError::from(refusal(Code::Unauthenticated, ErrorReason::UnknownToken, ""));
        assert_eq!(error.extra["soft_logout"], false);
    }

    #[test]
    fn failed_inputs_tell_no_detail() {
        let error = reason_error(ErrorReason::DeadLettered, "invalid byte sequence for encoding \"UTF8\"");
        assert_eq!((error.status, error.errcode), (StatusCode::INTERNAL_SERVER_ERROR, Some("M_UNKNOWN")));
        assert!(!error.error.contains("UTF8"), "{}", error.error);
    }

    #[test]
    fn failed_calls_tell_no_detail() {
        let error = MatrixError::from(Status::internal("relation \"events\" does not exist"));
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.error.contains("relation"));
        assert_eq!(MatrixError::from(Status::unavailable("")).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(MatrixError::from(Status::deadline_exceeded("")).status, StatusCode::GATEWAY_TIMEOUT);
    }
}
