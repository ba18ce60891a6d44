//! Makes the new rooms of upgrades whose request was cut off.
//!
//! What makes a new room is kept in the transaction that puts the tombstone into the old one. It is written to the log until
//! the room is there: who comes second is refused, as the room exists.

use std::time::{Duration, Instant};

use plexus_log::InputRoom;
use plexus_proto::log::v1::InputRoomEvent;
use plexus_service::Shutdown;
use prost::Message as _;
use tracing::{debug, error, info};

use super::engine::now_ms;
use crate::{
    app::App,
    error_chain::chain,
    store::{
        StoreError, pool,
        upgrades::{self, Upgrade},
    },
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(10);
/// Pause before the next look if no partition was ours.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// New rooms that are looked at together.
const STEP: i32 = 100;
/// How long is tried to make a room.
const GIVE_UP: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs until told to stop.
pub(super) async fn run(app: App, shutdown: Shutdown) {
    let started = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let partitions = app.verdicts.owned();
        if partitions.is_empty() {
            pause = IDLE_PAUSE;
            continue;
        }
        pause = PAUSE;
        // What was left while nobody was here has its time, too.
        if let Err(failure) = look(&app, &partitions, started.elapsed() >= GIVE_UP).await {
            debug!(reason = %chain(&failure), "rooms that replace others are not looked at for now");
        }
    }
}

/// Writes what makes the rooms that are not there yet, and forgets about the others.
async fn look(app: &App, partitions: &[i16], gives_up: bool) -> Result<(), StoreError> {
    let age = i64::try_from(GIVE_UP.as_millis()).unwrap_or(i64::MAX);
    let give_up = if gives_up { now_ms().saturating_sub(age) } else { i64::MIN };
    let conn = pool::get(&app.pool).await?;
    let gone = upgrades::finish(&conn, &give_up, partitions).await?;
    let open = upgrades::list(&conn, partitions, &STEP).await?;
    drop(conn);
    for (new_room_id, made) in gone {
        if !made {
            error!(room.id = %new_room_id, "a room that replaces another could not be made for a day");
        }
    }
    for Upgrade { new_room_id, record } in open {
        let record = InputRoomEvent::decode(record.as_slice()).map_err(|error| StoreError::Corrupt {
            what: format!("input of room {new_room_id} ({error})"),
        })?;
        match app.log.append::<InputRoom>(&record).await {
            Ok(_) => info!(room.id = %new_room_id, "making a room that replaces another"),
            Err(failure) => debug!(reason = %failure, "a room that replaces another is not made for now"),
        }
    }
    Ok(())
}
