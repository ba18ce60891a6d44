//! `GET /_matrix/client/*/profile/{userId}/{keyName}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuseridkeyname)

use std::collections::BTreeMap;

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError, PathArgs};
use ruma::OwnedUserId;
use serde_json::value::RawValue;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_profile_field", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    PathArgs((user_id, field)): PathArgs<(OwnedUserId, String)>,
) -> Result<JsonObject, MatrixError> {
    let fields = super::read(&app, &user_id).await?;
    let value = fields.get(&field).ok_or_else(|| MatrixError::not_found("The field is not set"))?;
    let value: &RawValue = serde_json::from_slice(value).map_err(|error| {
        tracing::error!(%error, "stored profile field is not JSON");
        MatrixError::internal()
    })?;
    JsonObject::of(&BTreeMap::from([(field, value)]))
}
