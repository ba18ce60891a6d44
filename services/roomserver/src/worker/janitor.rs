//! Runs slow tasks: deletes the rest of deleted rooms, expired records of logs, and snapshots that
//! were never used; rooms are asked to give up events that have been parked for too long.

use std::time::Duration;

use plexus_log::InputRoom;
use plexus_proto::log::v1::{ExpireParked, RoomControl, input_room_event::Body, room_control::Action};
use plexus_service::Shutdown;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::{
    engine::{connect, now_ms},
    inputs::room_input,
    retention,
};
use crate::{
    app::App,
    error_chain::chain,
    metrics as names,
    store::{
        StoreError, backups, bounds, generation,
        inbox_bounds::{self, INBOXES, Place},
        keys, media, pool,
        purge::{self, Finished},
        reads, snapshots,
    },
};

/// How long snapshots that were not used are kept, and parked events.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(60);
/// Least pause between two rounds.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Runs until told to stop.
pub(super) async fn run(app: App, shutdown: Shutdown) {
    // Whatever is kept for less than a usual pause is looked at more often.
    let window = Duration::from_secs(app.config.retention.output_log_s);
    let pause = PAUSE.min(window).max(LEAST_PAUSE);
    let mut rounds = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut inbox = Place::default();
    // Keys of earlier generations are looked for once in each.
    let mut swept = 0;
    loop {
        let is_round = tokio::select! {
            () = shutdown.requested() => return,
            () = app.purged.notified() => false,
            _ = rounds.tick() => true,
        };
        if let Err(failure) = finish_purges(&app, &shutdown).await {
            debug!(reason = %chain(&failure), "the rest of deleted rooms stays for now");
        }
        if !is_round {
            continue;
        }
        // What belongs to no partition one instance does for all: the owner of the first.
        if app.verdicts.owned().contains(&0) {
            if let Err(failure) = trim(&app).await {
                debug!(reason = %chain(&failure), "what is kept for operators stays for now");
            }
            if let Err(failure) = sweep_keys(&app, &mut swept, &shutdown).await {
                debug!(reason = %chain(&failure), "keys of an earlier generation stay for now");
            }
            if let Err(failure) = collect_backups(&app, &shutdown).await {
                debug!(reason = %chain(&failure), "deleted backups stay for now");
            }
            if let Err(failure) = collect_media(&app, &shutdown).await {
                debug!(reason = %chain(&failure), "rows of deleted media stay for now");
            }
            match trim_inboxes(&app, &inbox).await {
                Ok(next) => inbox = next,
                Err(failure) => {
                    debug!(reason = %chain(&failure), "what waits too long for devices stays for now")
                }
            }
        } else {
            inbox = Place::default();
        }
        if let Err(failure) = expire_snapshots(&app, &shutdown).await {
            debug!(reason = %chain(&failure), "old snapshots stay for now");
        }
        if let Err(failure) = expire_parked(&app).await {
            debug!(reason = %chain(&failure), "events stay parked for now");
        }
        if let Err(failure) = retention::round(&app, &shutdown).await {
            debug!(reason = %chain(&failure), "what the logs leave behind stays for now");
        }
    }
}

/// Deletes what is left of the rooms of our partitions that were deleted. A statement may take longer than a read: some
/// have to look through a whole table.
async fn finish_purges(app: &App, shutdown: &Shutdown) -> Result<(), StoreError> {
    let rooms = purge::list(&*pool::get(&app.pool).await?, &app.verdicts.owned()).await?;
    if rooms.is_empty() {
        return Ok(());
    }
    let mut conn = connect(app).await?;
    for room_nid in rooms {
        let finished = purge::finish(&mut conn, room_nid, purge::STEP, || shutdown.is_requested()).await?;
        if finished == Finished::No {
            break;
        }
        info!(room.nid = room_nid, "a deleted room is gone");
    }
    Ok(())
}

