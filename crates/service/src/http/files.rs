//! Open files: each connection is one, so their limit bounds the connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Files that are open beside connections of clients: the database, logs, other services, listeners.
const RESERVED: usize = 256;

/// Raises the limit of open files to the most that this process may have.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => info!(before = limit.current, now = limit.maximum, "raised the limit of open files"),
        Err(error) => warn!(%error, limit = limit.current, "cannot raise the limit of open files"),
    }
}

/// Returns how many connections a listener may have: what is configured, as far as there are files.
pub(super) fn cap_connections(listener: &'static str, configured: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    let most = most_connections(files, configured);
    if most < configured {
        warn!(
            listener,
            configured,
            most,
            open_files = files,
            "max_connections is more than the limit of open files allows (ulimit -n)"
        );
    }
    most
}

fn most_connections(files: Option<usize>, configured: usize) -> usize {
    // Where there are hardly any files, some connections are still better than none.
    files.map_or(configured, |files| configured.min(files.saturating_sub(RESERVED).max(files / 2)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_no_more_than_files() {
        assert_eq!(most_connections(None, 10_000), 10_000);
        assert_eq!(most_connections(Some(1 << 20), 10_000), 10_000);
        assert_eq!(most_connections(Some(1024), 10_000), 768);
        assert_eq!(most_connections(Some(64), 10_000), 32);
        assert_eq!(most_connections(Some(0), 10_000), 1);
    }

    #[test]
    fn the_limit_is_raised_to_the_most() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
