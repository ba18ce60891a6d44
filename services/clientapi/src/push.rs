//! Push rules. The room server keeps them, as the account data `m.push_rules`; who changed nothing has none there.

pub(crate) mod delete_pushrule;
pub(crate) mod get_pushrule;
pub(crate) mod get_pushrule_attribute;
pub(crate) mod get_pushrules_all;
pub(crate) mod set_pushrule;
pub(crate) mod set_pushrule_actions;
pub(crate) mod set_pushrule_enabled;

use plexus_input::SubmitError;
use plexus_matrix_http::{JsonObject, MatrixError};
use plexus_proto::{
    common::v1::ErrorReason, log::v1::input_user_event::Command, user::v1::GetAccountDataRequest,
};
use plexus_push::Rules;
use plexus_service::refusal::reason_of;
use ruma::UserId;
use serde_json::Value;

use crate::App;

/// Reads the rules of a user.
pub(crate) async fn rules(app: &App, user: &UserId) -> Result<Rules, MatrixError> {
    let request = GetAccountDataRequest {
        user_id: user.to_string(),
        room_id: String::new(),
        r#type: "m.push_rules".to_owned(),
    };
    match app.users.clone().get_account_data(request).await {
        Ok(answer) => Rules::parse(&answer.into_inner().content, user).map_err(|error| {
            tracing::error!(%error, "stored push rules cannot be read");
            MatrixError::internal()
        }),
        Err(status) if reason_of(&status) == Some(ErrorReason::NotFound) => Ok(Rules::predefined(user)),
        Err(status) => Err(status.into()),
    }
}

/// Finds a rule, as JSON.
async fn find(app: &App, user: &UserId, kind: &str, id: &str) -> Result<Value, MatrixError> {
    let global = rules(app, user).await?.global().map_err(|error| broken(&error))?;
    let Some(Value::Array(rules)) = global.get(kind) else {
        return Err(MatrixError::unrecognized());
    };
    let rule = rules.iter().find(|rule| rule.get("rule_id").and_then(Value::as_str) == Some(id));
    rule.cloned().ok_or_else(|| MatrixError::not_found("The push rule was not found"))
}

/// Changes the rules of a user.
async fn change(app: &App, user: &UserId, command: Command) -> Result<JsonObject, MatrixError> {
    match app.input.submit_user(user, command).await {
        Ok(_) => Ok(JsonObject::empty()),
        // The code that the specification shows for it.
        Err(SubmitError::Rejected { reason: ErrorReason::InvalidParam, message, .. }) => {
            Err(MatrixError::unknown(message))
        }
        Err(error) => Err(error.into()),
    }
}

fn broken(error: &serde_json::Error) -> MatrixError {
    tracing::error!(%error, "push rules cannot be written");
    MatrixError::internal()
}
