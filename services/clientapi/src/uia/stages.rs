//! The stages: what a client may be asked to do.

use std::borrow::Cow;

use plexus_matrix_http::{AuthedUser, LoginSource, MatrixError};
use serde_json::{Map, Value};
use subtle::{Choice, ConstantTimeEq as _};

use super::StageFailure;
use crate::{App, account, usernames};

/// A stage of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `m.login.dummy`: nothing to do.
    Dummy,
    /// `m.login.registration_token`: one of the configured tokens.
    RegistrationToken,
    /// `m.login.password`: the password of the account.
    Password,
}

impl Stage {
    /// Its name in flows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dummy => "m.login.dummy",
            Self::RegistrationToken => "m.login.registration_token",
            Self::Password => "m.login.password",
        }
    }
}

/// Checks whether `auth` completes a stage.
pub(super) async fn check(
    app: &App,
    stage: Stage,
    user: Option<&AuthedUser>,
    auth: &Map<String, Value>,
) -> Result<Result<(), StageFailure>, MatrixError> {
    match stage {
        Stage::Dummy => Ok(Ok(())),
        Stage::RegistrationToken => Ok(check_token(app, auth)),
        Stage::Password => match user {
            Some(user) => check_password(app, user, auth).await,
            None => Ok(Err(("M_UNRECOGNIZED", Cow::Borrowed("There is no account to authenticate")))),
        },
    }
}

fn check_token(app: &App, auth: &Map<String, Value>) -> Result<(), StageFailure> {
    let Some(token) = auth.get("token").and_then(Value::as_str) else {
        return Err(("M_MISSING_PARAM", Cow::Borrowed("`auth.token` is missing")));
    };
    if is_registration_token(app, token) {
        Ok(())
    } else {
        Err(("M_UNAUTHORIZED", Cow::Borrowed("The registration token is not valid")))
    }
}

/// Whether one may register with this token. Takes the same time for all tokens of a length.
pub(crate) fn is_registration_token(app: &App, token: &str) -> bool {
    let tokens = app.config.registration.tokens.iter();
    let found = tokens.fold(Choice::from(0), |found, known| found | known.as_bytes().ct_eq(token.as_bytes()));
    found.into()
}

async fn check_password(
    app: &App,
    AuthedUser { id: user, device_id, .. }: &AuthedUser,
    auth: &Map<String, Value>,
) -> Result<Result<(), StageFailure>, MatrixError> {
    let Some(password) = auth.get("password").and_then(Value::as_str) else {
        return Ok(Err(("M_MISSING_PARAM", Cow::Borrowed("`auth.password` is missing"))));
    };
    let named = auth
        .get("identifier")
        .and_then(|identifier| identifier.get("user"))
        .or_else(|| auth.get("user"))
        .and_then(Value::as_str);
    let Some(named) = named else {
        return Ok(Err(("M_MISSING_PARAM", Cow::Borrowed("`auth.identifier` is missing"))));
    };
    if usernames::find_user_id(named, &app.server_name).as_deref() != Some(&**user) {
        // Not a stage to try again: whoever asks is not whom they claim to be.
        return Err(MatrixError::forbidden("The password of another account is no proof"));
    }
    // A device that is logged in is not concerned by what others try.
    let source = LoginSource::Device(device_id);
    app.limits.check_failed_logins(user, source)?;
    let account = account::find_password_hash(app, user).await?;
    let phc = account.as_ref().map(|account| account.password_hash.as_str()).filter(|phc| !phc.is_empty());
    if app.passwords.verify(password, phc).await? {
        return Ok(Ok(()));
    }
    app.limits.count_failed_login(user, source);
    Ok(Err(("M_FORBIDDEN", Cow::Borrowed("The password is wrong"))))
}
