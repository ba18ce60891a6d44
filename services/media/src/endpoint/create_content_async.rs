//! `PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid)

use axum::{
    Json,
    extract::{Request, State},
};
use http::StatusCode;
use plexus_matrix_http::{AuthedUser, MatrixError, PathArgs, QueryArgs};
use plexus_proto::media::v1::MediaState;
use serde_json::{Value, json};
use tracing::instrument;

use super::upload::{Query, take};
use crate::{
    Media,
    id::{MediaUri, not_found},
    receive::drain,
};

#[instrument(name = "http.client.create_content_async", skip_all)]
pub(crate) async fn handler(
    State(media): State<Media>,
    user: AuthedUser,
    PathArgs((server_name, media_id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    request: Request,
) -> Result<Json<Value>, MatrixError> {
    let uri = match check(&media, &user, &server_name, media_id).await {
        Ok(uri) => uri,
        Err(error) => {
            drain(request.into_body());
            return Err(error);
        }
    };
    take(&media, &user.id, &uri.media_id, true, query, request).await?;
    Ok(Json(json!({})))
}

/// Tells all that can be told before the body is read.
async fn check(
    media: &Media,
    user: &AuthedUser,
    server_name: &str,
    media_id: String,
) -> Result<MediaUri, MatrixError> {
    let uri = MediaUri::parse(server_name, media_id)?;
    if !media.is_ours(&uri) {
        return Err(not_found());
    }
    let row = media.rows.find(&uri).await?.ok_or_else(not_found)?;
    if row.user_id != user.id.as_str() {
        return Err(MatrixError::forbidden("The media ID was reserved by somebody else"));
    }
    if row.state() != MediaState::Pending {
        let message = "The media has been uploaded already";
        return Err(MatrixError::new(StatusCode::CONFLICT, "M_CANNOT_OVERWRITE_MEDIA", message));
    }
    Ok(uri)
}
