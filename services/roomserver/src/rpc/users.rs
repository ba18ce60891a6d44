//! `UserQueryService`: reads accounts and what belongs to them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use plexus_log::InputUser;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{ConfirmTokens, InputUserEvent, NoteSeen, input_user_event::Command},
    user::v1::{
        AuthenticateRequest, AuthenticateResponse, AwaitMemberJobsRequest, AwaitMemberJobsResponse, Device,
        FindRefreshTokenRequest, FindRefreshTokenResponse, GetAccountDataRequest, GetAccountDataResponse,
        GetAccountRequest, GetAccountResponse, GetFilterRequest, GetFilterResponse, GetProfileRequest,
        GetProfileResponse, ListDevicesRequest, ListDevicesResponse,
        user_query_service_server::{UserQueryService, UserQueryServiceServer},
    },
};
use plexus_service::{TraceContext, refusal::refusal};
use plexus_sessions::{Session, TokenHash};
use tonic::{Code, Request, Response, Status};
use tracing::{debug, instrument, warn};

use super::check::{self, failed, invalid, not_found, storable};
use crate::{
    app::App,
    store::{StoreError, member_jobs, pool, reads},
    users::SEEN_FOR,
    worker::now_ms,
};

/// Most devices that one request may name.
const DEVICES: usize = 1000;
/// Format version of records.
const RECORD_VERSION: u32 = 1;
/// How long a request waits for the log because of it.
const APPEND_WITHIN: Duration = Duration::from_millis(500);
/// For how long, and for how many devices, it is known that they were to be noted as seen.
const SEEN: (Duration, u64) = (Duration::from_secs(60), 10_000);
/// How long a request may wait until all rooms of a user are done, and how long between two looks.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_JOB_PAUSE: Duration = Duration::from_millis(10);
const LAST_JOB_PAUSE: Duration = Duration::from_millis(200);

struct Service {
    app: App,
    /// Devices, by user and device ID, that were to be noted as seen lately.
    seen: moka::sync::Cache<(String, String), ()>,
}

/// Makes the service.
pub(super) fn service(app: &App) -> UserQueryServiceServer<impl UserQueryService> {
    let seen = moka::sync::Cache::builder().time_to_live(SEEN.0).max_capacity(SEEN.1).build();
    UserQueryServiceServer::new(Service { app: app.clone(), seen })
}

impl Service {
    async fn conn(&self) -> Result<pool::PooledConnection, Status> {
        pool::get(&self.app.pool).await.map_err(|error| failed(&error))
    }

    /// A connection to find out who somebody is, for which ordinary reads do not compete.
    async fn login_conn(&self) -> Result<pool::PooledConnection, Status> {
        pool::get(&self.app.login_pool).await.map_err(|error| failed(&error))
    }
}

