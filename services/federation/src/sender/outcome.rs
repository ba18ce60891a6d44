//! Classifies the answer to a transaction, for the server and for what was sent.

use plexus_s2s::{CallError, Fault};

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server has it, whatever it says about single events.
    Delivered,
    /// There was nothing to send.
    Nothing,
    /// The server refuses what is in it.
    Refused(String),
    /// The server broke at it.
    Crashed(String),
    /// The server wants us to wait, in milliseconds.
    Limited(i64),
    /// The server does not want to talk with us.
    Unwilling(String),
    /// The server cannot be reached.
    Unreachable(String),
    /// We could not do it: too much is under way, or the room server is away.
    Ours(String),
}

/// The longest that a server may have us wait, and how long we do where it does not say, in milliseconds.
const MAX_WAIT: i64 = 300_000;
const WAIT: i64 = 5_000;

impl Outcome {
    pub(super) fn of(error: &CallError) -> Self {
        let why = error.chain();
        let CallError::Refused(refusal) = error else {
            return match error.fault() {
                Fault::Ours => Self::Ours(why),
                // An answer of 200 that is too long to be read is one.
                Fault::Server => Self::Delivered,
                Fault::Reach => Self::Unreachable(why),
            };
        };
        match refusal.status.as_u16() {
            429 => {
                let wait = refusal
                    .retry_after
                    .map_or(WAIT, |wait| i64::try_from(wait.as_millis()).unwrap_or(MAX_WAIT));
                Self::Limited(wait.clamp(1_000, MAX_WAIT))
            }
            400 | 413 | 422 => Self::Refused(why),
            502..=504 => Self::Unreachable(why),
            500..=599 => Self::Crashed(why),
            // 401: one of us does not know the other's keys. 403, 404, 410: it does not federate, or not with us.
            401 | 403 | 404 | 405 | 410 => Self::Unwilling(why),
            _ => Self::Refused(why),
        }
    }

    /// Name, for metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Nothing => "nothing",
            Self::Refused(_) => "refused",
            Self::Crashed(_) => "crashed",
            Self::Limited(_) => "limited",
            Self::Unwilling(_) => "unwilling",
            Self::Unreachable(_) => "unreachable",
            Self::Ours(_) => "ours",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use plexus_s2s::request::Refusal;

    use super::*;

    fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
        Outcome::of(&CallError::Refused(Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            errcode: None,
            error: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }))
    }

    #[test]
    fn answers_say_whose_fault_it_is() {
        for (status, name) in [
            (400, "refused"),
            (401, "unwilling"),
            (403, "unwilling"),
            (404, "unwilling"),
            (413, "refused"),
            (302, "refused"),
            (429, "limited"),
            (500, "crashed"),
            (502, "unreachable"),
            (503, "unreachable"),
            (504, "unreachable"),
        ] {
            assert_eq!(refused(status, None).name(), name, "{status}");
        }
        assert_eq!(refused(429, Some(7)), Outcome::Limited(7_000));
        assert_eq!(refused(429, Some(70_000)), Outcome::Limited(300_000));
        assert_eq!(refused(429, Some(0)), Outcome::Limited(1_000));
        assert_eq!(Outcome::of(&CallError::TimedOut).name(), "unreachable");
        assert_eq!(Outcome::of(&CallError::Busy).name(), "ours");
    }
}
