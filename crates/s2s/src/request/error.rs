//! Errors of requests to other servers, and whose fault they are.

use std::{error::Error, time::Duration};

use http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use plexus_outbound::ConnectError;
use serde::Deserialize;

use crate::{DiscoverError, pool::Full};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// We asked for what cannot be, or have too much to do.
    Ours,
    /// The server answered, with a refusal or with what is no answer.
    Server,
    /// The server could not be reached.
    Reach,
}

/// A refusal, as the server worded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Status.
    pub status: StatusCode,
    /// `errcode`, if there was one.
    pub errcode: Option<String>,
    /// `error`, shortened.
    pub error: String,
    /// When to come again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            errcode: Option<String>,
            error: Option<String>,
            retry_after_ms: Option<u64>,
        }
        let read: Body = serde_json::from_slice(body).unwrap_or_default();
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs).or(read.retry_after_ms.map(Duration::from_millis));
        let short = |text: String| text.chars().take(200).collect::<String>();
        Self {
            status,
            errcode: read.errcode.map(short),
            error: read.error.map(short).unwrap_or_default(),
            retry_after,
        }
    }
}

/// Why a connector has no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReachError {
    /// The name leads nowhere.
    #[error("the server cannot be found")]
    Discover(#[source] DiscoverError),
    /// The address does not answer.
    #[error("the server cannot be reached")]
    Connect(#[source] ConnectError),
    /// There are too many connections.
    #[error(transparent)]
    Full(Full),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server did not answer lately, and is left alone for a while.
    #[error("the server did not answer lately: {why}")]
    BackOff {
        /// For how long still.
        pause: Duration,
        /// What went wrong.
        why: String,
    },
    /// The name leads nowhere.
    #[error("the server cannot be found")]
    Discover(#[source] DiscoverError),
    /// The server cannot be reached.
    #[error("the server cannot be reached")]
    Connect(#[source] hyper_util::client::legacy::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("the server did not answer as one of HTTP does")]
    Http(#[source] Box<dyn Error + Send + Sync>),
    /// It took too long.
    #[error("the server did not answer in time")]
    TimedOut,
    /// The answer is too long.
    #[error("the answer is too long")]
    TooLarge,
    /// The server refuses.
    #[error("the server answered {} {} {}", .0.status, .0.errcode.as_deref().unwrap_or_default(), .0.error)]
    Refused(Refusal),
    /// There is too much under way.
    #[error("too many requests are under way")]
    Busy,
    /// What was asked cannot be asked.
    #[error("the request cannot be made: {0}")]
    Request(&'static str),
}

/// An error with what caused it, on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

impl CallError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Busy | Self::Request(_) => Fault::Ours,
            Self::Refused(_) | Self::TooLarge => Fault::Server,
            Self::BackOff { .. } | Self::Discover(_) | Self::Connect(_) | Self::Http(_) | Self::TimedOut => {
                Fault::Reach
            }
        }
    }

    /// True if the server should be left alone for a while: it cannot be reached, or its reverse proxy says as much.
    #[must_use]
    pub fn counts_against_server(&self) -> bool {
        match self {
            Self::Discover(_) | Self::Connect(_) | Self::Http(_) | Self::TimedOut => true,
            // Media that nobody has uploaded yet says nothing of the server.
            Self::Refused(refusal) => {
                matches!(refusal.status.as_u16(), 502..=504)
                    && !matches!(refusal.errcode.as_deref(), Some("M_NOT_YET_UPLOADED" | "M_TOO_LARGE"))
            }
            Self::BackOff { .. } | Self::TooLarge | Self::Busy | Self::Request(_) => false,
        }
    }

    /// The error with what caused it, for people.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }

    pub(super) fn from_client(error: hyper_util::client::legacy::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            match this.downcast_ref::<ReachError>() {
                Some(ReachError::Discover(error)) => return Self::Discover(error.clone()),
                Some(ReachError::Full(_)) => return Self::Busy,
                Some(ReachError::Connect(_)) => return Self::Connect(error),
                None => cause = this.source(),
            }
        }
        Self::Http(error.into())
    }

    pub(super) fn from_body(error: Box<dyn Error + Send + Sync>) -> Self {
        if error.is::<LengthLimitError>() { Self::TooLarge } else { Self::Http(error) }
    }
}
