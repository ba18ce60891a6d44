//! The server-server API: the suite is another server, `127.0.0.1` with a port, whose certificate is by
//! `tests/servers/authority.pem`.

mod authentication;
mod devices;
mod event;
mod keys;
mod media;
mod membership;
mod peer;
mod queries;
mod remote_room;
mod resident;
mod standards;
mod third_party;
mod transactions;

use crate::harness::Test;

/// All tests, in the order of the sections.
pub(crate) fn tests() -> Vec<Test> {
    [
        standards::tests(),
        keys::tests(),
        authentication::tests(),
        transactions::tests(),
        membership::tests(),
        third_party::tests(),
        queries::tests(),
        devices::tests(),
        media::tests(),
    ]
    .concat()
}
