//! `PUT /_matrix/client/*/profile/{userId}/{keyName}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use plexus_proto::log::v1::{SetProfileField, input_user_event::Command};
use ruma::OwnedUserId;
use serde_json::{Map, Value};
use tracing::instrument;

use super::field;
use crate::{App, account};

#[instrument(name = "http.client.set_profile_field", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id, name)): PathArgs<(OwnedUserId, String)>,
    body: JsonObject,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    if name != "displayname" {
        user.not_guest()?;
    }
    field::check_name(&name)?;
    let mut body: Map<String, Value> =
        serde_json::from_str(body.get()).map_err(|error| MatrixError::not_json(error.to_string()))?;
    let value = match body.remove(&name) {
        Some(value) => value,
        // What clients have long sent to remove a name or an avatar.
        None if body.is_empty() && matches!(name.as_str(), "displayname" | "avatar_url") => Value::Null,
        None => return Err(MatrixError::missing_param(format!("`{name}` is missing"))),
    };
    let value = field::check_value(&name, value)?;
    let text = value.as_ref().map(Value::to_string).unwrap_or_default();
    if value.is_some() {
        let fields = super::read(&app, &user_id).await?;
        field::check_size(fields.iter(), &name, &text)?;
    }
    store(&app, &user, name, text).await?;
    Ok(JsonObject::empty())
}

/// Stores a field, or removes it if the text is empty. The room server tells the rooms of the user by and by.
pub(super) async fn store(
    app: &App,
    user: &AuthedUser,
    field: String,
    text: String,
) -> Result<(), MatrixError> {
    let in_rooms = matches!(field.as_str(), "displayname" | "avatar_url");
    let command = Command::SetProfileField(SetProfileField { field, value: text.into_bytes().into() });
    app.input.submit_user(&user.id, command).await?;
    if in_rooms {
        account::await_rooms(app, &user.id).await;
    }
    Ok(())
}
