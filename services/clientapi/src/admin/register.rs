//! `GET` and `POST /_synapse/admin/v1/register`: registration by whoever knows the shared secret.
//! [Reference](https://element-hq.github.io/synapse/latest/admin_api/register_api.html)

use axum::{extract::State, response::IntoResponse};
use hmac::{Hmac, Mac as _};
use http::StatusCode;
use plexus_matrix_http::{ClientAddress, Json, JsonObject, MatrixError};
use ruma::UserId;
use serde::Deserialize;
use serde_json::json;
use sha1::Sha1;
use tracing::instrument;

use crate::{
    App,
    account::{self, FirstSession, NewAccount},
};

#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    nonce: String,
    username: String,
    password: String,
    #[serde(default)]
    admin: bool,
    mac: String,
    displayname: Option<String>,
    user_type: Option<String>,
    #[serde(default)]
    inhibit_login: bool,
}

#[instrument(name = "http.admin.register_nonce", skip_all)]
pub(crate) async fn nonce_handler(State(app): State<App>) -> Result<impl IntoResponse, MatrixError> {
    secret(&app)?;
    JsonObject::of(&json!({ "nonce": app.nonces.issue() }))
}

#[instrument(name = "http.admin.register", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    address: ClientAddress,
    Json(request): Json<Request>,
) -> Result<impl IntoResponse, MatrixError> {
    let secret = secret(&app)?;
    if request.username.contains('\0') || request.password.contains('\0') {
        return Err(MatrixError::bad_json("Neither username nor password may contain a NUL"));
    }
    if !app.nonces.is_good(&request.nonce) {
        return Err(bad_nonce());
    }
    if !is_authentic(&request, secret) {
        // Guessing the secret is to take time.
        app.limits.check_registration(address.0)?;
        return Err(MatrixError::new(StatusCode::FORBIDDEN, "M_UNKNOWN", "HMAC incorrect"));
    }
    if !app.nonces.use_up(&request.nonce) {
        return Err(bad_nonce());
    }
    let account = NewAccount {
        // Without one, Synapse shows the name that was asked for.
        display_name: Some(request.displayname.unwrap_or_else(|| request.username.clone())),
        username: Some(request.username),
        password: Some(request.password),
        admin: request.admin,
        session: (!request.inhibit_login).then(FirstSession::default),
        ..NewAccount::default()
    };
    let (user_id, issued) = account::create(&app, account).await?;
    let mut response = json!({ "user_id": user_id, "home_server": home_server(&user_id) });
    if let Some(issued) = issued {
        response["access_token"] = issued.access_token.into();
        response["device_id"] = issued.device_id.as_str().into();
    }
    JsonObject::of(&response)
}

fn bad_nonce() -> MatrixError {
    MatrixError::unknown("The nonce is unknown, has expired or was used")
}

fn home_server(user_id: &UserId) -> &str {
    user_id.server_name().as_str()
}

fn secret(app: &App) -> Result<&[u8], MatrixError> {
    let secret = app.config.registration.shared_secret.as_bytes();
    if secret.is_empty() {
        return Err(MatrixError::unknown("Registration by shared secret is not open on this server"));
    }
    Ok(secret)
}

/// HMAC-SHA1 over nonce, username, password, `admin` or `notadmin`, and the user type if there is one, with NULs
/// between them. The comparison takes the same time wherever they differ.
fn is_authentic(request: &Request, secret: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else {
        return false;
    };
    let Ok(claimed) = hex::decode(&request.mac) else {
        return false;
    };
    let admin = if request.admin { "admin" } else { "notadmin" };
    mac.update([&request.nonce, &request.username, &request.password, admin].join("\0").as_bytes());
    if let Some(user_type) = &request.user_type {
        mac.update(b"\0");
        mac.update(user_type.as_bytes());
    }
    mac.verify_slice(&claimed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_that_of_synapse() {
        // python3: hmac.new(b"secret", b"n\0alice\0pw\0notadmin", hashlib.sha1).hexdigest()
        let mut request = Request {
            nonce: "n".to_owned(),
            username: "alice".to_owned(),
            password: "pw".to_owned(),
            admin: false,
            mac: MAC.to_owned(),
            displayname: None,
            user_type: None,
            inhibit_login: false,
        };
        assert!(is_authentic(&request, b"secret"));
        assert!(!is_authentic(&request, b"other"));
        request.admin = true;
        assert!(!is_authentic(&request, b"secret"));
        request.mac = "zz".to_owned();
        assert!(!is_authentic(&request, b"secret"));
    }

    const MAC: &str = "bed7b1c8bbb7b4e3701c0e2242bfeab2478b3713";
}
