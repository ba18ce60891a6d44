//! Leases of a process that holds sessions of room servers' users (`plexus.user.v1.SessionService`).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use plexus_log::PARTITIONS;
use plexus_proto::user::v1::{
    LeaseSessionsRequest, LeaseSessionsResponse, session_service_client::SessionServiceClient,
};
use plexus_service::{RpcChannel, Shutdown};
use ruma::UserId;
use tonic::{Request, Status};

use crate::SessionCache;

/// How long a call may take; an instance answers after two seconds if nothing happens.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long to wait after a call that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps a lease on the sessions of each room server, and drops what they say has ended; until the process stops.
pub fn keep_leases(cache: &SessionCache, rooms: Vec<RpcChannel>, shutdown: &Shutdown) {
    for channel in rooms {
        let lease = Lease {
            rooms: SessionServiceClient::new(channel),
            cache: cache.clone(),
            holder_id: Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()),
            dropped: 0,
            held: BTreeSet::new(),
        };
        shutdown.spawn(lease.run(shutdown.clone()));
    }
}

/// The lease of one room server.
struct Lease {
    rooms: SessionServiceClient<RpcChannel>,
    cache: SessionCache,
    holder_id: Bytes,
    /// What the room server has told and we have done.
    dropped: u64,
    /// The partitions whose users are held by this lease.
    held: BTreeSet<u32>,
}

