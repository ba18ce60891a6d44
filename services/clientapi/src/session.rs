//! Sessions: a device, an access token, and perhaps a refresh token.

pub(crate) mod get_login_types;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logout_all;
pub(crate) mod refresh_token;

use std::time::Duration;

use plexus_matrix_http::{MatrixError, hash_token};
use plexus_proto::log::v1::NewSession;
use ruma::OwnedDeviceId;

use crate::{App, clock, secrets};

/// Longest device ID and device name that clients may choose, in bytes.
const MAX_DEVICE_ID: usize = 255;
const MAX_DEVICE_NAME: usize = 1024;

/// What a client gets: the only place where the tokens themselves are known.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) device_id: OwnedDeviceId,
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) expires_in: Option<Duration>,
}

/// Makes the tokens of a new session, and the record that holds their hashes.
pub(crate) fn issue(
    app: &App,
    device_id: Option<OwnedDeviceId>,
    device_name: Option<String>,
    refreshable: bool,
) -> Result<(Issued, NewSession), MatrixError> {
    let device_id = match device_id {
        Some(device_id) => {
            check_device_id(device_id.as_str())?;
            device_id
        }
        None => secrets::device_id(),
    };
    if let Some(name) = &device_name {
        check_device_name(name)?;
    }
    let (access_token, refresh_token) = (secrets::access_token(), secrets::refresh_token());
    let (expires_in, expires_ts) = expiry(app, refreshable);
    let session = NewSession {
        device_id: device_id.to_string(),
        initial_display_name: device_name,
        access_token_hash: hash_token(&access_token).to_vec().into(),
        refresh_token_hash: if refreshable {
            hash_token(&refresh_token).to_vec().into()
        } else {
            Vec::new().into()
        },
        expires_ts,
    };
    let refresh_token = refreshable.then_some(refresh_token);
    Ok((Issued { device_id, access_token, refresh_token, expires_in }, session))
}

/// How long an access token lives, and until when: only those expire that the client can refresh.
fn expiry(app: &App, refreshable: bool) -> (Option<Duration>, i64) {
    let lifetime = Duration::from_secs(app.config.auth.refreshable_token_lifetime_s);
    if !refreshable || lifetime.is_zero() {
        return (None, 0);
    }
    let millis = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
    (Some(lifetime), clock::now_ms().saturating_add(millis))
}

fn check_device_id(device_id: &str) -> Result<(), MatrixError> {
    if device_id.is_empty() || device_id.len() > MAX_DEVICE_ID || device_id.chars().any(char::is_control) {
        return Err(MatrixError::invalid_param("The device ID must have 1 to 255 bytes and no controls"));
    }
    Ok(())
}

/// Refuses names of devices that are too long.
pub(crate) fn check_device_name(name: &str) -> Result<(), MatrixError> {
    if name.len() > MAX_DEVICE_NAME || name.contains('\0') {
        return Err(MatrixError::invalid_param("The name of the device is too long or has a NUL"));
    }
    Ok(())
}