#[tonic::async_trait]
impl UserQueryService for Service {
    #[instrument(name = "rpc.user.authenticate", skip_all)]
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let AuthenticateRequest { access_token_hash, fresh, ip } = request.into_inner();
        let token = token_hash("access_token_hash", &access_token_hash)?;
        let held = if fresh { None } else { self.app.sessions.find(&token) };
        let (session, may_hold) = match held {
            Some(session) => (session, true),
            None => self.read_session(token, ip).await?,
        };
        if session.has_expired() {
            return Err(refusal(
                Code::Unauthenticated,
                ErrorReason::ExpiredToken,
                "the access token has expired",
            ));
        }
        Ok(Response::new(AuthenticateResponse {
            user_id: session.user_id.clone(),
            device_id: session.device_id.clone(),
            guest: session.guest,
            admin: session.admin,
            expires_ts: session.expires_ts,
            may_hold,
        }))
    }

    #[instrument(name = "rpc.user.get_account", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn get_account(
        &self,
        request: Request<GetAccountRequest>,
    ) -> Result<Response<GetAccountResponse>, Status> {
        let GetAccountRequest { user_id } = request.into_inner();
        user(&user_id)?;
        let rows = reads::users::find_account(&*self.login_conn().await?, &user_id).await;
        let row = one(rows, "there is no such account")?;
        Ok(Response::new(GetAccountResponse {
            deactivated: row.deactivated,
            guest: row.guest,
            admin: row.admin,
            created_ts: row.created_ts,
        }))
    }

    #[instrument(name = "rpc.user.find_refresh_token", skip_all)]
    async fn find_refresh_token(
        &self,
        request: Request<FindRefreshTokenRequest>,
    ) -> Result<Response<FindRefreshTokenResponse>, Status> {
        let token = token_hash("refresh_token_hash", &request.get_ref().refresh_token_hash)?;
        let rows = reads::users::find_refresh_token(&*self.login_conn().await?, &token).await;
        let rows = rows.map_err(|error| failed(&error))?;
        let (user_id, device_id) = rows.into_iter().next().ok_or_else(unknown_token)?;
        Ok(Response::new(FindRefreshTokenResponse { user_id, device_id }))
    }

    #[instrument(name = "rpc.user.list_devices", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        let ListDevicesRequest { user_id, device_ids } = request.into_inner();
        user(&user_id)?;
        check::at_most("device_ids", device_ids.len(), DEVICES)?;
        for device_id in &device_ids {
            storable("device_ids", device_id)?;
        }
        let rows = reads::users::list_devices(&*self.conn().await?, &device_ids, &user_id).await;
        let devices = rows.map_err(|error| failed(&error))?.into_iter().map(|row| Device {
            device_id: row.device_id,
            display_name: row.display_name,
            created_ts: row.created_ts,
            last_seen_ts: row.last_seen_ts,
            last_seen_ip: row.last_seen_ip,
        });
        Ok(Response::new(ListDevicesResponse { devices: devices.collect() }))
    }

    #[instrument(name = "rpc.user.get_profile", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<GetProfileResponse>, Status> {
        let GetProfileRequest { user_id } = request.into_inner();
        user(&user_id)?;
        let rows = reads::users::list_profile(&*self.conn().await?, &user_id).await;
        let rows = rows.map_err(|error| failed(&error))?;
        if rows.is_empty() {
            return Err(not_found("there is no such profile"));
        }
        let fields = rows.into_iter().filter_map(|row| Some((row.field?, Bytes::from(row.value?))));
        Ok(Response::new(GetProfileResponse { fields: fields.collect() }))
    }

    #[instrument(name = "rpc.user.get_account_data", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn get_account_data(
        &self,
        request: Request<GetAccountDataRequest>,
    ) -> Result<Response<GetAccountDataResponse>, Status> {
        let GetAccountDataRequest { user_id, room_id, r#type } = request.into_inner();
        user(&user_id)?;
        if !room_id.is_empty() {
            check::room_id("room_id", &room_id)?;
            storable("room_id", &room_id)?;
        }
        storable("type", &r#type)?;
        let rows = reads::users::find_account_data(&*self.conn().await?, &user_id, &room_id, &r#type).await;
        let (content,) = one(rows, "there is no such account data")?;
        Ok(Response::new(GetAccountDataResponse { content: Bytes::from(content) }))
    }

    #[instrument(name = "rpc.user.get_filter", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn get_filter(
        &self,
        request: Request<GetFilterRequest>,
    ) -> Result<Response<GetFilterResponse>, Status> {
        let GetFilterRequest { user_id, filter_id } = request.into_inner();
        user(&user_id)?;
        storable("filter_id", &filter_id)?;
        let rows = reads::users::find_filter(&*self.conn().await?, &user_id, &filter_id).await;
        let (filter,) = one(rows, "there is no such filter")?;
        Ok(Response::new(GetFilterResponse { filter: Bytes::from(filter) }))
    }

    #[instrument(name = "rpc.user.await_member_jobs", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn await_member_jobs(
        &self,
        request: Request<AwaitMemberJobsRequest>,
    ) -> Result<Response<AwaitMemberJobsResponse>, Status> {
        let AwaitMemberJobsRequest { user_id, patience_ms } = request.into_inner();
        user(&user_id)?;
        let patience = Duration::from_millis(u64::from(patience_ms)).min(LONGEST_PATIENCE);
        let until = tokio::time::Instant::now() + patience;
        let mut pause = FIRST_JOB_PAUSE;
        loop {
            let left = member_jobs::list_left_of(&*self.conn().await?, &user_id).await;
            let done = left.map_err(|error| failed(&error))?.is_empty();
            if done || tokio::time::Instant::now() >= until {
                return Ok(Response::new(AwaitMemberJobsResponse { done }));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_JOB_PAUSE);
        }
    }
}

