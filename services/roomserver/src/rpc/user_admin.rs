//! `UserAdminService`: reads and changes accounts for operators.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Deactivate, SetPassword, input_room_event::Body, input_user_event::Command},
    operator::v1::{
        AdminSession, AdminUser, AdminUserRoom, DeactivateUserRequest, DeactivateUserResponse,
        GetUserRequest, GetUserResponse, ListSessionsRequest, ListSessionsResponse, ListUsersRequest,
        ListUsersResponse, ResetPasswordRequest, ResetPasswordResponse,
        user_admin_service_server::{UserAdminService, UserAdminServiceServer},
    },
};
use plexus_service::refusal::reason_of;
use tonic::{Request, Response, Status};
use tracing::{info, instrument};

use super::{
    check::{failed, invalid, name, not_found, storable},
    commands::{submit_room, submit_user},
    users::user,
};
use crate::{
    app::App,
    store::{
        pool,
        reads::{
            accounts::{self, AccountRow},
            members, users,
        },
    },
    worker::leave,
};

/// Accounts of a page if the request does not say how many.
const PAGE: u32 = 100;
/// Most accounts of a page.
const MOST: u32 = 1000;
/// Longest password hash.
const MAX_HASH_BYTES: usize = 512;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> UserAdminServiceServer<impl UserAdminService> {
    UserAdminServiceServer::new(Service { app: app.clone() })
}

impl Service {
    async fn conn(&self) -> Result<pool::PooledConnection, Status> {
        pool::get(&self.app.pool).await.map_err(|error| failed(&error))
    }

    async fn find(&self, user_id: &str) -> Result<AccountRow, Status> {
        user(user_id)?;
        let rows = accounts::find(&*self.conn().await?, user_id).await.map_err(|error| failed(&error))?;
        rows.into_iter().next().ok_or_else(|| not_found("there is no such account"))
    }
}

#[tonic::async_trait]
impl UserAdminService for Service {
    #[instrument(name = "rpc.operator.list_users", skip_all)]
    async fn list_users(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<ListUsersResponse>, Status> {
        let ListUsersRequest { after, limit } = request.into_inner();
        name("after", &after)?;
        let limit = usize::try_from(if limit == 0 { PAGE } else { limit.min(MOST) }).unwrap_or(usize::MAX);
        let count = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
        let rows = accounts::list(&*self.conn().await?, &after, &count).await;
        let mut rows = rows.map_err(|error| failed(&error))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let users = rows.into_iter().map(account).collect();
        Ok(Response::new(ListUsersResponse { users, more }))
    }

    #[instrument(name = "rpc.operator.get_user", skip_all)]
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let GetUserRequest { user_id } = request.into_inner();
        let row = self.find(&user_id).await?;
        let conn = self.conn().await?;
        let devices = users::list_devices(&conn, &[], &user_id).await.map_err(|error| failed(&error))?;
        let rooms =
            members::list_rooms(&conn, &[], &false, &user_id).await.map_err(|error| failed(&error))?;
        let rooms =
            rooms.into_iter().map(|row| AdminUserRoom { room_id: row.room_id, membership: row.membership });
        Ok(Response::new(GetUserResponse {
            has_password: row.has_password,
            sessions: u32::try_from(devices.len()).unwrap_or(u32::MAX),
            rooms: rooms.collect(),
            user: Some(account(row)),
        }))
    }

    #[instrument(name = "rpc.operator.list_sessions", skip_all)]
    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let ListSessionsRequest { user_id } = request.into_inner();
        self.find(&user_id).await?;
        let rows = users::list_devices(&*self.conn().await?, &[], &user_id).await;
        let sessions = rows.map_err(|error| failed(&error))?.into_iter().map(|row| AdminSession {
            device_id: row.device_id,
            display_name: row.display_name.unwrap_or_default(),
            created_ts: row.created_ts,
        });
        Ok(Response::new(ListSessionsResponse { sessions: sessions.collect() }))
    }

    #[instrument(name = "rpc.operator.reset_password", skip_all)]
    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        let ResetPasswordRequest { user_id, password_hash, keep_sessions } = request.into_inner();
        user(&user_id)?;
        storable("password_hash", &password_hash)?;
        if !password_hash.starts_with("$argon2id$") || password_hash.len() > MAX_HASH_BYTES {
            return Err(invalid("password_hash", "must be an argon2id hash in PHC format"));
        }
        let command =
            SetPassword { password_hash, logout_devices: !keep_sessions, keep_device_id: String::new() };
        submit_user(&self.app, &user_id, Command::SetPassword(command)).await?;
        info!(user.id = %user_id, keep_sessions, "an operator has set a password");
        Ok(Response::new(ResetPasswordResponse {}))
    }

    #[instrument(name = "rpc.operator.deactivate_user", skip_all)]
    async fn deactivate_user(
        &self,
        request: Request<DeactivateUserRequest>,
    ) -> Result<Response<DeactivateUserResponse>, Status> {
        let DeactivateUserRequest { user_id, erase } = request.into_inner();
        self.find(&user_id).await?;
        match submit_user(&self.app, &user_id, Command::Deactivate(Deactivate { erase })).await {
            // What is left of an earlier call is done now.
            Err(refused) if reason_of(&refused) == Some(ErrorReason::UserDeactivated) => {}
            done => {
                done?;
            }
        }
        let present = ["join", "invite", "knock"].map(str::to_owned);
        let rooms = members::list_rooms(&*self.conn().await?, &present, &false, &user_id).await;
        let mut left = 0;
        for room in rooms.map_err(|error| failed(&error))? {
            match submit_room(&self.app, &room.room_id, Body::Intent(leave(user_id.clone()))).await {
                Ok(_) => left += 1,
                // They are out of it already.
                Err(refused) if reason_of(&refused) == Some(ErrorReason::Forbidden) => {}
                Err(refused) => return Err(refused),
            }
        }
        info!(user.id = %user_id, erase, left, "an operator has deactivated an account");
        Ok(Response::new(DeactivateUserResponse { left }))
    }
}

fn account(row: AccountRow) -> AdminUser {
    AdminUser {
        user_id: row.user_id,
        created_ts: row.created_ts,
        admin: row.admin,
        guest: row.guest,
        deactivated: row.deactivated,
        erased: row.erased,
    }
}
