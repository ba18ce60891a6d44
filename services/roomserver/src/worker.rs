//! The worker: reads the input logs of the partitions this instance owns, applies their records, commits, publishes.

mod board;

pub(crate) use board::{Board, InputId, Lookup};

use plexus_service::Shutdown;

use crate::app::{App, StartError};

/// Joins the group and begins to work.
pub(crate) fn start(_app: &App, _shutdown: &Shutdown) -> Result<(), StartError> {
    Ok(())
}
