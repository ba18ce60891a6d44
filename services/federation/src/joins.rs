//! Memberships of our users that other servers decide: joins, leaves, knocks, and invites to users of theirs.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#joining-rooms)
//!
//! A join is a saga. Its event is signed and kept ([`saga`]) before it is sent; from then on it is this event or none,
//! however often it is sent, by whichever process. It ends when the room server has applied it, or when a server has said
//! that it does not take it.

pub(crate) mod apply;
pub(crate) mod candidates;
pub(crate) mod failure;
pub(crate) mod handshake;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod knock;
pub(crate) mod known;
pub(crate) mod leave;
pub(crate) mod resume;
pub(crate) mod saga;
pub(crate) mod template;
pub(crate) mod third_party;
pub(crate) mod verify;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use plexus_proto::common::v1::ErrorReason;
use plexus_service::refusal::refusal;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

/// Joins of one user at a time, and how long one more waits for its turn.
const PER_USER: usize = 2;
const PATIENCE: Duration = Duration::from_secs(30);

/// What comes of a join: the ID of the event.
pub(crate) type Outcome = Result<String, Status>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Joins that are under way in this process. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Joins(Arc<Inner>);

#[derive(Default)]
struct Inner {
    flights: Mutex<HashMap<(OwnedRoomId, OwnedUserId), Flight>>,
    turns: Mutex<HashMap<OwnedUserId, Arc<Semaphore>>>,
    rooms: Mutex<HashMap<OwnedRoomId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Joins {
    /// Does something for a user and a room once at a time: whoever asks meanwhile gets the same outcome. It goes on when
    /// whoever asked is gone.
    pub(crate) fn once(
        &self,
        key: (OwnedRoomId, OwnedUserId),
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Flight {
        let mut flights = self.0.flights.lock();
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let (inner, done) = (Arc::clone(&self.0), key.clone());
        let task = tokio::spawn(async move {
            // Also if the work panics.
            let _forget = Forget(&inner, &done);
            work.await
        });
        let flight = async move { task.await.unwrap_or_else(|_| Err(Status::internal("a join failed"))) };
        let flight = flight.boxed().shared();
        flights.insert(key, flight.clone());
        flight
    }

    /// Waits until the user has few enough joins under way.
    pub(crate) async fn turn(&self, user: &UserId) -> Result<OwnedSemaphorePermit, Status> {
        let turns = {
            let mut all = self.0.turns.lock();
            all.retain(|_, turns| Arc::strong_count(turns) > 1 || turns.available_permits() < PER_USER);
            Arc::clone(all.entry(user.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_USER))))
        };
        match tokio::time::timeout(PATIENCE, turns.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(refusal(
                Code::ResourceExhausted,
                ErrorReason::LimitExceeded,
                "too many joins of the user are under way",
            )),
        }
    }

    /// Waits until no other user of this process joins the room.
    pub(crate) async fn room(&self, room_id: &OwnedRoomId) -> tokio::sync::OwnedMutexGuard<()> {
        let room = {
            let mut all = self.0.rooms.lock();
            all.retain(|_, room| Arc::strong_count(room) > 1);
            Arc::clone(all.entry(room_id.clone()).or_default())
        };
        room.lock_owned().await
    }
}

/// Forgets a flight.
struct Forget<'a>(&'a Inner, &'a (OwnedRoomId, OwnedUserId));

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.flights.lock().remove(self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (OwnedRoomId, OwnedUserId) {
        ("!room:other.test".try_into().unwrap(), "@alice:us.test".try_into().unwrap())
    }

    #[tokio::test]
    async fn who_asks_meanwhile_gets_the_same_outcome() {
        let joins = Joins::default();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let first = joins.once(key(), async {
            told.await.ok();
            Ok("$first".to_owned())
        });
        let second = joins.once(key(), async { Ok("$second".to_owned()) });
        // Whoever asked first goes away.
        drop(first);
        tell.send(()).unwrap();
        assert_eq!(second.await.unwrap(), "$first");
        assert_eq!(joins.once(key(), async { Ok("$third".to_owned()) }).await.unwrap(), "$third");
        assert!(joins.0.flights.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_joins_two_rooms_at_a_time() {
        let (joins, user) = (Joins::default(), key().1);
        let first = joins.turn(&user).await.unwrap();
        let _second = joins.turn(&user).await.unwrap();
        assert!(joins.turn(&user).await.is_err());
        drop(first);
        drop(joins.turn(&user).await.unwrap());
    }
}
