//! Goes on with joins and leaves that were left half done: by a process that died, or as no server answered.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use plexus_proto::room::v1::{MembershipSaga, membership_saga::Kind};
use plexus_service::Shutdown;
use ruma::{OwnedRoomId, OwnedUserId};
use tracing::{debug, info};

use super::{
    join, leave,
    saga::{self, Held, Holder},
};
use crate::Federation;

/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_secs(5);
/// Sagas that are gone on with at a time.
const AT_ONCE: u32 = 8;

/// Looks for what is due until shutdown.
pub(crate) async fn run(federation: Federation, shutdown: Shutdown) {
    let holder: Holder = rand::random();
    loop {
        tokio::select! {
            () = once(&federation, holder) => {}
            () = shutdown.requested() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.requested() => return,
        }
    }
}

/// Goes on with what is due now.
pub(crate) async fn once(federation: &Federation, holder: Holder) {
    match saga::claim_due(&federation.rooms, holder, AT_ONCE).await {
        Ok(sagas) => {
            stream::iter(sagas).for_each_concurrent(None, |saga| go_on(federation, saga, holder)).await;
        }
        Err(status) => debug!(%status, "cannot look for memberships that are on their way"),
    }
}

async fn go_on(federation: &Federation, saga: MembershipSaga, holder: Holder) {
    let (Ok(room_id), Ok(user_id)) =
        (OwnedRoomId::try_from(saga.room_id.as_str()), OwnedUserId::try_from(saga.user_id.as_str()))
    else {
        return;
    };
    let held = Held::by(&federation.rooms, &room_id, &user_id, holder);
    let _kept = held.keep();
    let done = match saga.kind() {
        Kind::Join => join::resume(federation, &held, &saga).await.map(drop),
        Kind::Leave => leave::resume(federation, &held, &saga).await,
        Kind::Unspecified => held.finish().await,
    };
    match done {
        Ok(()) => {
            info!(room.id = %room_id, user.id = %user_id, "a membership that was on its way has come to its end")
        }
        Err(status) => {
            debug!(room.id = %room_id, user.id = %user_id, %status, "a membership is still on its way")
        }
    }
}
