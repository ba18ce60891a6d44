//! Writes a batch in one transaction.
//!
//! The rows of many inputs are gathered here, later ones over earlier ones of the same key, and written with a constant
//! number of statements, pipelined: one round trip for all of them, one for the commit.

mod backups;
mod deferred;
mod directory;
mod facts;
mod inboxes;
mod keys;
mod media;
mod member_jobs;
mod out_of_band;
mod outgoing;
mod receipts;
mod relations;
mod reports;
mod rooms;
mod shared;
mod users;

use std::{pin::Pin, task::Poll};

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{QueryFragment, QueryId},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use futures::future::{BoxFuture, FutureExt as _, maybe_done, poll_fn};

pub(crate) use self::{
    deferred::DeferredRow,
    facts::Facts,
    rooms::RoomRows,
    shared::{BulkFence, DeadLetter, Fence, OutputRow, VerdictRow},
    users::UserRows,
};
use super::StoreError;

/// What one batch writes.
#[derive(Default)]
pub(crate) struct Batch {
    /// One for each partition that the batch touches, in order.
    pub(crate) fences: Vec<Fence>,
    /// One for each partition of whose bulk lane it has inputs, in order.
    pub(crate) bulk_fences: Vec<BulkFence>,
    /// Rooms and their events.
    pub(crate) rooms: RoomRows,
    /// What of the state of rooms is read for many rooms at once.
    pub(crate) facts: Facts,
    /// Users.
    pub(crate) users: UserRows,
    /// Records of `OutputRoomEvent`.
    pub(crate) room_output: Vec<OutputRow>,
    /// Records of `OutputUserEvent`.
    pub(crate) user_output: Vec<OutputRow>,
    /// What became of the inputs.
    pub(crate) verdicts: Vec<VerdictRow>,
    /// Inputs that can never be processed.
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Inputs that are left to the low-priority lane.
    pub(crate) deferred: Vec<DeferredRow>,
    /// Those of them that were worked off.
    pub(crate) deferred_done: Vec<i64>,
    /// Whether the commit need not be on disk at once: then a crash of the database may undo it as a whole, with the
    /// position in the input log, and the same inputs are processed again. Whatever is committed later and is on disk
    /// has all before it on disk, too.
    pub(crate) may_be_undone: bool,
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// Another instance has taken over a partition of the batch.
    #[error("a partition of the batch has another owner by now")]
    Stale,
    /// Somebody has joined a room meanwhile that was only being joined.
    #[error("a room of the batch is not only being joined any more")]
    Joined,
    /// The database failed before the commit: nothing was written.
    #[error("failed to write the batch")]
    Store(#[from] StoreError),
    /// The database failed at the commit: whether it has happened is not known.
    #[error("failed to commit the batch")]
    InDoubt(#[source] StoreError),
}

/// Statements of one batch, under way at once.
struct Pipeline<'c> {
    conn: &'c AsyncPgConnection,
    under_way: Vec<BoxFuture<'c, Result<usize, StoreError>>>,
}

impl<'c> Pipeline<'c> {
    fn new(conn: &'c AsyncPgConnection) -> Self {
        Self { conn, under_way: Vec::with_capacity(24) }
    }

    /// Adds a bare command.
    fn command(&mut self, name: &'static str, sql: &'static str) {
        let mut conn = self.conn;
        let sent = async move { conn.batch_execute(sql).await.map(|()| 0).map_err(StoreError::query(name)) };
        self.under_way.push(sent.boxed());
    }

    /// Adds a statement.
    fn add<S>(&mut self, name: &'static str, statement: S)
    where
        S: QueryFragment<Pg> + QueryId + Send,
    {
        let mut conn = self.conn;
        let sent = statement.execute(&mut conn);
        self.under_way
            .push(sent.map(move |done: QueryResult<usize>| done.map_err(StoreError::query(name))).boxed());
    }

    /// Sends everything in order and waits for all answers. Of several failures the first in order is told: the others
    /// follow from it.
    async fn finish(self) -> Result<Vec<usize>, StoreError> {
        // Polled in order, which is the order in which they are sent: `join_all` promises that only for a few.
        let mut under_way: Vec<_> = self.under_way.into_iter().map(maybe_done).collect();
        poll_fn(|context| {
            let mut pending = false;
            for statement in &mut under_way {
                pending |= statement.poll_unpin(context).is_pending();
            }
            if pending { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        under_way.iter_mut().filter_map(|statement| Pin::new(statement).take_output()).collect()
    }
}

impl Batch {
    /// Writes the batch and commits it. The caller drops the connection after an error: it may be inside of a
    /// transaction.
    pub(crate) async fn commit(&self, conn: &AsyncPgConnection) -> Result<(), CommitError> {
        let mut pipeline = Pipeline::new(conn);
        pipeline.command(
            "begin",
            if self.may_be_undone { "BEGIN; SET LOCAL synchronous_commit TO off" } else { "BEGIN" },
        );
        if !self.fences.is_empty() {
            shared::fence(&mut pipeline, &self.fences);
        }
        if !self.bulk_fences.is_empty() {
            shared::fence_bulk(&mut pipeline, &self.bulk_fences);
        }
        let incipient = self.rooms.check_incipient(&mut pipeline);
        self.rooms.write(&mut pipeline);
        self.facts.write(&mut pipeline);
        self.users.write(&mut pipeline);
        shared::write_output(&mut pipeline, &self.room_output, &self.user_output);
        shared::write_verdicts(&mut pipeline, &self.verdicts);
        shared::write_dead_letters(&mut pipeline, &self.dead_letters);
        deferred::write(&mut pipeline, &self.deferred, &self.deferred_done);
        let counts = pipeline.finish().await?;
        // The first is BEGIN, then come the fences.
        let fences = [self.fences.len(), self.bulk_fences.len()].into_iter().filter(|rows| *rows > 0);
        let mut counts = counts.into_iter().skip(1);
        if fences.zip(&mut counts).any(|(rows, touched)| touched != rows) {
            return Err(CommitError::Stale);
        }
        // What was written in vain before this goes with the transaction.
        if incipient > 0 && counts.next() != Some(incipient) {
            return Err(CommitError::Joined);
        }
        let mut commit = Pipeline::new(conn);
        commit.command("commit", "COMMIT");
        commit.finish().await.map_err(CommitError::InDoubt)?;
        Ok(())
    }
}
