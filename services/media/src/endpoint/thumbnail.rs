//! `GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}`, and its old paths.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid)

use axum::{extract::State, response::Response};
use http::HeaderMap;
use plexus_matrix_http::{
    MatrixError, PathArgs, QueryArgs,
    media::{patience, thumbnail_method},
};
use serde::Deserialize;
use tracing::instrument;

use crate::{
    Media,
    id::{MediaUri, not_found},
    serve::{Audience, answer},
    thumbnail::Size,
};

/// The query of a thumbnail.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    width: u32,
    height: u32,
    method: Option<String>,
    animated: Option<bool>,
    timeout_ms: Option<u64>,
    allow_remote: Option<bool>,
}

#[instrument(name = "http.client.get_content_thumbnail", skip_all)]
pub(crate) async fn handler(
    State(media): State<Media>,
    PathArgs((server_name, media_id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    headers: HeaderMap,
) -> Result<Response, MatrixError> {
    thumbnail(&media, MediaUri::parse(&server_name, media_id)?, &query, &headers, Audience::Known).await
}

#[instrument(name = "http.client.get_content_thumbnail_unauthenticated", skip_all)]
pub(crate) async fn old_handler(
    State(media): State<Media>,
    PathArgs((server_name, media_id)): PathArgs<(String, String)>,
    QueryArgs(query): QueryArgs<Query>,
    headers: HeaderMap,
) -> Result<Response, MatrixError> {
    thumbnail(&media, MediaUri::parse(&server_name, media_id)?, &query, &headers, Audience::Anybody).await
}

async fn thumbnail(
    media: &Media,
    uri: MediaUri,
    query: &Query,
    headers: &HeaderMap,
    audience: Audience,
) -> Result<Response, MatrixError> {
    let method = thumbnail_method(query.method.as_deref())?;
    let size = Size::for_request(query.width, query.height, method, query.animated == Some(true))?;
    let wait = patience(query.timeout_ms);
    let row = if media.is_ours(&uri) {
        media.find_own(&uri, wait).await?
    } else {
        media.fetch_remote(&uri, wait, query.allow_remote != Some(false), audience).await?
    };
    if audience == Audience::Anybody && !media.is_public(&row) {
        return Err(not_found());
    }
    let file = media.thumbnail_of(&uri, &row, size).await?;
    Ok(answer(headers, file, audience))
}
