//! The client-server API.

mod account;
mod devices;
mod profiles;
mod rooms;
mod standards;

use crate::harness::Test;

/// All tests, in the order of the sections.
pub(crate) fn tests() -> Vec<Test> {
    [standards::tests(), account::tests(), rooms::tests(), profiles::tests(), devices::tests()].concat()
}
