//! `GET /_matrix/client/v1/register/m.login.registration_token/validity`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity)

use axum::extract::State;
use plexus_matrix_http::{Matrix, MatrixError};
use ruma::api::client::account::check_registration_token_validity::v1::{Request, Response};
use tracing::instrument;

use crate::{App, uia};

#[instrument(name = "http.client.check_registration_token_validity", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    Matrix(request): Matrix<Request>,
) -> Result<Matrix<Response>, MatrixError> {
    if app.config.registration.tokens.is_empty() {
        return Err(MatrixError::forbidden("Registration by token is not open on this server"));
    }
    Ok(Matrix(Response::new(uia::is_registration_token(&app, &request.token))))
}
