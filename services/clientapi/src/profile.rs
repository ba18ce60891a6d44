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

/// Reads all fields of a profile, as JSON text. Users of other servers are not known here.
async fn read(app: &App, user: &UserId) -> Result<HashMap<String, Bytes>, MatrixError> {
    let request = GetProfileRequest { user_id: user.to_string() };
    if user.server_name() != app.server_name {
        return Err(MatrixError::not_found("The user is not known here"));
    }
    Ok(app.users.clone().get_profile(request).await?.into_inner().fields)
}
