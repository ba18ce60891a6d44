//! Refusals over gRPC: a machine-readable reason in `ErrorInfo`, never parsed from messages.

use plexus_proto::common::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const DOMAIN: &str = "plexus";

/// Makes the status that refuses a call for a reason.
#[must_use]
pub fn refusal(code: Code, reason: ErrorReason, message: impl Into<String>) -> Status {
    refusal_with(code, reason, message, &[])
}

/// Like [`refusal`], with metadata such as `owner`.
#[must_use]
pub fn refusal_with(
    code: Code,
    reason: ErrorReason,
    message: impl Into<String>,
    metadata: &[(&str, &str)],
) -> Status {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let details = ErrorDetails::with_error_info(
        reason.as_str_name(),
        DOMAIN,
        metadata.collect::<std::collections::HashMap<_, _>>(),
    );
    Status::with_error_details(code, message, details)
}

/// Reads the reason from a status; `None` if the call failed rather than being refused.
#[must_use]
pub fn reason_of(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    ErrorReason::from_str_name(&info.reason)
}

/// Reads a piece of the metadata of a refusal.
#[must_use]
pub fn metadata_of(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(key).cloned()
}