impl Service {
    /// Reads a session, and holds it if its user is ours. Returns also whether it may be held.
    async fn read_session(&self, token: TokenHash, ip: String) -> Result<(Arc<Session>, bool), Status> {
        let ticket = self.app.sessions.ticket();
        let rows = reads::users::find_session(&*self.login_conn().await?, &token).await;
        let row = rows.map_err(|error| failed(&error))?.into_iter().next().ok_or_else(unknown_token)?;
        if row.deactivated {
            return Err(refusal(
                Code::Unauthenticated,
                ErrorReason::UserDeactivated,
                "the account has been deactivated",
            ));
        }
        let session = Arc::new(Session {
            user_id: row.user_id,
            device_id: row.device_id,
            guest: row.guest,
            admin: row.admin,
            expires_ts: row.expires_ts,
        });
        if now_ms() >= row.last_seen_ts.saturating_add(SEEN_FOR) {
            self.note_seen(&session, ip).await;
        }
        if row.replaces && !self.confirm(token, &session.user_id).await {
            // Not held, so that the next request tries again.
            return Ok((session, false));
        }
        self.app.sessions.insert(ticket, token, Arc::clone(&session));
        Ok((session, true))
    }

    /// Has the owner of the user note that a device was seen. A minute passes before it is asked again: until it has done
    /// so, each request would.
    async fn note_seen(&self, session: &Session, ip: String) {
        let device = (session.user_id.clone(), session.device_id.clone());
        if !self.seen.entry(device).or_insert(()).is_fresh() {
            return;
        }
        let device_id = session.device_id.clone();
        if !self.append(&session.user_id, Command::NoteSeen(NoteSeen { device_id, ip })).await {
            debug!(user.id = session.user_id, "could not note that a device was seen");
        }
    }

    /// Notes that a client uses the tokens that a refresh gave it: the owner of the user revokes those they replaced.
    /// Returns whether it is noted; the session is as good without.
    async fn confirm(&self, token: TokenHash, user_id: &str) -> bool {
        let access_token_hash = Bytes::copy_from_slice(&token);
        let noted = self.append(user_id, Command::ConfirmTokens(ConfirmTokens { access_token_hash })).await;
        if !noted {
            warn!(user.id = user_id, "could not note the use of refreshed tokens yet");
        }
        noted
    }

    /// Writes a command to the input log; returns whether the log has taken it in time.
    async fn append(&self, user_id: &str, command: Command) -> bool {
        let record = InputUserEvent {
            version: RECORD_VERSION,
            input_id: Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()),
            user_id: user_id.to_owned(),
            produced_ts: now_ms(),
            traceparent: TraceContext::next_step().to_string(),
            command: Some(command),
        };
        let appended = tokio::time::timeout(APPEND_WITHIN, self.app.log.append::<InputUser>(&record)).await;
        matches!(appended, Ok(Ok(_)))
    }
}

fn token_hash(field: &str, value: &[u8]) -> Result<TokenHash, Status> {
    TokenHash::try_from(value).map_err(|_| invalid(field, "must be 32 bytes"))
}

pub(super) fn user(user_id: &str) -> Result<(), Status> {
    check::user_id("user_id", user_id)?;
    storable("user_id", user_id)
}

pub(super) fn one<T>(rows: Result<Vec<T>, StoreError>, absent: &str) -> Result<T, Status> {
    rows.map_err(|error| failed(&error))?.into_iter().next().ok_or_else(|| not_found(absent))
}

fn unknown_token() -> Status {
    refusal(Code::Unauthenticated, ErrorReason::UnknownToken, "the token is unknown or revoked")
}
