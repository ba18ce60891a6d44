//! One transaction of a server at a time, in the order in which they came, and the same answer for the same transaction.
//!
//! A server that sends more while one is under way is answered later, not refused: other servers then send it nothing for
//! ten minutes. Only who sends many at once, which no server does that follows the specification, is told to wait.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use moka::sync::Cache;
use plexus_matrix_http::MatrixError;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tracing::error;

use crate::metrics;

/// Answers that are remembered, and for how long.
const ANSWERS: u64 = 5_000;
const REMEMBER: Duration = Duration::from_secs(15 * 60);
/// Servers that are counted, and transactions of one that may wait.
const ORIGINS: u64 = 20_000;
const MAX_WAITING: usize = 16;
/// Transactions of all servers that are worked on at the same time.
const AT_ONCE: usize = 64;

/// Names a transaction. Servers that begin anew give the same ID to other transactions, so the body counts, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    origin: OwnedServerName,
    hash: u64,
}

impl Key {
    /// Names a transaction of a server.
    pub(super) fn new(origin: &ServerName, txn_id: &str, body: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (txn_id, body).hash(&mut hasher);
        Self { origin: origin.to_owned(), hash: hasher.finish() }
    }
}

type Answer = Result<Arc<str>, MatrixError>;

/// The transactions that are under way, and the answers to late ones.
pub(crate) struct Transactions {
    answers: Cache<Key, Shared<BoxFuture<'static, Answer>>>,
    origins: Cache<OwnedServerName, Arc<Origin>>,
    work: Semaphore,
}

struct Origin {
    turn: Arc<Mutex<()>>,
    waiting: Arc<Semaphore>,
}

/// The right to work on a transaction.
pub(super) struct Turn<'a> {
    _turn: OwnedMutexGuard<()>,
    _waiting: OwnedSemaphorePermit,
    _work: SemaphorePermit<'a>,
}

impl Transactions {
    /// Nothing is under way.
    pub(crate) fn new() -> Self {
        Self {
            answers: Cache::builder().max_capacity(ANSWERS).time_to_live(REMEMBER).build(),
            origins: Cache::builder().max_capacity(ORIGINS).time_to_idle(REMEMBER).build(),
            work: Semaphore::new(AT_ONCE),
        }
    }

    /// The answer to a transaction: `work` makes it, unless it has been made, or is being made. Errors are not remembered.
    pub(super) async fn answer(
        &self,
        key: Key,
        work: impl Future<Output = Answer> + Send + 'static,
    ) -> Answer {
        let begin = || {
            let task = tokio::spawn(work);
            let ended = async move {
                task.await.unwrap_or_else(|error| {
                    error!(%error, "a transaction was not worked on to its end");
                    Err(MatrixError::internal())
                })
            };
            ended.boxed().shared()
        };
        let answer = self.answers.get_with(key.clone(), begin).await;
        if answer.is_err() {
            self.answers.invalidate(&key);
        }
        answer
    }

    /// Waits until it is the turn of one more transaction of a server.
    pub(super) async fn turn(&self, origin: &ServerName) -> Result<Turn<'_>, MatrixError> {
        let new =
            || Arc::new(Origin { turn: Arc::default(), waiting: Arc::new(Semaphore::new(MAX_WAITING)) });
        let of_origin = self.origins.get_with(origin.to_owned(), new);
        let Ok(waiting) = Arc::clone(&of_origin.waiting).try_acquire_owned() else {
            metrics::refused("waiting");
            return Err(MatrixError::limit_exceeded(Duration::from_secs(5)));
        };
        let turn = Arc::clone(&of_origin.turn).lock_owned().await;
        let work = self.work.acquire().await.map_err(|_| MatrixError::internal())?;
        Ok(Turn { _turn: turn, _waiting: waiting, _work: work })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use ruma::server_name;
    use tokio::sync::Notify;

    use super::*;

    fn key(txn_id: &str, body: &str) -> Key {
        Key::new(server_name!("a.test"), txn_id, body.as_bytes())
    }

    #[tokio::test]
    async fn the_same_transaction_is_worked_on_once() {
        let (transactions, count) = (Transactions::new(), Arc::new(AtomicUsize::new(0)));
        let ask = |key: Key| {
            let count = Arc::clone(&count);
            transactions.answer(key, async move {
                tokio::task::yield_now().await;
                Ok(count.fetch_add(1, Ordering::SeqCst).to_string().into())
            })
        };
        let answers = join_all([ask(key("1", "{}")), ask(key("1", "{}")), ask(key("1", "{}"))]).await;
        assert!(answers.iter().all(|answer| answer.as_deref() == Ok("0")), "{answers:?}");
        assert_eq!(ask(key("1", "{}")).await.as_deref(), Ok("0"));
        // A server that begins anew counts its transactions anew.
        assert_eq!(ask(key("1", r#"{"pdus":[]}"#)).await.as_deref(), Ok("1"));
        assert_eq!(ask(key("2", "{}")).await.as_deref(), Ok("2"));
    }

    #[tokio::test]
    async fn an_error_is_not_the_last_word_and_nobody_has_to_wait_for_an_answer() {
        let transactions = Transactions::new();
        let failed = transactions.answer(key("1", "{}"), async { Err(MatrixError::unavailable()) }).await;
        assert!(failed.is_err());
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let work = {
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            async move {
                begun.notify_one();
                go_on.notified().await;
                Ok("done".into())
            }
        };
        {
            let impatient = transactions.answer(key("1", "{}"), work);
            tokio::select! {
                _ = impatient => panic!("it has not been told to go on"),
                () = begun.notified() => {}
            }
        }
        go_on.notify_one();
        let again = transactions.answer(key("1", "{}"), async { Ok("again".into()) }).await;
        assert_eq!(again.as_deref(), Ok("done"));
    }

    #[tokio::test]
    async fn a_server_has_one_turn_at_a_time_and_few_wait() {
        let transactions = Transactions::new();
        let (a, b) = (server_name!("a.test"), server_name!("b.test"));
        let first = transactions.turn(a).await.unwrap();
        let _other = transactions.turn(b).await.unwrap();
        let mut waiting: Vec<_> = (1..MAX_WAITING).map(|_| Box::pin(transactions.turn(a))).collect();
        for turn in &mut waiting {
            assert!(turn.now_or_never().is_none());
        }
        let refused = transactions.turn(a).await.err().unwrap();
        assert_eq!(refused.status.as_u16(), 429);
        drop(first);
        assert!(waiting.remove(0).await.is_ok());
    }
}
