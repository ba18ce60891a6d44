//! `GET /_matrix/client/*/account/whoami`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami)

use plexus_matrix_http::{AuthedUser, Matrix};
use ruma::api::client::account::whoami::v3::Response;
use tracing::instrument;

#[instrument(name = "http.client.whoami", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(user: AuthedUser) -> Matrix<Response> {
    let mut response = Response::new(user.id, user.guest);
    response.device_id = Some(user.device_id);
    Matrix(response)
}
