//! `GET /_matrix/client/*/register/available`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable)

use axum::extract::State;
use plexus_matrix_http::{Matrix, MatrixError};
use ruma::api::client::account::get_username_availability::v3::{Request, Response};
use tracing::instrument;

use crate::{App, usernames};

#[instrument(name = "http.client.get_username_availability", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    Matrix(request): Matrix<Request>,
) -> Result<Matrix<Response>, MatrixError> {
    let registration = &app.config.registration;
    if !registration.open && registration.tokens.is_empty() {
        return Err(MatrixError::forbidden("Registration is not open on this server"));
    }
    let user_id = usernames::new_user_id(&request.username, &app.server_name)?;
    super::check_available(&app, &user_id).await?;
    Ok(Matrix(Response::new(true)))
}
