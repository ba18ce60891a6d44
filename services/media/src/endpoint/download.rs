//! `GET /_matrix/client/v1/media/download/{serverName}/{mediaId}[/{fileName}]`, and its old paths.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid)

use axum::{extract::State, response::Response};
use http::HeaderMap;
use plexus_matrix_http::{MatrixError, PathArgs, QueryArgs, media::patience};
use serde::Deserialize;
use tracing::instrument;

use crate::{
    Media,
    id::{MediaUri, not_found},
    remote::Got,
    serve::{Audience, answer},
};

/// The query of a download.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    timeout_ms: Option<u64>,
    allow_remote: Option<bool>,
}

#[instrument(name = "http.client.get_content", skip_all)]
pub(crate) async fn handler(
    State(media): State<Media>,
    PathArgs((server_name, media_id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    headers: HeaderMap,
) -> Result<Response, MatrixError> {
    download(&media, MediaUri::parse(&server_name, media_id)?, None, &query, &headers, Audience::Known).await
}

#[instrument(name = "http.client.get_content_as_filename", skip_all)]
pub(crate) async fn named_handler(
    State(media): State<Media>,
    PathArgs((server_name, media_id, name)): PathArgs<(String, String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    headers: HeaderMap,
) -> Result<Response, MatrixError> {
    let uri = MediaUri::parse(&server_name, media_id)?;
    download(&media, uri, Some(name), &query, &headers, Audience::Known).await
}

#[instrument(name = "http.client.get_content_unauthenticated", skip_all)]
pub(crate) async fn old_handler(
    State(media): State<Media>,
    PathArgs((server_name, media_id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    headers: HeaderMap,
) -> Result<Response, MatrixError> {
    let uri = MediaUri::parse(&server_name, media_id)?;
    download(&media, uri, None, &query, &headers, Audience::Anybody).await
}

#[instrument(name = "http.client.get_content_as_filename_unauthenticated", skip_all)]
pub(crate) async fn old_named_handler(
    State(media): State<Media>,
    PathArgs((server_name, media_id, name)): PathArgs<(String, String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    headers: HeaderMap,
) -> Result<Response, MatrixError> {
    let uri = MediaUri::parse(&server_name, media_id)?;
    download(&media, uri, Some(name), &query, &headers, Audience::Anybody).await
}

async fn download(
    media: &Media,
    uri: MediaUri,
    name: Option<String>,
    query: &Query,
    headers: &HeaderMap,
    audience: Audience,
) -> Result<Response, MatrixError> {
    let wait = patience(query.timeout_ms);
    let row = if media.is_ours(&uri) {
        media.find_own(&uri, wait).await?
    } else {
        let may_fetch = query.allow_remote != Some(false);
        match media.find_remote(&uri, wait, may_fetch, audience).await? {
            Got::Row(row) => *row,
            Got::Passing(passing) => return Ok(passing.answer(name, audience)),
        }
    };
    if audience == Audience::Anybody && !media.is_public(&row) {
        return Err(not_found());
    }
    let mut file = media.open(&uri, &row).await?;
    if let Some(name) = name {
        file.file_name = name;
    }
    Ok(answer(headers, file, audience))
}
