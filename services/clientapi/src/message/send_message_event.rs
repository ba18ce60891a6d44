//! `PUT /_matrix/client/*/rooms/{roomId}/send/{eventType}/{txnId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError, PathArgs, UnreadBody, UserLimit};
use ruma::{OwnedRoomId, OwnedTransactionId, api::client::message::send_message_event};
use tracing::instrument;

use crate::{App, rooms::message_scope};

/// The body is taken as it came: it becomes the content of the event.
#[instrument(name = "http.client.send_message_event", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, event_type, txn_id)): PathArgs<(OwnedRoomId, String, OwnedTransactionId)>,
    body: UnreadBody,
) -> Result<Matrix<send_message_event::v3::Response>, MatrixError> {
    if let Err(limited) = app.limits.check_message(&user.id) {
        app.limits.check(UserLimit::Other, &user.id)?;
        let scope = message_scope(&room_id, &event_type);
        let event_id = app.rooms.answer_limited(limited, &user, &txn_id, scope).await?;
        return Ok(Matrix(send_message_event::v3::Response::new(event_id)));
    }
    let content = body.object().await?;
    let event_id = app.rooms.send_message(&user, &room_id, &event_type, content.get(), &txn_id).await?;
    Ok(Matrix(send_message_event::v3::Response::new(event_id)))
}
