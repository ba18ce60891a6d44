//! `GET /_matrix/client/v1/media/preview_url`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url)

use axum::{Json, extract::State};
use plexus_matrix_http::{AuthedUser, MatrixError, QueryArgs};
use serde::Deserialize;
use serde_json::Value;
use tracing::instrument;

use crate::{Media, preview};

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    url: String,
}

#[instrument(name = "http.client.get_media_preview", skip_all)]
pub(crate) async fn handler(
    State(media): State<Media>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<Json<Value>, MatrixError> {
    let previews =
        media.previews.as_ref().ok_or_else(|| MatrixError::not_found("This server makes no URL previews"))?;
    preview::preview(&media, previews, &user.id, &query.url).await.map(Json)
}
