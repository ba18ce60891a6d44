//! Sagas as the room server keeps them: one for each room and user, held by one process at a time.

use std::time::Duration;

use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        ClaimDueMembershipSagasRequest, ClaimMembershipSagaRequest, MembershipSaga,
        ReleaseMembershipSagaRequest, membership_saga_service_client::MembershipSagaServiceClient,
    },
};
use plexus_service::{RpcChannel, refusal::reason_of};
use ruma::{RoomId, UserId};
use tonic::Status;
use tracing::warn;

use crate::upstream::timed;

/// For how long a saga is held, and how often that is renewed while somebody is at it.
const LEASE: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(10);

/// Who holds sagas.
pub(crate) type Holder = [u8; 16];

/// A saga that is held.
pub(crate) struct Held<'a> {
    rooms: &'a RpcChannel,
    room_id: &'a RoomId,
    user_id: &'a UserId,
    holder: Holder,
}

/// A lease that is renewed.
pub(crate) struct Kept(tokio::task::JoinHandle<()>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What came of a claim.
pub(crate) enum Claim {
    /// It is held: what it is, if it is something.
    Held(Option<MembershipSaga>),
    /// Another process holds it.
    Taken,
}

fn client(rooms: &RpcChannel) -> MembershipSagaServiceClient<RpcChannel> {
    MembershipSagaServiceClient::new(rooms.clone())
}

fn lease_ms() -> u32 {
    u32::try_from(LEASE.as_millis()).unwrap_or(u32::MAX)
}

impl<'a> Held<'a> {
    /// A holder of what is not claimed yet.
    pub(crate) fn new(rooms: &'a RpcChannel, room_id: &'a RoomId, user_id: &'a UserId) -> Self {
        Self::by(rooms, room_id, user_id, rand::random())
    }

    /// A holder of what was claimed before.
    pub(crate) fn by(
        rooms: &'a RpcChannel,
        room_id: &'a RoomId,
        user_id: &'a UserId,
        holder: Holder,
    ) -> Self {
        Self { rooms, room_id, user_id, holder }
    }

    /// Takes hold of the saga as it is.
    pub(crate) async fn claim(&self) -> Result<Claim, Status> {
        self.request(None).await
    }

    /// Takes hold of the saga and makes it this one. When this returns, it is kept.
    pub(crate) async fn put(&self, saga: MembershipSaga) -> Result<Claim, Status> {
        self.request(Some(saga)).await
    }

    async fn request(&self, put: Option<MembershipSaga>) -> Result<Claim, Status> {
        let request = ClaimMembershipSagaRequest {
            room_id: self.room_id.to_string(),
            user_id: self.user_id.to_string(),
            holder: self.holder.to_vec().into(),
            lease_ms: lease_ms(),
            put,
        };
        match client(self.rooms).claim_membership_saga(timed(request)).await {
            Ok(claimed) => Ok(Claim::Held(claimed.into_inner().saga)),
            Err(status) if reason_of(&status) == Some(ErrorReason::BadState) => Ok(Claim::Taken),
            Err(status) => Err(status),
        }
    }

    /// Renews the lease until the guard is dropped.
    pub(crate) fn keep(&self) -> Kept {
        let (rooms, room_id, user_id) =
            (self.rooms.clone(), self.room_id.to_owned(), self.user_id.to_owned());
        let holder = self.holder;
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                let held = Held::by(&rooms, &room_id, &user_id, holder);
                if let Err(status) = held.claim().await {
                    warn!(room.id = %room_id, %status, "cannot renew the lease of a membership that is on its way");
                }
            }
        });
        Kept(renewing)
    }

    /// The saga has come to its end.
    pub(crate) async fn finish(&self) -> Result<(), Status> {
        self.release(true, Duration::ZERO, String::new()).await
    }

    /// The saga is to be gone on with later. If that cannot be said, it is gone on with when its lease is over.
    pub(crate) async fn postpone(&self, after: Duration, error: String) {
        if let Err(status) = self.release(false, after, error).await {
            warn!(room.id = %self.room_id, %status, "cannot let go of a membership that is on its way");
        }
    }

    async fn release(&self, done: bool, after: Duration, error: String) -> Result<(), Status> {
        let request = ReleaseMembershipSagaRequest {
            room_id: self.room_id.to_string(),
            user_id: self.user_id.to_string(),
            holder: self.holder.to_vec().into(),
            done,
            retry_after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            error: error.replace('\0', " "),
        };
        client(self.rooms).release_membership_saga(timed(request)).await.map(drop)
    }
}

/// Takes hold of sagas that are due.
pub(crate) async fn claim_due(
    rooms: &RpcChannel,
    holder: Holder,
    limit: u32,
) -> Result<Vec<MembershipSaga>, Status> {
    let request =
        ClaimDueMembershipSagasRequest { holder: holder.to_vec().into(), lease_ms: lease_ms(), limit };
    Ok(client(rooms).claim_due_membership_sagas(timed(request)).await?.into_inner().sagas)
}

/// When a saga is tried again: after 30 seconds, twice that, up to six hours.
pub(crate) fn pause(attempts: u32) -> Duration {
    Duration::from_secs(30 << attempts.saturating_sub(1).min(10)).min(Duration::from_secs(6 * 60 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let pauses = [0, 1, 2, 3, 100, u32::MAX].map(|attempts| pause(attempts).as_secs());
        assert_eq!(pauses, [30, 30, 60, 120, 21_600, 21_600]);
    }
}
