//! `GET /_matrix/client/v1/media/config`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediaconfig)

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::Media;

pub(crate) async fn handler(State(media): State<Media>) -> Json<Value> {
    Json(json!({ "m.upload.size": media.media_config().max_upload_bytes }))
}
