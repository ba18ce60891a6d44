//! `GET /_matrix/federation/v1/query/profile`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile)

use std::collections::BTreeMap;

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError, QueryArgs};
use plexus_proto::user::v1::{GetProfileRequest, user_query_service_client::UserQueryServiceClient};
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::instrument;

use crate::{
    Federation,
    receiver::{Query, Signed},
    upstream::timed,
};

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    user_id: OwnedUserId,
    field: Option<String>,
}

#[instrument(name = "http.server.get_profile_information", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    QueryArgs(args): QueryArgs<Args>,
    _signed: Signed<Query>,
) -> Result<JsonObject, MatrixError> {
    if args.user_id.server_name() != federation.name() {
        return Err(MatrixError::not_found("The user is not one of this server"));
    }
    let mut users = UserQueryServiceClient::new(federation.rooms.clone());
    let profile = users.get_profile(timed(GetProfileRequest { user_id: args.user_id.to_string() })).await?;
    let fields = profile.into_inner().fields;
    let is_wanted = |name: &str| args.field.as_deref().is_none_or(|field| field == name);
    let mut shown = BTreeMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| is_wanted(name)) {
        match serde_json::from_slice::<&RawValue>(value) {
            Ok(value) => drop(shown.insert(name, value)),
            Err(error) => tracing::error!(%error, "stored profile field is not JSON"),
        }
    }
    JsonObject::of(&shown)
}
