//! Creating an account, however it was allowed.

use plexus_input::SubmitError;
use plexus_matrix_http::MatrixError;
use plexus_proto::{common::v1::ErrorReason, log::v1};
use ruma::{OwnedDeviceId, OwnedUserId};

use crate::{
    App, secrets,
    session::{self, Issued},
    usernames,
};

/// How often a random name is tried: a collision is as likely as a bug.
const ATTEMPTS: usize = 4;

/// What the account begins with.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewAccount {
    /// Name; a random one if unset.
    pub(crate) username: Option<String>,
    /// Password, in the clear; none if unset.
    pub(crate) password: Option<String>,
    /// Display name.
    pub(crate) display_name: Option<String>,
    /// Whether it is a guest.
    pub(crate) guest: bool,
    /// Whether it is a server administrator.
    pub(crate) admin: bool,
    /// Whether it is the account of a guest, who keeps it.
    pub(crate) upgrades_guest: bool,
    /// First session, if wanted.
    pub(crate) session: Option<FirstSession>,
}

/// The first session of an account.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstSession {
    /// Device ID; a random one if unset.
    pub(crate) device_id: Option<OwnedDeviceId>,
    /// Display name of the device.
    pub(crate) device_name: Option<String>,
    /// Whether the client can refresh tokens.
    pub(crate) refreshable: bool,
}

/// Creates an account, and its first session if wanted.
pub(crate) async fn create(
    app: &App,
    account: NewAccount,
) -> Result<(OwnedUserId, Option<Issued>), MatrixError> {
    let chosen = match &account.username {
        Some(name) => Some(usernames::new_user_id(name, &app.server_name)?),
        None => None,
    };
    let password_hash = match &account.password {
        Some(password) => app.passwords.hash(password).await?,
        None => String::new(),
    };
    let (issued, session) = match account.session {
        Some(first) => {
            let (issued, session) =
                session::issue(app, first.device_id, first.device_name, first.refreshable)?;
            (Some(issued), Some(session))
        }
        None => (None, None),
    };
    let register = v1::Register {
        password_hash,
        guest: account.guest,
        admin: account.admin,
        session,
        display_name: account.display_name,
        upgrades_guest: account.upgrades_guest,
    };
    if let Some(user_id) = chosen {
        submit(app, &user_id, register).await?;
        return Ok((user_id, issued));
    }
    for _ in 1..ATTEMPTS {
        let user_id = usernames::new_user_id(&secrets::localpart(), &app.server_name)?;
        match submit(app, &user_id, register.clone()).await {
            Err(error) if error.reason() == Some(ErrorReason::UserInUse) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok((user_id, issued)),
        }
    }
    Err(MatrixError::internal())
}

async fn submit(app: &App, user_id: &OwnedUserId, register: v1::Register) -> Result<(), SubmitError> {
    app.input.submit_user(user_id, v1::input_user_event::Command::Register(register)).await.map(drop)
}
