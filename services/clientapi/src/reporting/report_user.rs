//! `POST /_matrix/client/*/users/{userId}/report`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3usersuseridreport)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError};
use ruma::api::client::reporting::report_user;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.report_user", skip_all, fields(user.id = %request.user_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<report_user::v3::Request>,
) -> Result<JsonObject, MatrixError> {
    app.rooms.report_user(&user, &request.user_id, &request.reason).await?;
    Ok(JsonObject::empty())
}
