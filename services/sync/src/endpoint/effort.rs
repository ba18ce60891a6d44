//! Budgets the work of push rules for an answer: users write them for what others write, and both may mean harm.
//!
//! Little is done at once. More goes to a few threads apart from those that serve requests, and comes out of an
//! allowance that each user has for a while. When that is used up, an answer leaves out what was still to be worked out.

use std::{
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use moka::sync::Cache;
use parking_lot::Mutex;
use plexus_push::{Budget, Spent};
use ruma::{OwnedUserId, UserId};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use crate::{limits, metrics as names};

/// Work on push rules: what was not finished can be gone on with.
pub(crate) trait Work: Send + 'static {
    /// Goes on until it is finished or the budget is spent.
    fn run(&mut self, budget: &mut Budget) -> Result<(), Spent>;
}

/// Where much work is done, and by whose allowance; cheap to clone.
#[derive(Clone)]
pub(crate) struct Effort {
    threads: Arc<Semaphore>,
    allowances: Cache<OwnedUserId, Arc<Mutex<Allowance>>>,
}

/// The steps that a user may still cause, as of a time. They come back by and by.
#[derive(Debug)]
struct Allowance {
    steps: u64,
    as_of: Instant,
}

/// What one answer may do at once.
#[derive(Debug)]
pub(crate) struct AtOnce(AtomicU64);

impl Allowance {
    fn refill(&mut self, now: Instant) {
        let elapsed = u64::try_from((now - self.as_of).as_millis()).unwrap_or(u64::MAX);
        self.steps =
            self.steps.saturating_add(elapsed.saturating_mul(limits::STEPS_BACK)).min(limits::STEPS_OF_USER);
        self.as_of = now;
    }
}

impl AtOnce {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(limits::STEPS_AT_ONCE.1))
    }
}

impl Effort {
    pub(crate) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |cores| NonZero::get(cores).div_ceil(2));
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            allowances: Cache::builder()
                .max_capacity(limits::USERS as u64)
                .time_to_idle(limits::ALLOWANCE_KEPT)
                .build(),
        }
    }

    /// Does work; returns it with whether it was finished, or nothing if it was lost.
    pub(crate) async fn spend<W: Work>(
        &self,
        user: &UserId,
        at_once: &AtOnce,
        mut work: W,
    ) -> Option<(W, Result<(), Spent>)> {
        let mut budget = Budget::new(limits::STEPS_AT_ONCE.0.min(at_once.0.load(Ordering::Relaxed)));
        let done = work.run(&mut budget);
        at_once.0.fetch_sub(budget.used(), Ordering::Relaxed);
        if budget.used() > limits::STEPS_BEFORE_OTHERS {
            tokio::task::yield_now().await;
        }
        if done.is_ok() {
            return Some((work, done));
        }
        metrics::counter!(names::DEAR).increment(1);
        self.spend_aside(user, work).await
    }

    async fn spend_aside<W: Work>(&self, user: &UserId, mut work: W) -> Option<(W, Result<(), Spent>)> {
        let Ok(Ok(thread)) = timeout(limits::STEPS_WAIT, Arc::clone(&self.threads).acquire_owned()).await
        else {
            return Some((work, Err(Spent)));
        };
        let new = || Arc::new(Mutex::new(Allowance { steps: limits::STEPS_OF_USER, as_of: Instant::now() }));
        let allowance = self.allowances.get_with(user.to_owned(), new);
        // It is taken before, so that requests at the same time do not all take it.
        let taken = {
            let mut allowance = allowance.lock();
            allowance.refill(Instant::now());
            let taken = allowance.steps.min(limits::STEPS_ASIDE);
            allowance.steps -= taken;
            taken
        };
        let worked = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            let mut budget = Budget::new(taken);
            let done = work.run(&mut budget);
            (work, done, budget.left())
        });
        let (work, done, left) = worked
            .await
            .inspect_err(|failure| tracing::error!(error = %failure, "push rules could not be applied"))
            .ok()?;
        allowance.lock().steps += left;
        if done.is_err() {
            metrics::counter!(names::SPENT).increment(1);
        }
        Some((work, done))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::user_id;

    use super::*;

    /// Takes steps one by one.
    struct Steps(u64);

    impl Work for Steps {
        fn run(&mut self, budget: &mut Budget) -> Result<(), Spent> {
            while self.0 > 0 {
                let part = self.0.min(10_000);
                budget.take(part)?;
                self.0 -= part;
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn little_work_is_done_at_once_and_much_aside() {
        let effort = Effort::new();
        let alice = user_id!("@alice:example.org");
        let at_once = AtOnce::new();
        let (_, done) = effort.spend(alice, &at_once, Steps(limits::STEPS_AT_ONCE.0)).await.unwrap();
        assert_eq!(done, Ok(()));
        effort.allowances.run_pending_tasks();
        assert_eq!(effort.allowances.entry_count(), 0, "nothing was taken from the allowance");
        let (_, done) = effort.spend(alice, &at_once, Steps(limits::STEPS_ASIDE)).await.unwrap();
        assert_eq!(done, Ok(()));
        effort.allowances.run_pending_tasks();
        assert_eq!(effort.allowances.entry_count(), 1);
        let (rest, done) = effort.spend(alice, &at_once, Steps(3 * limits::STEPS_ASIDE)).await.unwrap();
        assert_eq!(done, Err(Spent));
        assert!(rest.0 > limits::STEPS_ASIDE, "one piece of work takes no more than its part: {}", rest.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_gets_no_more_than_the_allowance_and_others_theirs() {
        let effort = Effort::new();
        let (alice, bob) = (user_id!("@alice:example.org"), user_id!("@bob:example.org"));
        let mut steps = 0;
        for _ in 0..1_000 {
            let (rest, _) = effort.spend_aside(alice, Steps(limits::STEPS_ASIDE)).await.unwrap();
            steps += limits::STEPS_ASIDE - rest.0;
        }
        let most = limits::STEPS_OF_USER + limits::STEPS_BACK * 1_000;
        assert!(steps <= most, "{steps} of {most}");
        let (_, done) = effort.spend_aside(alice, Steps(limits::STEPS_ASIDE)).await.unwrap();
        assert_eq!(done, Err(Spent));
        let (_, done) = effort.spend_aside(bob, Steps(limits::STEPS_ASIDE)).await.unwrap();
        assert_eq!(done, Ok(()));
        tokio::time::advance(Duration::from_millis(limits::STEPS_ASIDE / limits::STEPS_BACK + 1)).await;
        let (_, done) = effort.spend_aside(alice, Steps(limits::STEPS_ASIDE)).await.unwrap();
        assert_eq!(done, Ok(()), "it comes back by and by");
    }
}
