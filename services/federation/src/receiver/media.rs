//! `GET /_matrix/federation/v1/media/{download,thumbnail}/{mediaId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid)
//!
//! The bytes come from the media service, piece by piece.

use std::{pin::Pin, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, future::ready, stream};
use http::{HeaderValue, StatusCode, header};
use plexus_matrix_http::{
    MatrixError, PathArgs, QueryArgs,
    media::{patience, thumbnail_method},
};
use plexus_proto::{
    common::v1::ErrorReason,
    media::v1::{
        FileHead, ReadFileRequest, ReadFileResponse, WantedThumbnail,
        media_file_service_client::MediaFileServiceClient,
    },
};
use plexus_service::refusal::reason_of;
use serde::Deserialize;
use tonic::{Request, Status, Streaming};
use tracing::{instrument, warn};

use crate::{
    Federation,
    receiver::{Media, Signed},
};

/// How long the head may take: waiting, and making a thumbnail.
const HEAD: Duration = Duration::from_secs(95);

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

#[derive(Debug, Deserialize)]
pub(crate) struct Download {
    timeout_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Thumbnail {
    width: u32,
    height: u32,
    method: Option<String>,
    animated: Option<bool>,
    timeout_ms: Option<u64>,
}

#[instrument(name = "http.server.get_content", skip_all)]
pub(crate) async fn download_handler(
    State(federation): State<Federation>,
    PathArgs((media_id,)): PathArgs<(String,)>,
    QueryArgs(query): QueryArgs<Download>,
    signed: Signed<Media>,
) -> Result<Response, MatrixError> {
    read(&federation, media_id, None, query.timeout_ms, signed).await
}

#[instrument(name = "http.server.get_content_thumbnail", skip_all)]
pub(crate) async fn thumbnail_handler(
    State(federation): State<Federation>,
    PathArgs((media_id,)): PathArgs<(String,)>,
    QueryArgs(query): QueryArgs<Thumbnail>,
    signed: Signed<Media>,
) -> Result<Response, MatrixError> {
    let method = thumbnail_method(query.method.as_deref())?;
    let thumbnail = WantedThumbnail {
        width: query.width,
        height: query.height,
        method: method.into(),
        animated: query.animated == Some(true),
    };
    read(&federation, media_id, Some(thumbnail), query.timeout_ms, signed).await
}

async fn read(
    federation: &Federation,
    media_id: String,
    thumbnail: Option<WantedThumbnail>,
    timeout_ms: Option<u64>,
    signed: Signed<Media>,
) -> Result<Response, MatrixError> {
    let timeout_ms = u64::try_from(patience(timeout_ms).as_millis()).unwrap_or(u64::MAX);
    let is_thumbnail = thumbnail.is_some();
    let request = Request::new(ReadFileRequest { media_id, thumbnail, timeout_ms });
    let mut client = MediaFileServiceClient::new(federation.media.clone());
    let begun = async {
        let mut chunks = client.read_file(request).await?.into_inner();
        let first = chunks.message().await?.and_then(|first| first.head);
        let head = first.ok_or_else(|| Status::internal("the answer has no head"))?;
        Ok::<_, Status>((head, chunks))
    };
    let begun = tokio::time::timeout(HEAD, begun).await.map_err(|_| MatrixError::timed_out())?;
    let (head, chunks) = begun.map_err(|status| match reason_of(&status) {
        Some(ErrorReason::InvalidParam) if is_thumbnail => MatrixError::unknown(status.message().to_owned()),
        _ => status.into(),
    })?;
    Ok(answer(&head, chunks, signed))
}

/// Two parts: an object that says nothing yet, and the media.
fn answer(head: &FileHead, chunks: Streaming<ReadFileResponse>, signed: Signed<Media>) -> Response {
    // What is random stands in no media that somebody has written before.
    let boundary = rand::random::<[u64; 3]>().map(|number| format!("{number:016x}")).concat();
    let content_type = HeaderValue::from_str(&head.content_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    let mut before = format!(
        "\r\n--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\nContent-Type: ",
    )
    .into_bytes();
    before.extend_from_slice(content_type.as_bytes());
    before.extend_from_slice(
        format!("\r\nContent-Disposition: {}\r\n\r\n", head.content_disposition).as_bytes(),
    );
    let after = format!("\r\n--{boundary}--\r\n").into_bytes();
    let around = u64::try_from(before.len() + after.len()).unwrap_or(0);
    let length = head.size.saturating_add(around);
    let chunks: Chunks = chunks
        .map(|message| {
            message.map(|message| message.chunk).inspect_err(|error| warn!(%error, "media breaks off"))
        })
        .boxed();
    let whole = stream::once(ready(Ok(Bytes::from(before))))
        .chain(chunks)
        .chain(stream::once(ready(Ok(Bytes::from(after)))))
        // The turn lasts until it is handed out.
        .map(move |piece| {
            let _held = &signed;
            piece
        });
    let headers = [
        (header::CONTENT_TYPE, format!("multipart/mixed; boundary={boundary}")),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    (StatusCode::OK, headers, Body::from_stream(whole)).into_response()
}
