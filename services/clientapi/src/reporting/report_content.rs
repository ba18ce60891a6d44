//! `POST /_matrix/client/*/rooms/{roomId}/report/{eventId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreporteventid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError};
use ruma::api::client::room::report_content;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.report_content", skip_all, fields(room.id = %request.room_id, event.id = %request.event_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<report_content::v3::Request>,
) -> Result<JsonObject, MatrixError> {
    let reason = request.reason.as_deref().unwrap_or_default();
    app.rooms.report_event(&user, &request.room_id, &request.event_id, reason).await?;
    Ok(JsonObject::empty())
}
