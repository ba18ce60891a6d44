//! Accounts.

pub(crate) mod change_password;
pub(crate) mod check_registration_token_validity;
mod create;
pub(crate) mod deactivate;
pub(crate) mod get_username_availability;
pub(crate) mod register;
pub(crate) mod request_openid_token;
pub(crate) mod whoami;

use std::time::Duration;

use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::ErrorReason,
    user::v1::{
        AwaitMemberJobsRequest, GetAccountRequest, GetAccountResponse, GetPasswordHashRequest,
        GetPasswordHashResponse,
    },
};
use plexus_service::refusal::reason_of;
use ruma::UserId;

use crate::App;

pub(crate) use create::{FirstSession, NewAccount, create};

/// How long a client waits for its rooms to be told.
const ROOMS_PATIENCE: Duration = Duration::from_secs(2);

/// Finds an account.
pub(crate) async fn find(app: &App, user: &UserId) -> Result<Option<GetAccountResponse>, MatrixError> {
    let request = GetAccountRequest { user_id: user.to_string() };
    match app.users.clone().get_account(request).await {
        Ok(response) => Ok(Some(response.into_inner())),
        Err(status) if reason_of(&status) == Some(ErrorReason::NotFound) => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// Finds the password hash of an account: one call, whether there is such an account or not.
pub(crate) async fn find_password_hash(
    app: &App,
    user: &UserId,
) -> Result<Option<GetPasswordHashResponse>, MatrixError> {
    let request = GetPasswordHashRequest { user_id: user.to_string() };
    match app.credentials.clone().get_password_hash(request).await {
        Ok(response) => Ok(Some(response.into_inner())),
        Err(status) if reason_of(&status) == Some(ErrorReason::NotFound) => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// Refuses a name that is taken.
pub(crate) async fn check_available(app: &App, user: &UserId) -> Result<(), MatrixError> {
    match find(app, user).await? {
        None => Ok(()),
        Some(_) => Err(plexus_matrix_http::reason_error(ErrorReason::UserInUse, "The username is taken")),
    }
}

/// Waits for a moment until all rooms of a user are told what has become of them. That goes on without us: whoever has
/// thousands of rooms does not wait for all of them, and a failure here changes nothing.
pub(crate) async fn await_rooms(app: &App, user: &UserId) {
    let patience_ms = u32::try_from(ROOMS_PATIENCE.as_millis()).unwrap_or(u32::MAX);
    let request = AwaitMemberJobsRequest { user_id: user.to_string(), patience_ms };
    if let Err(status) = app.users.clone().await_member_jobs(request).await {
        tracing::debug!(reason = status.message(), user.id = %user, "not known how far the rooms of a user are");
    }
}

/// Refuses to act for somebody else.
pub(crate) fn check_own(user: &UserId, asked: &UserId) -> Result<(), MatrixError> {
    if user == asked { Ok(()) } else { Err(MatrixError::forbidden("This belongs to another user")) }
}
