use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        ClaimDueMembershipSagasRequest, ClaimMembershipSagaRequest, MembershipSaga,
        ReleaseMembershipSagaRequest, membership_saga::Kind,
        membership_saga_service_client::MembershipSagaServiceClient,
    },
};
use plexus_service::RpcChannel;
use tonic::Status;

use super::fixture::{Fixture, reason};

const ROOM: &str = "!room:other.org";
const ALICE: &str = "@alice:example.org";
const HOUR: u32 = 60 * 60 * 1000;

struct Client(MembershipSagaServiceClient<RpcChannel>);

impl Client {
    async fn claim(
        &mut self,
        holder: u8,
        lease_ms: u32,
        put: Option<MembershipSaga>,
    ) -> Result<Option<MembershipSaga>, Status> {
        let request = ClaimMembershipSagaRequest {
            room_id: ROOM.to_owned(),
            user_id: ALICE.to_owned(),
            holder: vec![holder; 16].into(),
            lease_ms,
            put,
        };
        Ok(self.0.claim_membership_saga(request).await?.into_inner().saga)
    }

    async fn release(&mut self, holder: u8, done: bool, retry_after_ms: u64) -> Result<(), Status> {
        let request = ReleaseMembershipSagaRequest {
            room_id: ROOM.to_owned(),
            user_id: ALICE.to_owned(),
            holder: vec![holder; 16].into(),
            done,
            retry_after_ms,
            error: "nobody answered".to_owned(),
        };
        self.0.release_membership_saga(request).await.map(drop)
    }

    async fn due(&mut self, holder: u8) -> Vec<MembershipSaga> {
        let holder = vec![holder; 16].into();
        let request = ClaimDueMembershipSagasRequest { holder, lease_ms: HOUR, limit: 10 };
        self.0.claim_due_membership_sagas(request).await.expect("sagas are claimed").into_inner().sagas
    }
}

fn join(event: &'static [u8]) -> MembershipSaga {
    MembershipSaga {
        room_id: ROOM.to_owned(),
        user_id: ALICE.to_owned(),
        kind: Kind::Join.into(),
        room_version: "11".to_owned(),
        servers: vec!["a.org".to_owned(), "b.org".to_owned()],
        event: event.into(),
        attempts: 1,
        created_ts: 5,
        error: String::new(),
    }
}

#[tokio::test]
async fn a_saga_is_held_by_one_until_it_is_let_go() {
    let fixture = Fixture::start().await;
    let mut client = Client(MembershipSagaServiceClient::new(fixture.channel.clone()));
    assert_eq!(client.claim(1, HOUR, None).await.unwrap(), None);
    let held = client.claim(1, HOUR, Some(join(b"{}"))).await.unwrap();
    assert_eq!(held, Some(join(b"{}")));
    // Nobody else changes it, or takes it.
    for refused in [
        client.claim(2, HOUR, None).await.map(drop),
        client.claim(2, HOUR, Some(join(b"{\"other\":1}"))).await.map(drop),
        client.release(2, true, 0).await,
        client.release(2, false, 0).await,
    ] {
        assert_eq!(reason(refused), ErrorReason::BadState);
    }
    assert_eq!(client.due(2).await, []);
    let again = client.claim(1, HOUR, None).await.unwrap().unwrap();
    assert_eq!((again.event, again.attempts), (join(b"{}").event, 1));
    // Let go, it is due at its time.
    client.release(1, false, 3_600_000).await.unwrap();
    assert_eq!(client.due(2).await, []);
    client.claim(1, HOUR, None).await.unwrap().unwrap();
    client.release(1, false, 0).await.unwrap();
    let due = client.due(2).await;
    assert_eq!((due.len(), due[0].error.as_str()), (1, "nobody answered"));
    assert_eq!(reason(client.claim(1, HOUR, None).await), ErrorReason::BadState);
    client.release(2, true, 0).await.unwrap();
    // What has come to its end may be ended once more.
    client.release(2, true, 0).await.unwrap();
    assert_eq!(client.claim(1, HOUR, None).await.unwrap(), None);
}

#[tokio::test]
async fn a_saga_whose_holder_is_gone_is_due() {
    let fixture = Fixture::start().await;
    let mut client = Client(MembershipSagaServiceClient::new(fixture.channel.clone()));
    client.claim(1, 1, Some(join(b"{}"))).await.unwrap();
    let due = loop {
        let due = client.due(2).await;
        if !due.is_empty() {
            break due;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&due[0].servers, due[0].attempts), (&join(b"{}").servers, 2));
    assert_eq!(reason(client.release(1, false, 0).await), ErrorReason::BadState);
    for (lease_ms, holder_bytes) in [(0, 16), (HOUR + 1, 16), (1, 15)] {
        let request =
            ClaimDueMembershipSagasRequest { holder: vec![1; holder_bytes].into(), lease_ms, limit: 1 };
        let refused = client.0.claim_due_membership_sagas(request).await;
        assert_eq!(reason(refused), ErrorReason::InvalidParam);
    }
}
