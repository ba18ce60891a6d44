//! Fetches what parked events lack: gaps, auth events, states.
//!
//! What is to be fetched is told by the room server, which parks events in Postgres (`ListOpenFetches`); nothing of it is
//! kept here, so that a process that dies leaves all of it to the next one. A `FetchRequest` in the output log only says
//! that it is time to look. Each room has one saga at a time ([`saga`]); sagas of different rooms do not wait for each
//! other, and nothing else waits for them.
//!
//! An answer that cannot be verified is no answer: an event whose past nobody tells is given up, and never taken without.

mod ask;
mod auth;
mod backfill;
mod candidates;
mod driver;
mod ends;
mod gap;
mod order;
mod room;
mod saga;
mod snapshot;
mod state;

pub(crate) use backfill::{Backfills, backfill};
pub(crate) use driver::run;
pub(crate) use ends::{Ends, Fetches};

/// Why something could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The server has answered, and does not have it or will not tell: another one may.
    #[error("{0}")]
    Refused(String),
    /// The server has answered with what cannot be believed. Nobody else is asked on its account.
    #[error("{0}")]
    Invalid(String),
    /// The server, or a part of ours, could not be reached: it may be tried again later.
    #[error("{0}")]
    Unreachable(String),
}

#[cfg(test)]
mod tests;
