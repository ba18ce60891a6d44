//! `POST /_matrix/client/*/createRoom`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::room::create_room;
use tracing::instrument;

use super::versioned::Versioned;
use crate::App;

#[instrument(name = "http.client.create_room", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Versioned(request): Versioned<create_room::v3::Request>,
) -> Result<Matrix<create_room::v3::Response>, MatrixError> {
    user.not_guest()?;
    app.limits.check_invites(&user.id, request.invite.iter().map(|invitee| &**invitee))?;
    let room_id = app.rooms.create(&user, &request).await?;
    Ok(Matrix(create_room::v3::Response::new(room_id)))
}
