//! `POST /_matrix/client/*/login`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login)

use axum::extract::State;
use plexus_matrix_http::{ClientAddress, Json, LoginSource, Matrix, MatrixError};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Login, input_user_event::Command},
};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::session::login::v3::{DiscoveryInfo, HomeserverInfo, Response},
};
use serde::Deserialize;
use tracing::instrument;

use crate::{App, account, usernames};

// Not ruma's type: it panics on a body without `type`.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    #[serde(rename = "type")]
    login_type: Option<String>,
    identifier: Option<Identifier>,
    user: Option<String>,
    password: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

#[derive(Debug, Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    user: Option<String>,
}

#[instrument(name = "http.client.login", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    address: ClientAddress,
    Json(request): Json<Request>,
) -> Result<Matrix<Response>, MatrixError> {
    check_type(&request)?;
    let password =
        request.password.as_deref().ok_or_else(|| MatrixError::missing_param("`password` is missing"))?;
    let name = name(&request)?;
    let user_id = check_password(&app, name, password, address).await?;
    let (issued, session) =
        super::issue(&app, request.device_id, request.initial_device_display_name, request.refresh_token)?;
    let login = Command::Login(Login { session: Some(session) });
    app.input.submit_user(&user_id, login).await.map_err(|error| match error.reason() {
        Some(ErrorReason::NotFound) => wrong(),
        _ => error.into(),
    })?;
    let mut response = Response::new(user_id, issued.access_token, issued.device_id);
    response.refresh_token = issued.refresh_token;
    response.expires_in = issued.expires_in;
    let base_url = &app.config.server.public_base_url;
    if !base_url.is_empty() {
        response.well_known = Some(DiscoveryInfo::new(HomeserverInfo::new(base_url.clone())));
    }
    Ok(Matrix(response))
}

fn check_type(request: &Request) -> Result<(), MatrixError> {
    match request.login_type.as_deref() {
        Some("m.login.password") => Ok(()),
        // There are no application services, so nobody can have a token of one.
        Some("m.login.application_service") => Err(MatrixError::unknown_token(false)),
        Some(_) => Err(MatrixError::unknown("The login type is not offered here")),
        None => Err(MatrixError::missing_param("`type` is missing")),
    }
}

/// The name that somebody logs in by; other identifiers than names belong to nobody here.
fn name(request: &Request) -> Result<&str, MatrixError> {
    match &request.identifier {
        Some(identifier) => match identifier.kind.as_str() {
            "m.id.user" => identifier
                .user
                .as_deref()
                .ok_or_else(|| MatrixError::missing_param("`identifier.user` is missing")),
            "m.id.thirdparty" | "m.id.phone" => Err(wrong()),
            _ => Err(MatrixError::unknown("The type of the identifier is not offered here")),
        },
        None => request.user.as_deref().ok_or_else(|| MatrixError::missing_param("`identifier` is missing")),
    }
}

/// Accounts that do not exist cost as much as those that do, and are refused in the same words.
///
/// So are those that were deactivated: they have no password that anybody could know.
async fn check_password(
    app: &App,
    name: &str,
    password: &str,
    ClientAddress(address): ClientAddress,
) -> Result<OwnedUserId, MatrixError> {
    let source = LoginSource::Address(address);
    let user_id = usernames::find_user_id(name, &app.server_name);
    let account = match &user_id {
        Some(user_id) => {
            app.limits.check_failed_logins(user_id, source)?;
            account::find_password_hash(app, user_id).await?
        }
        None => None,
    };
    let phc = account.as_ref().filter(|account| !account.deactivated);
    let phc = phc.map(|account| account.password_hash.as_str()).filter(|phc| !phc.is_empty());
    let right = app.passwords.verify(password, phc).await?;
    match user_id {
        Some(user_id) if right => {
            app.limits.remember_login(&user_id, address);
            Ok(user_id)
        }
        Some(user_id) => {
            app.limits.count_failed_login(&user_id, source);
            Err(wrong())
        }
        None => Err(wrong()),
    }
}

fn wrong() -> MatrixError {
    MatrixError::forbidden("Wrong username or password")
}
