//! `GET /_matrix/client/versions`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions)

use std::collections::BTreeMap;

use plexus_matrix_http::Matrix;
use ruma::api::client::discovery::get_supported_versions::Response;
use tracing::instrument;

/// Versions whose paths and shapes are used. Clients take from them which paths they may call; what is not served
/// there answers `M_UNRECOGNIZED`.
const VERSIONS: [&str; 15] = [
    "r0.6.1", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11",
    "v1.12", "v1.13", "v1.14",
];

/// Parts of later versions, and proposals that clients ask for by these names, that are served.
const FEATURES: [&str; 3] =
    ["org.matrix.e2e_cross_signing", "org.matrix.simplified_msc3575", "uk.tcpip.msc4133.stable"];

#[instrument(name = "http.client.get_supported_versions", skip_all)]
pub(crate) async fn handler() -> Matrix<Response> {
    let mut response = Response::new(VERSIONS.map(str::to_owned).to_vec());
    response.unstable_features = BTreeMap::from_iter(FEATURES.map(|feature| (feature.to_owned(), true)));
    Matrix(response)
}
