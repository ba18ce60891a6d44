//! `POST /_matrix/client/*/user/{userId}/openid/request_token`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridopenidrequest_token)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError};
use ruma::api::client::account::request_openid_token;
use serde_json::json;
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.request_openid_token", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<request_openid_token::v3::Request>,
) -> Result<JsonObject, MatrixError> {
    if request.user_id != user.id {
        return Err(MatrixError::forbidden("Nobody but the user gets such a token"));
    }
    let token = app.rooms.openid_token(&user.id).await?;
    JsonObject::of(&json!({
        "access_token": token.token,
        "token_type": "Bearer",
        "matrix_server_name": app.server_name,
        "expires_in": token.expires_in,
    }))
}
