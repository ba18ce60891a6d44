//! Sharing partitions.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use plexus_log::{InputRoom, Ownership, OwnershipEvent, PARTITIONS};
use tokio::{sync::oneshot, time::timeout};

use crate::world::{World, soon};

/// A member that does as it is told.
pub(crate) struct Member {
    pub(crate) ownership: Ownership,
    pub(crate) owned: BTreeSet<u32>,
}

impl Member {
    pub(crate) fn new(ownership: Ownership) -> Self {
        Self { ownership, owned: BTreeSet::new() }
    }

    /// Takes one event; returns the receipt of a loss.
    async fn step(&mut self) -> Option<oneshot::Sender<()>> {
        match self.ownership.next().await.expect("the log is open") {
            OwnershipEvent::Gained(partitions) => {
                for partition in partitions {
                    assert!(self.owned.insert(partition), "partition {partition} was gained twice");
                }
                None
            }
            OwnershipEvent::Expired(partitions) => panic!("the membership expired with {partitions:?}"),
            OwnershipEvent::Lost { partitions, done } => {
                for partition in partitions {
                    assert!(self.owned.remove(&partition), "partition {partition} was not owned");
                }
                Some(done)
            }
        }
    }

    /// Takes events until there is a loss; returns its receipt.
    pub(crate) async fn loses(&mut self) -> oneshot::Sender<()> {
        soon("a loss", async {
            loop {
                if let Some(done) = self.step().await {
                    break done;
                }
            }
        })
        .await
    }

    pub(crate) async fn reaches(&mut self, count: u32) {
        soon("the member's share", async {
            while self.owned.len() != count as usize {
                drop(self.step().await);
            }
        })
        .await;
    }
}

async fn two_members(world: &World) -> (Member, Member) {
    let mut first = Member::new(world.log.join_group::<InputRoom>("workers").unwrap());
    first.reaches(PARTITIONS).await;
    let other = world.another().await;
    let second = Member::new(other.join_group::<InputRoom>("workers").unwrap());
    (first, second)
}

pub(crate) async fn first_member_owns_everything(world: World) {
    let mut member = Member::new(world.log.join_group::<InputRoom>("workers").unwrap());
    let mut stranger = Member::new(world.log.join_group::<InputRoom>("others").unwrap());
    member.reaches(PARTITIONS).await;
    stranger.reaches(PARTITIONS).await;
    assert_eq!(member.owned, (0..PARTITIONS).collect());
}

pub(crate) async fn second_member_gets_its_share_after_the_drain(world: World) {
    let (mut first, mut second) = two_members(&world).await;
    let done = first.loses().await;
    let kept = first.owned.clone();
    assert_eq!(kept.len(), 32);
    // As long as the first drains, the second has nothing.
    let early = timeout(Duration::from_secs(1), async {
        while second.owned.is_empty() {
            drop(second.step().await);
        }
    })
    .await;
    assert!(early.is_err(), "partitions were given away before they were drained");
    done.send(()).unwrap();
    second.reaches(PARTITIONS / 2).await;
    assert!(kept.is_disjoint(&second.owned));
}

pub(crate) async fn member_that_leaves_is_replaced(world: World) {
    let (mut first, mut second) = two_members(&world).await;
    tokio::join!(first.reaches(PARTITIONS / 2), second.reaches(PARTITIONS / 2));
    let start = Instant::now();
    drop(second);
    first.reaches(PARTITIONS).await;
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
}

pub(crate) async fn stale_owner_does_not_hold_up_the_group(world: World) {
    let (mut first, mut second) = two_members(&world).await;
    let start = Instant::now();
    let mut kept = Vec::new();
    let stale = async {
        loop {
            // Never answered.
            kept.extend(first.step().await);
        }
    };
    tokio::select! {
        () = second.reaches(PARTITIONS / 2) => {}
        () = stale => {}
    }
    assert!(start.elapsed() < Duration::from_secs(12), "it took {:?}", start.elapsed());
    assert_eq!(kept.len(), 1, "the stale owner was told once");
    assert!(first.owned.is_disjoint(&second.owned));
}
