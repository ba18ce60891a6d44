//! `POST /_matrix/client/*/register`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register)

use axum::extract::State;
use http::StatusCode;
use plexus_matrix_http::{ClientAddress, JsonObject, MatrixError, QueryArgs};
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::{FirstSession, NewAccount};
use crate::{
    App,
    uia::{self, InteractiveRequest, Operation, Stage},
    usernames,
};

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    #[serde(default)]
    kind: Kind,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    User,
    Guest,
}

#[derive(Debug, Deserialize)]
struct Params {
    username: Option<String>,
    password: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    inhibit_login: bool,
    #[serde(default)]
    refresh_token: bool,
    guest_access_token: Option<String>,
    #[serde(rename = "type")]
    login_type: Option<String>,
}

// Not ruma's type: it says `"device_id": null` where there is no session.
#[derive(Debug, Serialize)]
struct Response {
    user_id: OwnedUserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<OwnedDeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
}

#[instrument(name = "http.client.register", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    address: ClientAddress,
    QueryArgs(query): QueryArgs<Query>,
    request: InteractiveRequest,
) -> Result<JsonObject, MatrixError> {
    match query.kind {
        Kind::Guest => register_guest(&app, address, &request).await,
        Kind::User => register_user(&app, address, request).await,
    }
}

async fn register_guest(
    app: &App,
    address: ClientAddress,
    request: &InteractiveRequest,
) -> Result<JsonObject, MatrixError> {
    if !app.config.registration.guests {
        return Err(MatrixError::new(
            StatusCode::FORBIDDEN,
            "M_GUEST_ACCESS_FORBIDDEN",
            "Guests are not welcome on this server",
        ));
    }
    app.limits.check_registration(address.0)?;
    let params: Params = uia::read_params(&request.params)?;
    // The device of a guest is always a new one; the specification ignores all other parameters.
    let session = FirstSession {
        device_name: params.initial_device_display_name,
        refreshable: params.refresh_token,
        ..FirstSession::default()
    };
    create(app, NewAccount { guest: true, session: Some(session), ..NewAccount::default() }).await
}

async fn register_user(
    app: &App,
    address: ClientAddress,
    request: InteractiveRequest,
) -> Result<JsonObject, MatrixError> {
    let early: Params = uia::read_params(&request.params)?;
    if early.login_type.as_deref() == Some("m.login.application_service") {
        // There are no application services, so nobody can have a token of one.
        return Err(MatrixError::unknown_token(false));
    }
    let flows = flows(app)?;
    if request.auth.is_some() {
        app.limits.check_registration(address.0)?;
    }
    // What cannot succeed is told before the client goes through the stages.
    let upgrades_guest = check_name(app, &early).await?;
    let operation = Operation { endpoint: "register", user: None, flows: &flows };
    let params = uia::authenticate(app, operation, request).await?;
    let params: Params = uia::read_params(&params)?;
    // The token may have come only now, or be no longer good.
    let upgrades_guest = match params.guest_access_token.is_some() || upgrades_guest {
        true => check_name(app, &params).await?,
        false => false,
    };
    let password = params
        .password
        .ok_or_else(|| MatrixError::missing_param("`password` is missing: without it nobody could log in"))?;
    let session = (!params.inhibit_login).then_some(FirstSession {
        device_id: params.device_id,
        device_name: params.initial_device_display_name,
        refreshable: params.refresh_token,
    });
    let account = NewAccount {
        username: params.username,
        password: Some(password),
        session,
        upgrades_guest,
        ..NewAccount::default()
    };
    create(app, account).await
}

/// Checks that the name can be had: it is nobody's, or that of the guest whose access token came along. Tells whether it
/// is a guest's.
async fn check_name(app: &App, params: &Params) -> Result<bool, MatrixError> {
    let user_id =
        params.username.as_ref().map(|name| usernames::new_user_id(name, &app.server_name)).transpose()?;
    let Some(token) = &params.guest_access_token else {
        if let Some(user_id) = &user_id {
            super::check_available(app, user_id).await?;
        }
        return Ok(false);
    };
    let user_id =
        user_id.ok_or_else(|| MatrixError::missing_param("`username` is missing: it is the guest's own"))?;
    let refused = || MatrixError::forbidden("The username is not that of the guest whose access token it is");
    match app.edge.authenticate(token).await {
        Ok(guest) if guest.guest && guest.id == user_id => Ok(true),
        Ok(_) => Err(refused()),
        Err(error) if error.is("M_UNKNOWN_TOKEN") => Err(refused()),
        Err(error) => Err(error),
    }
}

/// What is asked of whoever registers, by configuration.
fn flows(app: &App) -> Result<Vec<&'static [Stage]>, MatrixError> {
    let mut flows: Vec<&'static [Stage]> = Vec::new();
    if app.config.registration.open {
        flows.push(&[Stage::Dummy]);
    }
    if !app.config.registration.tokens.is_empty() {
        flows.push(&[Stage::RegistrationToken]);
    }
    if flows.is_empty() {
        return Err(MatrixError::forbidden("Registration is not open on this server"));
    }
    Ok(flows)
}

async fn create(app: &App, account: NewAccount) -> Result<JsonObject, MatrixError> {
    let (user_id, issued) = super::create(app, account).await?;
    let (device_id, access_token, refresh_token, expires_in) = match issued {
        Some(issued) => {
            (Some(issued.device_id), Some(issued.access_token), issued.refresh_token, issued.expires_in)
        }
        None => (None, None, None, None),
    };
    let expires_in_ms = expires_in.map(|lifetime| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
    JsonObject::of(&Response { user_id, device_id, access_token, refresh_token, expires_in_ms })
}
