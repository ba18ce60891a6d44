//! [Account](https://spec.matrix.org/v1.19/client-server-api/#account-management)

mod whoami;

use crate::harness::Test;

pub(crate) fn tests() -> Vec<Test> {
    [whoami::tests()].concat()
}
