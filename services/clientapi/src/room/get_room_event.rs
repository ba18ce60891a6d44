//! `GET /_matrix/client/*/rooms/{roomId}/event/{eventId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::room::get_room_event;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.get_room_event", skip_all, fields(room.id = %request.room_id, event.id = %request.event_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<get_room_event::v3::Request>,
) -> Result<Matrix<get_room_event::v3::Response>, MatrixError> {
    let event = app.rooms.event(&user, &request.room_id, &request.event_id).await?;
    Ok(Matrix(get_room_event::v3::Response::new(event)))
}
