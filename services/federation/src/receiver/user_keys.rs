//! Keys of users of this server, as other servers ask for them. No room needs to be shared for that.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#device-management)

pub(crate) mod claim;
pub(crate) mod devices;
pub(crate) mod query;

use plexus_matrix_http::MatrixError;
use ruma::{OwnedUserId, ServerName, UserId};

/// Reads the ID of a user of this server.
fn own_user(id: &str, own: &ServerName) -> Result<OwnedUserId, MatrixError> {
    let wrong = || MatrixError::invalid_param("The user is not one of this server");
    UserId::parse(id).ok().filter(|user| user.server_name() == own && !id.contains('\0')).ok_or_else(wrong)
}
