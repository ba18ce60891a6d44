//! `POST /_matrix/media/v3/upload`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload)

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
};
use http::HeaderMap;
use plexus_matrix_http::{AuthedUser, MatrixError, QueryArgs};
use plexus_proto::log::v1::StoredBlob;
use plexus_s2s::now_ms;
use ruma::UserId;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::instrument;

use super::refused;
use crate::{
    Media,
    id::new_media_id,
    receive::{check_length, content_type, drain, file_name, receive},
    rows::{self, Commit},
    serve::check_quota,
};

/// The query of an upload.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    filename: Option<String>,
}

#[instrument(name = "http.client.upload", skip_all)]
pub(crate) async fn handler(
    State(media): State<Media>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<Query>,
    request: Request,
) -> Result<Json<Value>, MatrixError> {
    user.not_guest()?;
    let media_id = new_media_id();
    take(&media, &user.id, &media_id, false, query, request).await?;
    Ok(Json(json!({ "content_uri": format!("mxc://{}/{media_id}", media.name) })))
}

/// Stores the body of a request and makes it the media of this ID.
pub(crate) async fn take(
    media: &Media,
    user_id: &UserId,
    media_id: &str,
    reserved: bool,
    query: Query,
    request: Request,
) -> Result<(), MatrixError> {
    let begun_ts = now_ms();
    let (parts, mut body) = request.into_parts();
    let blob = match store(media, user_id, &parts.headers, query, &mut body).await {
        Ok(blob) => blob,
        Err(error) => {
            drain(body);
            return Err(error);
        }
    };
    let config = media.media_config();
    let commit = Commit {
        user_id,
        media_id: media_id.to_owned(),
        reserved,
        begun_ts,
        blob,
        max_user_bytes: config.bytes_per_user,
        max_user_bytes_per_day: config.bytes_per_user_and_day,
        max_user_files: config.files_per_user,
    };
    media.rows.commit(commit).await.map_err(|error| refused(media, error))
}

/// Stores a body, if the user may store it.
async fn store(
    media: &Media,
    user_id: &UserId,
    headers: &HeaderMap,
    query: Query,
    body: &mut Body,
) -> Result<StoredBlob, MatrixError> {
    let _under_way = media.uploads.begin(user_id)?;
    let max = media.media_config().max_upload_bytes;
    let length = check_length(headers, max)?;
    let (content_type, file_name) = (content_type(headers), file_name(query.filename)?);
    check_quota(media, user_id, length).await?;
    let patience = Duration::from_secs(media.config.http.body_timeout_s);
    let stored = receive(&media.store, body, max, patience).await?;
    Ok(rows::blob(stored, content_type, file_name))
}