/// Deletes the oldest of what is kept for operators.
async fn trim(app: &App) -> Result<(), StoreError> {
    let mut conn = pool::get(&app.pool).await?;
    let letters = bounds::trim_dead_letters(&mut conn, bounds::DEAD_LETTERS).await?;
    let resets = bounds::trim_state_resets(&mut conn, bounds::STATE_RESETS).await?;
    if letters + resets > 0 {
        info!(letters, resets, "the oldest dead letters and state resets are deleted");
    }
    Ok(())
}

/// Deletes the keys of backups that were deleted.
async fn collect_backups(app: &App, shutdown: &Shutdown) -> Result<(), StoreError> {
    let mut conn = connect(app).await?;
    let keys = backups::collect_garbage(&mut conn, backups::STEP, || shutdown.is_requested()).await?;
    if keys > 0 {
        info!(keys, "keys of deleted backups are gone");
    }
    Ok(())
}

/// Deletes rows of media that was deleted at once, or has expired.
async fn collect_media(app: &App, shutdown: &Shutdown) -> Result<(), StoreError> {
    let mut conn = connect(app).await?;
    let rows = media::collect_garbage(&mut conn, now_ms(), media::STEP, || shutdown.is_requested()).await?;
    if rows > 0 {
        metrics::counter!(names::COLLECTED_MEDIA).increment(u64::try_from(rows).unwrap_or(0));
        info!(rows, "rows of deleted and expired media are gone");
    }
    Ok(())
}

/// Deletes one-time keys of earlier generations of the database, which nobody is given any more.
async fn sweep_keys(app: &App, swept: &mut i64, shutdown: &Shutdown) -> Result<(), StoreError> {
    let generation = generation::get(&mut *pool::get(&app.pool).await?).await?;
    if *swept == generation {
        return Ok(());
    }
    let conn = connect(app).await?;
    while *swept != generation && !shutdown.is_requested() {
        if keys::sweep(&conn, generation).await? == 0 {
            *swept = generation;
        }
    }
    Ok(())
}

/// Drops the oldest messages of inboxes that are too full, in a part of all inboxes; returns where the next part begins.
async fn trim_inboxes(app: &App, after: &Place) -> Result<Place, StoreError> {
    let mut conn = connect(app).await?;
    let (dropped, next) = inbox_bounds::trim(&mut conn, after, INBOXES, now_ms()).await?;
    for inbox in dropped {
        metrics::counter!(names::DROPPED_MESSAGES).increment(u64::try_from(inbox.messages).unwrap_or(0));
        warn!(
            user.id = inbox.user_id,
            device.id = inbox.device_id,
            messages = inbox.messages,
            "too many messages waited for a device; the oldest are dropped"
        );
    }
    Ok(next.unwrap_or_default())
}

/// Deletes snapshots of our partitions that are too old, and what those told of members and facts that do not count.
async fn expire_snapshots(app: &App, shutdown: &Shutdown) -> Result<(), StoreError> {
    let before = now_ms().saturating_sub(i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX));
    let mut conn = connect(app).await?;
    let stop = || shutdown.is_requested();
    snapshots::expire(&mut conn, &app.verdicts.owned(), before, snapshots::STEP, stop).await
}

/// Has events given up that have been parked for too long. Their rooms decide that themselves, by an input: nothing but
/// inputs changes rooms.
async fn expire_parked(app: &App) -> Result<(), StoreError> {
    let partitions = app.verdicts.owned();
    if partitions.is_empty() {
        return Ok(());
    }
    let before = now_ms().saturating_sub(i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX));
    let conn = pool::get(&app.pool).await?;
    let rooms = reads::rooms::list_with_old_parked(&conn, &before, &partitions).await?;
    drop(conn);
    for (room_id,) in rooms {
        let control = RoomControl { action: Some(Action::ExpireParked(ExpireParked {})) };
        let record = room_input(room_id, Body::Control(control));
        if let Err(failure) = app.log.append::<InputRoom>(&record).await {
            debug!(reason = %failure, "a room is not asked to give up what is parked for now");
        }
    }
    Ok(())
}
