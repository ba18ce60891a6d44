//! `POST /_matrix/client/*/rooms/{roomId}/report`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreport)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError};
use ruma::api::client::room::report_room;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.report_room", skip_all, fields(room.id = %request.room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<report_room::v3::Request>,
) -> Result<JsonObject, MatrixError> {
    app.limits.check_other(&user.id)?;
    app.rooms.report_room(&user, &request.room_id, &request.reason).await?;
    Ok(JsonObject::empty())
}
