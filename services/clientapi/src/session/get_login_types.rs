//! `GET /_matrix/client/*/login`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3login)

use plexus_matrix_http::Matrix;
use ruma::api::client::session::get_login_types::v3::{LoginType, PasswordLoginType, Response};
use tracing::instrument;

#[instrument(name = "http.client.get_login_types", skip_all)]
pub(crate) async fn handler() -> Matrix<Response> {
    Matrix(Response::new(vec![LoginType::Password(PasswordLoginType::new())]))
}
