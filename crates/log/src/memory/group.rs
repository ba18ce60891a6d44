//! Sharing partitions among the members of a group within one process.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{OwnershipEvent, PARTITIONS};

/// How long a member may take to let go of partitions before others get them all the same.
const DRAIN: Duration = Duration::from_secs(5);

/// Events a member may leave unread.
const EVENTS: usize = 16;

/// A group; its task ends when the log is closed or dropped.
pub(super) struct Group {
    joining: Arc<Joining>,
}

#[derive(Default)]
struct Joining {
    members: Mutex<Vec<mpsc::Sender<OwnershipEvent>>>,
    changed: Notify,
}

struct Member {
    events: mpsc::Sender<OwnershipEvent>,
    owned: Vec<u32>,
}

impl Group {
    pub(super) fn start(runtime: &tokio::runtime::Handle, stopping: CancellationToken) -> Self {
        let joining = Arc::new(Joining::default());
        let task = run(Arc::clone(&joining));
        runtime.spawn(async move { stopping.run_until_cancelled(task).await });
        Self { joining }
    }

    pub(super) fn join(&self) -> mpsc::Receiver<OwnershipEvent> {
        let (events, receiver) = mpsc::channel(EVENTS);
        self.joining.members.lock().push(events);
        self.joining.changed.notify_one();
        receiver
    }
}

async fn run(joining: Arc<Joining>) {
    let mut members: Vec<Member> = Vec::new();
    loop {
        {
            let mut gone: FuturesUnordered<_> = members.iter().map(|member| member.events.closed()).collect();
            tokio::select! {
                () = joining.changed.notified() => {}
                Some(()) = gone.next() => {}
            }
        }
        let joined = std::mem::take(&mut *joining.members.lock());
        members.extend(joined.into_iter().map(|events| Member { events, owned: Vec::new() }));
        members.retain(|member| !member.events.is_closed());
        rebalance(&mut members).await;
    }
}

/// Takes from members that have more than their share, waits until they have let go, and hands out what is free.
async fn rebalance(members: &mut [Member]) {
    let shares = shares(members.len());
    let mut draining = FuturesUnordered::new();
    for (member, share) in members.iter_mut().zip(&shares) {
        if member.owned.len() <= *share {
            continue;
        }
        let partitions = member.owned.split_off(*share);
        let (done, drained) = oneshot::channel();
        let events = member.events.clone();
        draining.push(tokio::time::timeout(DRAIN, async move {
            if events.send(OwnershipEvent::Lost { partitions, done }).await.is_ok() {
                // Dropped counts as done.
                drained.await.ok();
            }
        }));
    }
    while draining.next().await.is_some() {}

    let mut free: Vec<u32> = (0..PARTITIONS)
        .filter(|partition| !members.iter().any(|member| member.owned.contains(partition)))
        .collect();
    for (member, share) in members.iter_mut().zip(&shares) {
        let wanted = share.saturating_sub(member.owned.len()).min(free.len());
        if wanted == 0 {
            continue;
        }
        let gained: Vec<u32> = free.drain(..wanted).collect();
        member.owned.extend(&gained);
        // A member that reads no events cannot hold up the others: it works on nothing it was not told of.
        if let Err(error) = member.events.try_send(OwnershipEvent::Gained(gained)) {
            tracing::warn!(error = %error, "group member does not take its partitions");
        }
    }
}

/// How many partitions each of so many members gets.
fn shares(members: usize) -> Vec<usize> {
    let all = PARTITIONS as usize;
    (0..members).map(|index| all / members + usize::from(index < all % members)).collect()
}
