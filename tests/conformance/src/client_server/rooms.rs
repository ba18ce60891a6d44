//! [Rooms](https://spec.matrix.org/v1.19/client-server-api/#rooms-1) and the events in them.

mod aliases;
mod ban;
mod context;
mod create;
mod directory;
mod forget;
mod initial_sync;
mod invite;
mod join;
mod kick;
mod knock;
mod leave;
mod members;
mod messages;
mod nul;
mod power_levels;
mod previews;
mod reasons;
mod receipts;
mod redact;
mod relations;
mod reports;
mod send;
mod spaces;
mod state;
mod tags;
mod third_party;
mod threads;
mod timestamps;
mod typing;
mod upgrade;
mod versions;
mod visibility;

use crate::harness::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        create::tests(),
        aliases::tests(),
        join::tests(),
        invite::tests(),
        third_party::tests(),
        knock::tests(),
        leave::tests(),
        kick::tests(),
        ban::tests(),
        forget::tests(),
        reasons::tests(),
        members::tests(),
        state::tests(),
        power_levels::tests(),
        versions::tests(),
        visibility::tests(),
        send::tests(),
        redact::tests(),
        messages::tests(),
        nul::tests(),
        context::tests(),
        relations::tests(),
        threads::tests(),
        timestamps::tests(),
        previews::tests(),
        spaces::tests(),
        directory::tests(),
        upgrade::tests(),
        reports::tests(),
        initial_sync::tests(),
        receipts::tests(),
        typing::tests(),
        tags::tests(),
    ]
    .concat()
}
