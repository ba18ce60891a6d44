//! `GET /_matrix/client/*/rooms/{roomId}/state/{eventType}/{stateKey}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::state::get_state_event_for_key::{self, v3::StateEventFormat};
use tracing::instrument;

use crate::{App, rooms::StateFormat};

#[instrument(name = "http.client.get_state_event_for_key", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<get_state_event_for_key::v3::Request>,
) -> Result<Matrix<get_state_event_for_key::v3::Response>, MatrixError> {
    let format = match request.format {
        StateEventFormat::Content => StateFormat::Content,
        StateEventFormat::Event => StateFormat::Event,
        _ => return Err(MatrixError::invalid_param("`format` must be `content` or `event`")),
    };
    let event_type = request.event_type.to_string();
    let event =
        app.rooms.state_event(&user, &request.room_id, &event_type, &request.state_key, format).await?;
    Ok(Matrix(get_state_event_for_key::v3::Response::new(event)))
}
