//! `POST /_matrix/media/v1/create`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create)

use std::time::Duration;

use axum::{Json, extract::State};
use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::common::v1::ErrorReason;
use plexus_s2s::now_ms;
use serde_json::{Value, json};
use tracing::instrument;

use crate::{Media, id::new_media_id};

/// When to try again if too many are reserved.
const RETRY: Duration = Duration::from_secs(60);

#[instrument(name = "http.client.create_mxc_uri", skip_all)]
pub(crate) async fn handler(
    State(media): State<Media>,
    user: AuthedUser,
) -> Result<Json<Value>, MatrixError> {
    user.not_guest()?;
    let config = media.media_config();
    let media_id = new_media_id();
    let lifetime = i64::try_from(config.pending_lifetime_s).unwrap_or(0).saturating_mul(1_000);
    let expires_ts = now_ms().saturating_add(lifetime);
    let reserved = media.rows.reserve(&user.id, &media_id, expires_ts, config.max_pending).await;
    reserved.map_err(|error| match error.reason() {
        // One of those that are open has to be used, or to expire.
        Some(ErrorReason::LimitExceeded) => MatrixError::limit_exceeded(RETRY),
        _ => error.into(),
    })?;
    Ok(Json(json!({
        "content_uri": format!("mxc://{}/{media_id}", media.name),
        "unused_expires_at": expires_ts,
    })))
}
