//! Removes guests from rooms that no longer let them in.
//! ([C-S API, guest access](https://spec.matrix.org/v1.19/client-server-api/#guest-access)).
//!
//! Whoever changes `m.room.guest_access`, here or elsewhere, and in whatever way the state comes to it: after the commit
//! the guests of this server are sent out by intents of their own. Every minute all rooms with guests are looked at
//! again, for what a crash or a guest who was just joining has left.

use std::{collections::HashSet, time::Duration};

use plexus_log::InputRoom;
use plexus_proto::log::v1::input_room_event::Body;
use plexus_service::Shutdown;
use serde::Deserialize;
use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use super::inputs::{leave, room_input};
use crate::{
    app::App,
    error_chain::chain,
    rooms::RoomNid,
    store::{
        StoreError, pool,
        reads::{
            facts,
            members::{self, GuestRow},
        },
    },
};

/// Pause between two looks at all rooms.
const PAUSE: Duration = Duration::from_secs(60);
/// Pause before the next look if no partition was ours.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// Rooms with a change that are looked at together, and that may wait.
const ROOMS: usize = 256;
/// Guests that are looked at together.
const STEP: usize = 1_000;

/// Where the worker tells of rooms whose `m.room.guest_access` has changed.
#[derive(Debug, Clone)]
pub(super) struct Changes(mpsc::Sender<RoomNid>);

impl Changes {
    /// Tells of a room. If too many wait, it has its turn when all rooms have theirs.
    pub(super) fn note(&self, room: RoomNid) {
        let _full_or_stopping = self.0.try_send(room);
    }
}

/// Makes the task, which runs until told to stop.
pub(super) fn task(app: App, shutdown: Shutdown) -> (Changes, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(ROOMS);
    (Changes(sender), run(app, shutdown, receiver))
}

async fn run(app: App, shutdown: Shutdown, mut changes: mpsc::Receiver<RoomNid>) {
    let mut next = Instant::now();
    let mut changed = Vec::with_capacity(ROOMS);
    loop {
        let done = tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep_until(next) => {
                let partitions = app.verdicts.owned();
                next = Instant::now() + if partitions.is_empty() { IDLE_PAUSE } else { PAUSE };
                in_all_rooms(&app, &partitions).await
            }
            count = changes.recv_many(&mut changed, ROOMS) => {
                if count == 0 {
                    return;
                }
                let rooms: Vec<i64> = changed.drain(..).map(|room| room.0).collect();
                in_rooms(&app, &rooms).await
            }
        };
        if let Err(failure) = done {
            debug!(reason = %chain(&failure), "guests stay where they are for now");
        }
    }
}

/// Looks at all rooms of some partitions.
async fn in_all_rooms(app: &App, partitions: &[i16]) -> Result<(), StoreError> {
    if partitions.is_empty() {
        return Ok(());
    }
    let step = i64::try_from(STEP).unwrap_or(i64::MAX);
    let mut after = (0, String::new());
    loop {
        let conn = pool::get(&app.pool).await?;
        let guests = members::list_guests(&conn, partitions, &after.0, &after.1, &step).await?;
        drop(conn);
        let Some(last) = guests.last() else { return Ok(()) };
        after = (last.room_nid, last.user_id.clone());
        let all = guests.len() < STEP;
        remove_guests(app, guests).await?;
        if all {
            return Ok(());
        }
    }
}

/// Looks at some rooms.
async fn in_rooms(app: &App, rooms: &[i64]) -> Result<(), StoreError> {
    let conn = pool::get(&app.pool).await?;
    let guests = members::list_guests_of(&conn, rooms).await?;
    drop(conn);
    remove_guests(app, guests).await
}

/// Has those guests leave who are in rooms that do not let them in.
async fn remove_guests(app: &App, guests: Vec<GuestRow>) -> Result<(), StoreError> {
    if guests.is_empty() {
        return Ok(());
    }
    let rooms: Vec<i64> =
        guests.iter().map(|guest| guest.room_nid).collect::<HashSet<_>>().into_iter().collect();
    let conn = pool::get(&app.pool).await?;
    let facts = facts::list_entries(&conn, &rooms, "m.room.guest_access").await?;
    drop(conn);
    let open: HashSet<i64> =
        facts.iter().filter(|fact| lets_guests_in(&fact.json)).map(|fact| fact.room_nid).collect();
    for guest in guests.into_iter().filter(|guest| !open.contains(&guest.room_nid)) {
        let record = room_input(guest.room_id, Body::Intent(leave(guest.user_id)));
        if let Err(failure) = app.log.append::<InputRoom>(&record).await {
            debug!(reason = %failure, "a guest stays where it is for now");
        }
    }
    Ok(())
}

/// Whether an `m.room.guest_access` event lets guests in.
fn lets_guests_in(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        guest_access: String,
    }
    serde_json::from_slice::<Event>(json).is_ok_and(|event| event.content.guest_access == "can_join")
}
