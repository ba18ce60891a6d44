//! Words from servers: one that talks to us is there, so that what waits for it need not wait any longer.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::broadcast;

/// Words that wait to be heard. One that is lost is repeated by the next request of the server.
const WAITING: usize = 256;

/// Who was heard from, between those who answer other servers and the sender. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Contacts {
    /// Servers of which the sender wants to know, because they fail.
    failing: Arc<Mutex<HashSet<OwnedServerName>>>,
    heard: broadcast::Sender<OwnedServerName>,
}

impl Contacts {
    pub(crate) fn new() -> Self {
        Self { failing: Arc::default(), heard: broadcast::Sender::new(WAITING) }
    }

    /// Notes an authenticated request of a server.
    pub(crate) fn heard_from(&self, server: &ServerName) {
        if self.failing.lock().contains(server) {
            // Nobody listens where no sender runs.
            drop(self.heard.send(server.to_owned()));
        }
    }

    /// Words from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<OwnedServerName> {
        self.heard.subscribe()
    }

    /// Says whether a server fails.
    pub(super) fn set_failing(&self, server: &ServerName, is_failing: bool) {
        let mut failing = self.failing.lock();
        if is_failing {
            failing.insert(server.to_owned());
        } else {
            failing.remove(server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_that_fail_are_told_of() {
        let contacts = Contacts::new();
        let mut heard = contacts.listen();
        let (a, b): (&ServerName, &ServerName) = ("a.test".try_into().unwrap(), "b.test".try_into().unwrap());
        contacts.set_failing(a, true);
        contacts.heard_from(b);
        contacts.heard_from(a);
        assert_eq!(heard.try_recv().unwrap(), a);
        assert!(heard.try_recv().is_err());
        contacts.set_failing(a, false);
        contacts.heard_from(a);
        assert!(heard.try_recv().is_err());
    }
}
