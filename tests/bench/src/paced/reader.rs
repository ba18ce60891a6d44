//! A member who waits in `/sync`.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{sync::watch, task::JoinHandle};

use crate::{client::User, report};

/// How long a reader lets the server wait for news.
const POLL: Duration = Duration::from_secs(10);

/// What was sent, and when it was due.
#[derive(Default)]
pub(crate) struct Ledger {
    sends: Mutex<HashMap<u64, Send>>,
}

struct Send {
    due: Instant,
    measured: bool,
    event_id: Option<String>,
}

impl Ledger {
    fn sends(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Send>> {
        self.sends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a message before it is sent.
    pub(crate) fn due(&self, number: u64, due: Instant, measured: bool) {
        self.sends().insert(number, Send { due, measured, event_id: None });
    }

    /// Notes the acknowledgement of a message.
    pub(crate) fn acknowledged(&self, number: u64, event_id: String) {
        if let Some(send) = self.sends().get_mut(&number) {
            send.event_id = Some(event_id);
        }
    }

    /// When a message was due, if it counts.
    fn measured(&self, number: u64) -> Option<Instant> {
        self.sends().get(&number).filter(|send| send.measured).map(|send| send.due)
    }

    /// Event IDs of what was acknowledged in a room: message n goes to room n modulo the number of rooms.
    fn acknowledged_in(&self, place: &Place) -> Vec<String> {
        let sends = self.sends();
        let of_room = sends.iter().filter(|(number, _)| *number % place.rooms == place.index);
        of_room.filter_map(|(_, send)| send.event_id.clone()).collect()
    }
}

/// What a reader has to tell.
pub(crate) struct Read {
    pub(crate) delivery_us: Histogram<u64>,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
}

/// A reader at work.
pub(crate) struct Reader {
    task: JoinHandle<anyhow::Result<Read>>,
    finish: watch::Sender<Option<Instant>>,
}

impl Reader {
    /// Starts at the end of what there is.
    pub(crate) async fn start(user: User, place: Place, ledger: Arc<Ledger>) -> anyhow::Result<Self> {
        let since = user.sync(None, Duration::ZERO).await?.next_batch;
        let (finish, finishing) = watch::channel(None);
        let task = tokio::spawn(read(user, place, since, ledger, finishing));
        Ok(Self { task, finish })
    }

    /// Waits until it has seen everything that was acknowledged, at most until `last_call`.
    pub(crate) async fn finish(self, last_call: Instant) -> anyhow::Result<Read> {
        self.finish.send_replace(Some(last_call));
        self.task.await?
    }
}

/// Which room a reader reads.
#[derive(Clone)]
pub(crate) struct Place {
    /// Its ID.
    pub(crate) room: String,
    /// Which of the rooms it is.
    pub(crate) index: u64,
    /// How many there are.
    pub(crate) rooms: u64,
}

async fn read(
    user: User,
    place: Place,
    mut since: String,
    ledger: Arc<Ledger>,
    mut finishing: watch::Receiver<Option<Instant>>,
) -> anyhow::Result<Read> {
    let mut read = Read { delivery_us: report::histogram(), lost: 0, duplicates: 0 };
    let mut seen: HashSet<String> = HashSet::new();
    loop {
        if let Some(last_call) = *finishing.borrow_and_update() {
            let acknowledged = ledger.acknowledged_in(&place);
            let missing = acknowledged.iter().filter(|id| !seen.contains(*id)).count() as u64;
            if missing == 0 || Instant::now() >= last_call {
                read.lost = missing;
                return Ok(read);
            }
        }
        // A poll that is under way is cut short once it is time to finish: most have seen everything by then.
        let poll = user.sync(Some(&since), POLL);
        let answer = tokio::select! {
            answer = poll => answer?,
            _ = finishing.changed() => continue,
        };
        let now = Instant::now();
        for (room, joined) in answer.rooms.join {
            if room != place.room {
                continue;
            }
            for event in &joined.timeline.events {
                let Some(number) = event.number() else { continue };
                if !seen.insert(event.event_id.clone()) {
                    read.duplicates += 1;
                } else if let Some(due) = ledger.measured(number) {
                    read.delivery_us.saturating_record(report::micros(now - due));
                }
            }
            if joined.timeline.limited {
                fill(&user, &place.room, joined.timeline.prev_batch, &mut seen).await?;
            }
        }
        since = answer.next_batch;
    }
}

/// Reads what a limited timeline left out, back to what is known. It counts as delivered, but not as delivered in time.
async fn fill(
    user: &User,
    room: &str,
    mut from: Option<String>,
    seen: &mut HashSet<String>,
) -> anyhow::Result<()> {
    while let Some(position) = from {
        let page = user.messages(room, Some(&position)).await?;
        for event in page.chunk.into_iter().filter(|event| event.number().is_some()) {
            if !seen.insert(event.event_id) {
                return Ok(());
            }
        }
        from = page.end.filter(|end| *end != position);
    }
    Ok(())
}
