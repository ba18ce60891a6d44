//! Media of a user, for themselves: `GET /_matrix/client/unstable/org.plexus.media` lists it, and `DELETE` of
//! `…/{serverName}/{mediaId}` deletes it. The specification has neither.

use axum::{Json, extract::State};
use plexus_matrix_http::{AuthedUser, MatrixError, PathArgs, QueryArgs};
use plexus_proto::media::v1::{Media as Row, MediaState};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::instrument;

use crate::{
    Media,
    id::{MediaUri, not_found},
};

/// Most media of a page.
const MAX_PAGE: u32 = 100;

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    from: Option<String>,
    limit: Option<u32>,
}

#[instrument(name = "http.client.list_own_media", skip_all)]
pub(crate) async fn list_handler(
    State(media): State<Media>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<Json<Value>, MatrixError> {
    let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let page = media.rows.list_of_user(&user.id, query.from.unwrap_or_default(), limit).await?;
    let chunk: Vec<Value> = page.media.iter().map(shown).collect();
    let mut answer = json!({ "chunk": chunk });
    if !page.next_page_token.is_empty() {
        answer["next_batch"] = Value::from(page.next_page_token);
    }
    Ok(Json(answer))
}

fn shown(row: &Row) -> Value {
    let mut shown = json!({
        "content_uri": format!("mxc://{}/{}", row.server_name, row.media_id),
        "created_ts": row.created_ts,
        "uploaded": row.state() == MediaState::Ready,
    });
    if let Some(blob) = &row.blob {
        shown["size"] = Value::from(blob.size);
        shown["content_type"] = Value::from(blob.content_type.as_str());
        shown["filename"] = Value::from(blob.file_name.as_str());
    }
    shown
}

#[instrument(name = "http.client.delete_own_media", skip_all)]
pub(crate) async fn delete_handler(
    State(media): State<Media>,
    user: AuthedUser,
    PathArgs((server_name, media_id)): PathArgs<(String, String)>,
) -> Result<Json<Value>, MatrixError> {
    let uri = MediaUri::parse(&server_name, media_id)?;
    if !media.is_ours(&uri) {
        return Err(not_found());
    }
    let row = media.rows.find(&uri).await?.filter(|row| !row.quarantined).ok_or_else(not_found)?;
    if row.user_id != user.id.as_str() {
        return Err(MatrixError::forbidden("Somebody else has uploaded the media"));
    }
    media.rows.delete(&user.id, &uri.media_id).await?;
    Ok(Json(json!({})))
}
