//! `GET /_matrix/client/*/profile/{userId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuserid)

use std::collections::BTreeMap;

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError, PathArgs};
use ruma::OwnedUserId;
use serde_json::value::RawValue;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_profile", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    PathArgs((user_id,)): PathArgs<(OwnedUserId,)>,
) -> Result<JsonObject, MatrixError> {
    let fields = super::read(&app, &user_id).await?;
    let mut shown = BTreeMap::new();
    for (name, value) in &fields {
        match serde_json::from_slice::<&RawValue>(value) {
            Ok(value) => drop(shown.insert(name, value)),
            Err(error) => tracing::error!(%error, "stored profile field is not JSON"),
        }
    }
    JsonObject::of(&shown)
}
