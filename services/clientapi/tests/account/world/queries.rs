//! Queries about users, and the few about rooms that profiles need.

use std::sync::{Arc, Mutex, MutexGuard};

use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{self as room, room_query_service_server::RoomQueryService},
    user::v1::{
        self as user, credential_service_server::CredentialService,
        user_query_service_server::UserQueryService,
    },
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};

use super::{
    Users,
    users::{Account, Device},
};

pub(super) struct Queries {
    pub(super) users: Arc<Mutex<Users>>,
}

impl Queries {
    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().expect("no test panicked")
    }

    fn account<T>(&self, id: &str, read: impl FnOnce(&Account) -> Option<T>) -> Result<Response<T>, Status> {
        self.users().accounts.get(id).and_then(read).map(Response::new).ok_or_else(not_found)
    }

    fn session<T>(
        &self,
        which: impl Fn(&Device) -> bool,
        read: impl Fn(&str, &str, &Account, &Device) -> T,
    ) -> Option<T> {
        self.users().accounts.iter().find_map(|(id, account)| {
            let (device_id, device) = account.devices.iter().find(|(_, device)| which(device))?;
            Some(read(id, device_id, account, device))
        })
    }
}

fn not_found() -> Status {
    refusal(Code::NotFound, ErrorReason::NotFound, "not found")
}

fn unknown_token() -> Status {
    refusal(Code::Unauthenticated, ErrorReason::UnknownToken, "unknown token")
}

#[tonic::async_trait]
impl CredentialService for Queries {
    async fn get_password_hash(
        &self,
        request: Request<user::GetPasswordHashRequest>,
    ) -> Result<Response<user::GetPasswordHashResponse>, Status> {
        self.account(&request.into_inner().user_id, |account| {
            Some(user::GetPasswordHashResponse {
                password_hash: account.password_hash.clone(),
                deactivated: account.deactivated,
            })
        })
    }
}

#[tonic::async_trait]
impl UserQueryService for Queries {
    async fn authenticate(
        &self,
        request: Request<user::AuthenticateRequest>,
    ) -> Result<Response<user::AuthenticateResponse>, Status> {
        let hash = request.into_inner().access_token_hash;
        let found = self.session(
            |device| device.access_hash == hash,
            |id, device_id, account, device| {
                let session = user::AuthenticateResponse {
                    user_id: id.to_owned(),
                    device_id: device_id.to_owned(),
                    guest: account.guest,
                    admin: account.admin,
                    ..user::AuthenticateResponse::default()
                };
                // Tests expire a token by setting its time to the past.
                (session, device.expires_ts == 1)
            },
        );
        match found {
            Some((_, true)) => Err(refusal(Code::Unauthenticated, ErrorReason::ExpiredToken, "expired")),
            Some((session, false)) => Ok(Response::new(session)),
            None => Err(unknown_token()),
        }
    }

    async fn get_account(
        &self,
        request: Request<user::GetAccountRequest>,
    ) -> Result<Response<user::GetAccountResponse>, Status> {
        self.account(&request.into_inner().user_id, |account| {
            Some(user::GetAccountResponse {
                deactivated: account.deactivated,
                guest: account.guest,
                admin: account.admin,
                created_ts: 0,
            })
        })
    }

    async fn find_refresh_token(
        &self,
        request: Request<user::FindRefreshTokenRequest>,
    ) -> Result<Response<user::FindRefreshTokenResponse>, Status> {
        let hash = request.into_inner().refresh_token_hash;
        self.session(
            |device| device.refresh_hash == hash,
            |id, device_id, _, _| user::FindRefreshTokenResponse {
                user_id: id.to_owned(),
                device_id: device_id.to_owned(),
            },
        )
        .map(Response::new)
        .ok_or_else(unknown_token)
    }

    async fn list_devices(
        &self,
        request: Request<user::ListDevicesRequest>,
    ) -> Result<Response<user::ListDevicesResponse>, Status> {
        let request = request.into_inner();
        self.account(&request.user_id, |account| {
            let wanted = |id: &String| request.device_ids.is_empty() || request.device_ids.contains(id);
            let devices = account.devices.iter().filter(|(id, _)| wanted(id));
            let devices = devices.map(|(id, device)| user::Device {
                device_id: id.clone(),
                display_name: device.name.clone(),
                ..user::Device::default()
            });
            Some(user::ListDevicesResponse { devices: devices.collect() })
        })
    }

    async fn get_profile(
        &self,
        request: Request<user::GetProfileRequest>,
    ) -> Result<Response<user::GetProfileResponse>, Status> {
        self.account(&request.into_inner().user_id, |account| {
            Some(user::GetProfileResponse { fields: account.profile.clone().into_iter().collect() })
        })
    }

    async fn get_account_data(
        &self,
        request: Request<user::GetAccountDataRequest>,
    ) -> Result<Response<user::GetAccountDataResponse>, Status> {
        let request = request.into_inner();
        self.account(&request.user_id, |account| {
            let content = account.data.get(&(request.room_id, request.r#type))?;
            Some(user::GetAccountDataResponse { content: content.clone() })
        })
    }

    async fn await_member_jobs(
        &self,
        _: Request<user::AwaitMemberJobsRequest>,
    ) -> Result<Response<user::AwaitMemberJobsResponse>, Status> {
        Ok(Response::new(user::AwaitMemberJobsResponse { done: true }))
    }

    async fn get_filter(
        &self,
        request: Request<user::GetFilterRequest>,
    ) -> Result<Response<user::GetFilterResponse>, Status> {
        let request = request.into_inner();
        self.account(&request.user_id, |account| {
            Some(user::GetFilterResponse { filter: account.filters.get(&request.filter_id)?.clone() })
        })
    }
}

type StateStream = futures::stream::Empty<Result<room::StreamStateResponse, Status>>;

#[tonic::async_trait]
impl RoomQueryService for Queries {
    type StreamStateStream = StateStream;

    async fn get_rooms(
        &self,
        _: Request<room::GetRoomsRequest>,
    ) -> Result<Response<room::GetRoomsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_state(
        &self,
        request: Request<room::GetStateRequest>,
    ) -> Result<Response<room::GetStateResponse>, Status> {
        let json = self.users().members.get(&request.into_inner().room_id).cloned();
        let events = json.map(|json| room::RoomEvent { json: json.into(), ..room::RoomEvent::default() });
        Ok(Response::new(room::GetStateResponse { events: events.into_iter().collect(), as_of: None }))
    }

    async fn stream_state(
        &self,
        _: Request<room::StreamStateRequest>,
    ) -> Result<Response<StateStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_events(
        &self,
        _: Request<room::GetEventsRequest>,
    ) -> Result<Response<room::GetEventsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_timeline(
        &self,
        _: Request<room::ListTimelineRequest>,
    ) -> Result<Response<room::ListTimelineResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_rooms_for_user(
        &self,
        _: Request<room::ListRoomsForUserRequest>,
    ) -> Result<Response<room::ListRoomsForUserResponse>, Status> {
        let rooms = self.users().members.keys().cloned().collect::<Vec<_>>().into_iter().map(|room_id| {
            room::UserRoom { room_id, membership: "join".to_owned(), ..room::UserRoom::default() }
        });
        Ok(Response::new(room::ListRoomsForUserResponse { rooms: rooms.collect(), heads: Vec::new() }))
    }

    async fn list_copies(
        &self,
        _: Request<room::ListCopiesRequest>,
    ) -> Result<Response<room::ListCopiesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_memberships(
        &self,
        _: Request<room::GetMembershipsRequest>,
    ) -> Result<Response<room::GetMembershipsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
