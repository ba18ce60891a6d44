//! `GET /_matrix/client/*/rooms/{roomId}/messages`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Matrix, MatrixError};
use ruma::api::client::message::get_message_events;
use tracing::instrument;

use crate::{App, rooms::PageRequest};

#[instrument(name = "http.client.get_message_events", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<get_message_events::v3::Request>,
) -> Result<Matrix<get_message_events::v3::Response>, MatrixError> {
    let page = PageRequest {
        room_id: &request.room_id,
        direction: request.dir,
        from: request.from.as_deref(),
        to: request.to.as_deref(),
        limit: request.limit.into(),
        filter: &request.filter,
    };
    Ok(Matrix(app.rooms.page(&user, page).await?))
}
