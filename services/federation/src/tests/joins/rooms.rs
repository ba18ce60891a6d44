//! A room server that keeps sagas and takes whatever is written.

use std::collections::BTreeMap;

use futures::stream::BoxStream;
use plexus_events::{RoomRules, receive};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{
        Accepted, AwaitInputRequest, AwaitInputResponse, FindTransactionRequest, FindTransactionResponse,
        InputLog, Verdict,
        input_service_server::{InputService, InputServiceServer},
        verdict,
    },
    room::v1::{
        self as room, ClaimDueMembershipSagasRequest, ClaimDueMembershipSagasResponse,
        ClaimMembershipSagaRequest, ClaimMembershipSagaResponse, GetMembershipsResponse, Member,
        MembershipSaga, OutOfBandMember, ReleaseMembershipSagaRequest, ReleaseMembershipSagaResponse,
        membership_saga_service_server::{MembershipSagaService, MembershipSagaServiceServer},
        room_query_service_server::{RoomQueryService, RoomQueryServiceServer},
    },
    user::v1::{
        self as user,
        user_query_service_server::{UserQueryService, UserQueryServiceServer},
    },
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request as Ask};

use super::{super::*, ALICE};

/// A saga, and who holds it.
type KeptSaga = (Option<Vec<u8>>, MembershipSaga);

#[derive(Default)]
struct Facts {
    sagas: BTreeMap<(String, String), KeptSaga>,
    is_joined: bool,
    chunks: usize,
    out_of_band: Option<OutOfBandMember>,
    told: Vec<String>,
    event_id: String,
}

/// What the service has said to the room server. `routes` make another view on the same.
#[derive(Clone, Default)]
pub(super) struct RoomServer(Arc<Mutex<Facts>>, Store);

impl RoomServer {
    pub(super) fn routes(&self) -> Routes {
        let mut routes = Routes::builder();
        routes.add_service(KeyStoreServiceServer::new(self.1.clone()));
        routes.add_service(MembershipSagaServiceServer::new(self.clone()));
        routes.add_service(InputServiceServer::new(self.clone()));
        routes.add_service(RoomQueryServiceServer::new(self.clone()));
        routes.add_service(UserQueryServiceServer::new(self.clone()));
        routes.routes()
    }

    pub(super) fn sagas(&self) -> Vec<MembershipSaga> {
        self.0.lock().sagas.values().map(|(_, saga)| saga.clone()).collect()
    }

    pub(super) fn is_joined(&self) -> bool {
        self.0.lock().is_joined
    }

    /// How many chunks of states were written.
    pub(super) fn chunks(&self) -> usize {
        self.0.lock().chunks
    }

    /// Memberships that were told of the user, in order.
    pub(super) fn told(&self) -> Vec<String> {
        self.0.lock().told.clone()
    }

    /// The user is invited.
    pub(super) fn invite(&self, event_id: &str, sender: &str, origin: &str) {
        self.0.lock().out_of_band = Some(OutOfBandMember {
            user_id: ALICE.to_owned(),
            membership: "invite".to_owned(),
            event_id: event_id.to_owned(),
            sender: sender.to_owned(),
            origin: origin.to_owned(),
            room_version: "11".to_owned(),
        });
    }
}

fn taken() -> Status {
    refusal(Code::FailedPrecondition, ErrorReason::BadState, "taken")
}

#[tonic::async_trait]
impl MembershipSagaService for RoomServer {
    async fn claim_membership_saga(
        &self,
        request: Ask<ClaimMembershipSagaRequest>,
    ) -> Result<Response<ClaimMembershipSagaResponse>, Status> {
        let ClaimMembershipSagaRequest { room_id, user_id, holder, put, .. } = request.into_inner();
        let (key, holder) = ((room_id, user_id), holder.to_vec());
        let mut facts = self.0.lock();
        if let Some((held, _)) = facts.sagas.get(&key)
            && held.as_ref().is_some_and(|held| *held != holder)
        {
            return Err(taken());
        }
        if let Some(saga) = put {
            // The event that would be that of the room.
            facts.event_id = RoomRules::of(&saga.room_version)
                .ok()
                .and_then(|rules| Some(receive::parse(&saga.event, rules).ok()?.event_id().to_string()))
                .unwrap_or_default();
            facts.sagas.insert(key.clone(), (None, saga));
        }
        let saga = facts.sagas.get_mut(&key).map(|(held, saga)| {
            *held = Some(holder);
            saga.clone()
        });
        Ok(Response::new(ClaimMembershipSagaResponse { saga }))
    }

    async fn release_membership_saga(
        &self,
        request: Ask<ReleaseMembershipSagaRequest>,
    ) -> Result<Response<ReleaseMembershipSagaResponse>, Status> {
        let request = request.into_inner();
        let key = (request.room_id, request.user_id);
        let mut facts = self.0.lock();
        if request.done {
            facts.sagas.remove(&key);
        } else if let Some((held, saga)) = facts.sagas.get_mut(&key) {
            *held = None;
            saga.error = request.error;
        }
        Ok(Response::new(ReleaseMembershipSagaResponse {}))
    }

