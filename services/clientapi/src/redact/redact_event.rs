//! `PUT /_matrix/client/*/rooms/{roomId}/redact/{eventId}/{txnId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError, UserLimit};
use ruma::api::client::redact::redact_event;
use tracing::instrument;

use crate::{App, rooms::redaction_scope};

#[instrument(name = "http.client.redact_event", skip_all, fields(room.id = %request.room_id, event.id = %request.event_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<redact_event::v3::Request>,
) -> Result<Matrix<redact_event::v3::Response>, MatrixError> {
    user.not_guest()?;
    if let Err(limited) = app.limits.check_message(&user.id) {
        app.limits.check(UserLimit::Other, &user.id)?;
        let scope = redaction_scope(&request.room_id, &request.event_id);
        let event_id = app.rooms.answer_limited(limited, &user, &request.txn_id, scope).await?;
        return Ok(Matrix(redact_event::v3::Response::new(event_id)));
    }
    let reason = request.reason.as_deref();
    let event_id =
        app.rooms.redact(&user, &request.room_id, &request.event_id, reason, &request.txn_id).await?;
    Ok(Matrix(redact_event::v3::Response::new(event_id)))
}
