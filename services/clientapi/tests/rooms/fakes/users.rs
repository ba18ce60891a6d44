use plexus_proto::{
    common::v1::ErrorReason,
    user::v1::{self as proto, user_query_service_server::UserQueryService},
};
use plexus_service::refusal::refusal;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Request, Response, Status};

use super::{Fake, user_id};

/// Who has an account; the access token of each is the name.
const USERS: [&str; 4] = ["alice", "bob", "carol", "guest"];

#[tonic::async_trait]
impl UserQueryService for Fake {
    async fn authenticate(
        &self,
        request: Request<proto::AuthenticateRequest>,
    ) -> Result<Response<proto::AuthenticateResponse>, Status> {
        let hash = request.into_inner().access_token_hash;
        let user = USERS.into_iter().find(|user| Sha256::digest(user).as_slice() == hash);
        let user =
            user.ok_or_else(|| refusal(Code::Unauthenticated, ErrorReason::UnknownToken, "unknown"))?;
        Ok(Response::new(proto::AuthenticateResponse {
            user_id: user_id(user),
            device_id: user.to_uppercase(),
            guest: user == "guest",
            ..proto::AuthenticateResponse::default()
        }))
    }

    async fn get_profile(
        &self,
        request: Request<proto::GetProfileRequest>,
    ) -> Result<Response<proto::GetProfileResponse>, Status> {
        let known = self.known.lock().unwrap();
        let fields = known
            .profiles
            .get(&request.into_inner().user_id)
            .and_then(|fields| fields.as_object())
            .ok_or_else(|| refusal(Code::NotFound, ErrorReason::NotFound, "no such profile"))?;
        let fields =
            fields.iter().map(|(key, value)| (key.clone(), value.to_string().into_bytes().into())).collect();
        Ok(Response::new(proto::GetProfileResponse { fields }))
    }

    async fn get_account(
        &self,
        request: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        let user = request.into_inner().user_id;
        if USERS.iter().any(|known| user_id(known) == user) {
            return Ok(Response::new(proto::GetAccountResponse::default()));
        }
        Err(refusal(Code::NotFound, ErrorReason::NotFound, "no such account"))
    }

    async fn find_refresh_token(
        &self,
        _: Request<proto::FindRefreshTokenRequest>,
    ) -> Result<Response<proto::FindRefreshTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_devices(
        &self,
        _: Request<proto::ListDevicesRequest>,
    ) -> Result<Response<proto::ListDevicesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_account_data(
        &self,
        request: Request<proto::GetAccountDataRequest>,
    ) -> Result<Response<proto::GetAccountDataResponse>, Status> {
        let request = request.into_inner();
        let known = self.known.lock().unwrap();
        if request.r#type == "m.invite_permission_config" && known.no_invites.contains(&request.user_id) {
            let content = serde_json::json!({ "default_action": "block" }).to_string().into();
            return Ok(Response::new(proto::GetAccountDataResponse { content }));
        }
        let ignored = known.ignored.get(&request.user_id).filter(|_| request.r#type == "m.ignored_user_list");
        let ignored =
            ignored.ok_or_else(|| refusal(Code::NotFound, ErrorReason::NotFound, "no such data"))?;
        let users: serde_json::Map<_, _> =
            ignored.iter().map(|user| (user.clone(), serde_json::json!({}))).collect();
        let content = serde_json::json!({ "ignored_users": users }).to_string().into();
        Ok(Response::new(proto::GetAccountDataResponse { content }))
    }

    async fn await_member_jobs(
        &self,
        _: Request<proto::AwaitMemberJobsRequest>,
    ) -> Result<Response<proto::AwaitMemberJobsResponse>, Status> {
        Ok(Response::new(proto::AwaitMemberJobsResponse { done: true }))
    }

    async fn get_filter(
        &self,
        _: Request<proto::GetFilterRequest>,
    ) -> Result<Response<proto::GetFilterResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