impl Lease {
    async fn run(mut self, shutdown: Shutdown) {
        loop {
            let sent = Instant::now();
            let renewed = tokio::select! {
                renewed = self.renew() => renewed,
                () = shutdown.requested() => break,
            };
            match renewed {
                Ok(answer) => self.follow(sent, answer),
                Err(status) => {
                    if !self.held.is_empty() {
                        tracing::info!(code = ?status.code(), "a room server is away: asking for every session");
                    }
                    self.drop_all();
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = shutdown.requested() => break,
                    }
                }
            }
        }
        self.drop_all();
        let leaving = LeaseSessionsRequest { holder_id: self.holder_id.clone(), leaving: true, dropped: 0 };
        // If that does not arrive, the lease runs out.
        let said = tokio::time::timeout(PAUSE, self.rooms.lease_sessions(leaving)).await;
        tracing::debug!(arrived = said.is_ok_and(|said| said.is_ok()), "gave a lease on sessions back");
    }

    async fn renew(&mut self) -> Result<LeaseSessionsResponse, Status> {
        let renewal =
            LeaseSessionsRequest { holder_id: self.holder_id.clone(), dropped: self.dropped, leaving: false };
        let mut request = Request::new(renewal);
        request.set_timeout(PATIENCE);
        match tokio::time::timeout(PATIENCE, self.rooms.lease_sessions(request)).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_elapsed) => Err(Status::deadline_exceeded("no answer")),
        }
    }

    /// Does what an answer says to a request that was sent at a time.
    fn follow(&mut self, sent: Instant, answer: LeaseSessionsResponse) {
        let LeaseSessionsResponse { number, all, user_ids, partitions, lease_ms } = answer;
        if all {
            // Also what is held by other leases: the owner of a partition may be another one by now.
            (0..PARTITIONS).for_each(|partition| self.cache.evict_partition(partition));
            self.held.clear();
        }
        for user_id in &user_ids {
            match <&UserId>::try_from(user_id.as_str()) {
                Ok(user) => self.cache.evict_user(user),
                Err(error) => tracing::error!(%error, "told of the sessions of an invalid user ID"),
            }
        }
        let partitions = BTreeSet::from_iter(partitions);
        for partition in self.held.difference(&partitions) {
            self.cache.evict_partition(*partition);
        }
        let until = sent + Duration::from_millis(lease_ms.into());
        for partition in &partitions {
            self.cache.hold_partition(*partition, Some(until));
        }
        self.held = partitions;
        self.dropped = number;
    }

    /// Drops what this lease lets us hold.
    fn drop_all(&mut self) {
        for partition in std::mem::take(&mut self.held) {
            self.cache.evict_partition(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plexus_log::partition_of;
    use plexus_proto::user::v1::session_service_server::{SessionService, SessionServiceServer};
    use ruma::user_id;
    use tokio::sync::mpsc;
    use tonic::{Response, service::Routes};

    use super::*;
    use crate::{Session, TokenHash};

    /// A room server that answers what it is told to answer, and keeps what it is asked.
    struct Played {
        asked: mpsc::UnboundedSender<LeaseSessionsRequest>,
        answers: tokio::sync::Mutex<mpsc::UnboundedReceiver<Result<LeaseSessionsResponse, Status>>>,
    }

    #[tonic::async_trait]
    impl SessionService for Played {
        async fn lease_sessions(
            &self,
            request: Request<LeaseSessionsRequest>,
        ) -> Result<Response<LeaseSessionsResponse>, Status> {
            let request = request.into_inner();
            let leaving = request.leaving;
            self.asked.send(request).unwrap();
            if leaving {
                return Ok(Response::new(LeaseSessionsResponse::default()));
            }
            let answer = self.answers.lock().await.recv().await;
            answer.unwrap_or_else(|| Err(Status::unavailable(""))).map(Response::new)
        }
    }

    struct Stage {
        cache: SessionCache,
        shutdown: Shutdown,
        asked: mpsc::UnboundedReceiver<LeaseSessionsRequest>,
        answers: mpsc::UnboundedSender<Result<LeaseSessionsResponse, Status>>,
    }

    impl Stage {
        fn new() -> Self {
            let (asked_tx, asked) = mpsc::unbounded_channel();
            let (answers, answers_rx) = mpsc::unbounded_channel();
            let played = Played { asked: asked_tx, answers: tokio::sync::Mutex::new(answers_rx) };
            let channel = RpcChannel::in_process(Routes::new(SessionServiceServer::new(played)));
            let (cache, shutdown) = (SessionCache::new(None), Shutdown::new());
            keep_leases(&cache, vec![channel], &shutdown);
            Self { cache, shutdown, asked, answers }
        }

        /// Answers the request that waits, and returns the next one.
        async fn answer(&mut self, answer: Result<LeaseSessionsResponse, Status>) -> LeaseSessionsRequest {
            self.answers.send(answer).unwrap();
            self.asked.recv().await.unwrap()
        }

        fn insert(&self, user: &UserId, token: TokenHash) {
            let session = Session {
                user_id: user.to_string(),
                device_id: "D".to_owned(),
                guest: false,
                admin: false,
                expires_ts: 0,
            };
            self.cache.insert(self.cache.ticket(), token, Arc::new(session));
        }

        fn has(&self, token: TokenHash) -> bool {
            self.cache.find(&token).is_some()
        }
    }

    fn lease(number: u64, partitions: &[u32]) -> LeaseSessionsResponse {
        let partitions = partitions.to_vec();
        LeaseSessionsResponse { number, partitions, lease_ms: 5_000, ..LeaseSessionsResponse::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_held_until_they_are_told_to_end() {
        let (alice, bob) = (user_id!("@alice:example.org"), user_id!("@bob:example.org"));
        let (of_alice, of_bob) = (partition_of(alice.as_str()), partition_of(bob.as_str()));
        assert_ne!(of_alice, of_bob);
        let mut stage = Stage::new();
        let first = stage.asked.recv().await.unwrap();
        assert_eq!((first.holder_id.len(), first.dropped), (16, 0));
        stage.insert(alice, [1; 32]);
        assert!(!stage.has([1; 32]), "there is no lease yet");
        let both = [of_alice, of_bob];
        let next = stage.answer(Ok(LeaseSessionsResponse { all: true, ..lease(7, &both) })).await;
        assert_eq!((next.holder_id, next.dropped), (first.holder_id, 7));
        stage.insert(alice, [1; 32]);
        stage.insert(bob, [2; 32]);
        // A user, and something that is no user.
        let users = vec!["nobody".to_owned(), alice.to_string()];
        let next = stage.answer(Ok(LeaseSessionsResponse { user_ids: users, ..lease(8, &both) })).await;
        assert_eq!((next.dropped, stage.has([1; 32]), stage.has([2; 32])), (8, false, true));
        // A partition goes.
        stage.insert(alice, [1; 32]);
        stage.answer(Ok(lease(8, &[of_alice]))).await;
        assert_eq!((stage.has([1; 32]), stage.has([2; 32])), (true, false));
        // The room server goes, and comes back.
        stage.answer(Err(Status::unavailable(""))).await;
        assert!(!stage.has([1; 32]));
        stage.answer(Ok(LeaseSessionsResponse { all: true, ..lease(0, &both) })).await;
        stage.insert(alice, [1; 32]);
        assert!(stage.has([1; 32]));
        // It stops: whoever owns the partition need not wait for it.
        stage.shutdown.request();
        assert!(stage.asked.recv().await.unwrap().leaving);
        assert!(!stage.has([1; 32]));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_lease() {
        let alice = user_id!("@alice:example.org");
        let mut stage = Stage::new();
        stage.asked.recv().await.unwrap();
        stage.answer(Ok(lease(1, &[partition_of(alice.as_str())]))).await;
        stage.insert(alice, [1; 32]);
        assert!(stage.has([1; 32]));
        // Nothing is answered to the request that waits; it is made again.
        assert!(!stage.asked.recv().await.unwrap().leaving);
        assert!(!stage.has([1; 32]));
    }
}
