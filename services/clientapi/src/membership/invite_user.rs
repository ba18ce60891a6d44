//! `POST /_matrix/client/*/rooms/{roomId}/invite`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError, UserLimit};
use ruma::api::client::membership::invite_user::{self, v3::InvitationRecipient};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.invite_user", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<invite_user::v3::Request>,
) -> Result<Matrix<invite_user::v3::Response>, MatrixError> {
    user.not_guest()?;
    let InvitationRecipient::UserId(invitee) = &request.recipient else {
        app.limits.check(UserLimit::Other, &user.id)?;
        return Err(app.rooms.refuse_third_party(&user.id, &request.room_id).await);
    };
    app.limits.check_invites(&user.id, [&*invitee.user_id].into_iter())?;
    app.rooms.invite(&user.id, &request.room_id, &invitee.user_id, invitee.reason.as_deref()).await?;
    Ok(Matrix(invite_user::v3::Response::new()))
}
