//! The client-server API.

mod account;
mod attention;
mod devices;
mod discovery;
mod endpoints;
mod key_backup;
pub(crate) mod keys;
pub(crate) mod media;
mod operations;
mod profiles;
mod push;
mod rooms;
mod standards;
mod sync;
mod to_device;

use crate::harness::Test;

/// All tests, in the order of the sections.
pub(crate) fn tests() -> Vec<Test> {
    [
        standards::tests(),
        endpoints::tests(),
        discovery::tests(),
        operations::tests(),
        account::tests(),
        rooms::tests(),
        sync::tests(),
        sync::state::tests(),
        sync::members::tests(),
        sync::rooms::tests(),
        sync::filters::tests(),
        sync::sessions::tests(),
        sync::sliding::tests(),
        sync::sliding::encryption::tests(),
        profiles::tests(),
        push::tests(),
        attention::tests(),
        devices::tests(),
        to_device::tests(),
        key_backup::tests(),
        keys::tests(),
        keys::signing::tests(),
        keys::changes::tests(),
        media::tests(),
        media::asynchronous::tests(),
        media::serving::tests(),
        media::thumbnails::tests(),
    ]
    .concat()
}
