//! Profiles.

pub(crate) mod delete_profile_field;
mod field;
pub(crate) mod get_profile;
pub(crate) mod get_profile_field;
pub(crate) mod set_profile_field;

use std::collections::HashMap;

use bytes::Bytes;
use plexus_matrix_http::MatrixError;
use plexus_proto::user::v1::GetProfileRequest;
use ruma::UserId;

use crate::App;

/// Reads all fields of a profile, as JSON text. Other servers are asked for their users.
async fn read(app: &App, user: &UserId) -> Result<HashMap<String, Bytes>, MatrixError> {
    if user.server_name() != app.server_name {
        return app.rooms.remote_profile(user).await;
    }
    let request = GetProfileRequest { user_id: user.to_string() };
    Ok(app.users.clone().get_profile(request).await?.into_inner().fields)
}
