//! `POST /_matrix/client/*/publicRooms`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3publicrooms)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError};
use ruma::{
    api::client::directory::get_public_rooms_filtered,
    directory::{RoomNetwork, RoomTypeFilter},
};
use tracing::instrument;

use crate::{App, rooms::DirectoryRequest};

#[instrument(name = "http.client.get_public_rooms_filtered", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    _: AuthedUser,
    Matrix(request): Matrix<get_public_rooms_filtered::v3::Request>,
) -> Result<JsonObject, MatrixError> {
    let types = &request.filter.room_types;
    let types = types.iter().map(|wanted| match wanted {
        RoomTypeFilter::Default => None,
        wanted => wanted.as_str().map(ToOwned::to_owned),
    });
    let asked = DirectoryRequest {
        server: request.server.as_deref(),
        limit: request.limit.map(u64::from),
        since: request.since.as_deref(),
        search_term: request.filter.generic_search_term.as_deref(),
        room_types: (!request.filter.room_types.is_empty()).then(|| types.collect()),
        of_network: matches!(request.room_network, RoomNetwork::ThirdParty(_)),
    };
    JsonObject::of(&app.rooms.public_rooms(asked).await?)
}
