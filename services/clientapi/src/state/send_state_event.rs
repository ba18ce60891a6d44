//! `PUT /_matrix/client/*/rooms/{roomId}/state/{eventType}/{stateKey}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::state::send_state_event;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.send_state_event", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<send_state_event::v3::Request>,
) -> Result<Matrix<send_state_event::v3::Response>, MatrixError> {
    app.limits.check_message(&user.id)?;
    let event_type = request.event_type.to_string();
    let content = request.body.json().get();
    let event_id =
        app.rooms.send_state(&user, &request.room_id, &event_type, &request.state_key, content).await?;
    Ok(Matrix(send_state_event::v3::Response::new(event_id)))
}
