//! Accounts, sessions, and what is kept with them.

mod data;
mod erasure;
mod guests;
mod login;
mod password;
mod register;
mod whoami;

use crate::harness::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        register::tests(),
        login::tests(),
        password::tests(),
        erasure::tests(),
        guests::tests(),
        whoami::tests(),
        data::tests(),
    ]
    .concat()
}
