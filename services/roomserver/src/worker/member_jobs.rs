//! Runs jobs that change all rooms of a user.
//!
//! A job is a row beside the user. The rooms that are left to do are told by `room_members`: those that do not have the
//! version of the profile, or that the user has not left. Each gets an input, a few at a time, and marks the row by what it
//! commits, so that it does not matter who is cut off where, or whether an input was lost with its log. Before a job
//! goes, it waits for whatever was under way when it began: a join that had read the profile before it changed.

use std::{collections::HashMap, time::Duration};

use plexus_log::InputRoom;
use plexus_proto::log::v1::{RoomControl, UpdateProfile, input_room_event::Body, room_control::Action};
use plexus_service::Shutdown;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    engine::now_ms,
    inputs::{leave, room_input},
};
use crate::{
    app::App,
    error_chain::chain,
    store::{
        StoreError,
        member_jobs::{self, Left},
        pool,
    },
    users::MemberJob,
};

/// Pause between two looks, while there is something to do and while there is nothing.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_secs(5);
/// Pause before the next look if no partition was ours.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// Rooms of one user that are under way at once, and of all users.
const ROOMS_OF_USER: i32 = 32;
const ROOMS: i32 = 256;
/// How long a room may take before it is asked again; this doubles up to the longest.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How long a job stays that has nothing left to do: longer than any batch takes.
const LINGER: Duration = Duration::from_secs(2 * 60);
/// How long a job stays whatever is left to do.
const GIVE_UP: Duration = Duration::from_secs(24 * 60 * 60);

/// Rooms that were asked: which version, until when they have time, and how much they had.
type Asked = HashMap<(String, MemberJob, String), (i64, Instant, Duration)>;

/// Runs until told to stop.
pub(super) async fn run(app: App, shutdown: Shutdown) {
    let mut next = Instant::now();
    let started = next;
    let mut next_finish = next;
    let mut asked = Asked::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = app.member_jobs.notified() => {}
            () = tokio::time::sleep_until(next) => {}
        }
        let partitions = app.verdicts.owned();
        let pause = if partitions.is_empty() {
            asked.clear();
            IDLE_PAUSE
        } else {
            let looked = async {
                if next_finish <= Instant::now() {
                    next_finish = Instant::now() + PAUSE;
                    // What was left while nobody was here has its time, too.
                    let gives_up = started.elapsed() >= GIVE_UP;
                    finish(&app, &partitions, gives_up).await?;
                }
                look(&app, &partitions, &mut asked).await
            };
            match looked.await {
                Ok(true) => BUSY_PAUSE,
                Ok(false) => PAUSE,
                Err(failure) => {
                    debug!(reason = %chain(&failure), "member events stay as they are for now");
                    IDLE_PAUSE
                }
            }
        };
        next = Instant::now() + pause;
    }
}

/// Removes jobs that have nothing left to do.
async fn finish(app: &App, partitions: &[i16], gives_up: bool) -> Result<(), StoreError> {
    let (done, give_up) = (before(LINGER), if gives_up { before(GIVE_UP) } else { i64::MIN });
    let gone = member_jobs::finish(&*pool::get(&app.pool).await?, &done, &give_up, partitions).await?;
    for job in gone.iter().filter(|job| job.given_up) {
        warn!(user.id = %job.user_id, "rooms keep an old member event: they did not take another for a day");
    }
    Ok(())
}

/// Asks the next rooms of each job. Tells whether more is to be done soon.
async fn look(app: &App, partitions: &[i16], asked: &mut Asked) -> Result<bool, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let left = member_jobs::list_left(&conn, partitions, &ROOMS_OF_USER, &ROOMS).await?;
    drop(conn);
    let now = Instant::now();
    let mut still = Asked::with_capacity(left.len());
    for Left { user_id, kind, version, room_id } in left {
        let Some(job) = member_jobs::job(kind) else { continue };
        let key = (user_id, job, room_id);
        let patience = match asked.get(&key) {
            Some((known, until, _)) if *known == version && *until > now => {
                if let Some(entry) = asked.remove(&key) {
                    still.insert(key, entry);
                }
                continue;
            }
            Some((known, _, patience)) if *known == version => (*patience * 2).min(LONGEST_PATIENCE),
            _ => PATIENCE,
        };
        let record = room_input(key.2.clone(), body(job, &key.0));
        match app.log.append::<InputRoom>(&record).await {
            Ok(_) => drop(still.insert(key, (version, now + patience, patience))),
            Err(failure) => debug!(reason = %failure, "a room is not told of a user for now"),
        }
    }
    *asked = still;
    Ok(asked.values().any(|(_, _, patience)| *patience == PATIENCE))
}

fn body(job: MemberJob, user_id: &str) -> Body {
    match job {
        MemberJob::UpdateProfile => {
            let update = UpdateProfile { user_id: user_id.to_owned() };
            Body::Control(RoomControl { action: Some(Action::UpdateProfile(update)) })
        }
        MemberJob::Leave => Body::Intent(leave(user_id.to_owned())),
    }
}

fn before(age: Duration) -> i64 {
    now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}