    /// Everything that nobody holds is due.
    async fn claim_due_membership_sagas(
        &self,
        request: Ask<ClaimDueMembershipSagasRequest>,
    ) -> Result<Response<ClaimDueMembershipSagasResponse>, Status> {
        let holder = request.into_inner().holder.to_vec();
        let mut facts = self.0.lock();
        let due = facts.sagas.values_mut().filter(|(held, _)| held.is_none());
        let sagas = due.map(|(held, saga)| {
            *held = Some(holder.clone());
            saga.attempts += 1;
            saga.clone()
        });
        Ok(Response::new(ClaimDueMembershipSagasResponse { sagas: sagas.collect() }))
    }
}

#[tonic::async_trait]
impl InputService for RoomServer {
    /// Whatever is written is taken: the first event of a room is the join.
    async fn await_input(
        &self,
        request: Ask<AwaitInputRequest>,
    ) -> Result<Response<AwaitInputResponse>, Status> {
        let log = request.into_inner().log();
        let mut facts = self.0.lock();
        match log {
            InputLog::Room => facts.is_joined = true,
            InputLog::RoomBulk => facts.chunks += 1,
            InputLog::User => {
                // What is told is told of who is out, or in.
                let membership = if facts.is_joined { "" } else { "leave" };
                facts.told.push(membership.to_owned());
                match (&mut facts.out_of_band, membership) {
                    (Some(told), "leave") => {
                        told.membership = "leave".to_owned();
                        told.event_id = String::new();
                    }
                    (told, _) => *told = None,
                }
            }
            InputLog::Unspecified => return Err(Status::invalid_argument("no log")),
        }
        let outcome = Some(verdict::Outcome::Accepted(Accepted::default()));
        Ok(Response::new(AwaitInputResponse { verdict: Some(Verdict { outcome }) }))
    }

    async fn find_transaction(
        &self,
        _: Ask<FindTransactionRequest>,
    ) -> Result<Response<FindTransactionResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

#[tonic::async_trait]
impl RoomQueryService for RoomServer {
    type StreamStateStream = BoxStream<'static, Result<room::StreamStateResponse, Status>>;

    async fn get_memberships(
        &self,
        _: Ask<room::GetMembershipsRequest>,
    ) -> Result<Response<GetMembershipsResponse>, Status> {
        let facts = self.0.lock();
        let joined = facts.is_joined.then(|| Member {
            user_id: ALICE.to_owned(),
            membership: "join".to_owned(),
            event_id: facts.event_id.clone(),
            forgotten: false,
        });
        Ok(Response::new(GetMembershipsResponse {
            members: joined.into_iter().collect(),
            room_exists: facts.is_joined,
            resident: facts.is_joined,
            out_of_band: facts.out_of_band.clone().into_iter().collect(),
        }))
    }

    async fn get_rooms(
        &self,
        _: Ask<room::GetRoomsRequest>,
    ) -> Result<Response<room::GetRoomsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_state(
        &self,
        _: Ask<room::GetStateRequest>,
    ) -> Result<Response<room::GetStateResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn stream_state(
        &self,
        _: Ask<room::StreamStateRequest>,
    ) -> Result<Response<Self::StreamStateStream>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_events(
        &self,
        _: Ask<room::GetEventsRequest>,
    ) -> Result<Response<room::GetEventsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_copies(
        &self,
        _: Ask<room::ListCopiesRequest>,
    ) -> Result<Response<room::ListCopiesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_timeline(
        &self,
        _: Ask<room::ListTimelineRequest>,
    ) -> Result<Response<room::ListTimelineResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_rooms_for_user(
        &self,
        _: Ask<room::ListRoomsForUserRequest>,
    ) -> Result<Response<room::ListRoomsForUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

#[tonic::async_trait]
impl UserQueryService for RoomServer {
    async fn get_profile(
        &self,
        _: Ask<user::GetProfileRequest>,
    ) -> Result<Response<user::GetProfileResponse>, Status> {
        let fields = [("displayname".to_owned(), bytes::Bytes::from_static(b"\"Alice\""))];
        Ok(Response::new(user::GetProfileResponse { fields: fields.into() }))
    }

    async fn authenticate(
        &self,
        _: Ask<user::AuthenticateRequest>,
    ) -> Result<Response<user::AuthenticateResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_account(
        &self,
        _: Ask<user::GetAccountRequest>,
    ) -> Result<Response<user::GetAccountResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn find_refresh_token(
        &self,
        _: Ask<user::FindRefreshTokenRequest>,
    ) -> Result<Response<user::FindRefreshTokenResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_devices(
        &self,
        _: Ask<user::ListDevicesRequest>,
    ) -> Result<Response<user::ListDevicesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_account_data(
        &self,
        _: Ask<user::GetAccountDataRequest>,
    ) -> Result<Response<user::GetAccountDataResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_filter(
        &self,
        _: Ask<user::GetFilterRequest>,
    ) -> Result<Response<user::GetFilterResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn await_member_jobs(
        &self,
        _: Ask<user::AwaitMemberJobsRequest>,
    ) -> Result<Response<user::AwaitMemberJobsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}
