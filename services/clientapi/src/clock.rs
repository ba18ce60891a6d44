//! Tells the time.

use ruma::MilliSecondsSinceUnixEpoch;

/// Returns the time in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    MilliSecondsSinceUnixEpoch::now().get().into()
}
