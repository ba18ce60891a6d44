//! [Rooms](https://spec.matrix.org/v1.19/client-server-api/#rooms-1) and the events in them.

mod ban;
mod context;
mod forget;
mod invite;
mod join;
mod kick;
mod knock;
mod leave;
mod redact;
mod send;

use crate::harness::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        join::tests(),
        invite::tests(),
        knock::tests(),
        leave::tests(),
        kick::tests(),
        ban::tests(),
        forget::tests(),
        send::tests(),
        redact::tests(),
        context::tests(),
    ]
    .concat()
}
