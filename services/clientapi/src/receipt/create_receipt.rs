//! `POST /_matrix/client/*/rooms/{roomId}/receipt/{receiptType}/{eventId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, Json, JsonObject, MatrixError, PathArgs, RawBody};
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use serde_json::Value;
use tracing::instrument;

use crate::{App, read_marker};

#[derive(Deserialize)]
struct Body {
    thread_id: Option<Value>,
}

#[instrument(name = "http.client.create_receipt", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, kind, event_id)): PathArgs<(OwnedRoomId, String, OwnedEventId)>,
    body: RawBody,
) -> Result<JsonObject, MatrixError> {
    let thread_id = read_thread(&body.0)?;
    match kind.as_str() {
        "m.fully_read" if !thread_id.is_empty() => {
            return Err(MatrixError::invalid_param("`m.fully_read` regards no threads"));
        }
        "m.fully_read" => read_marker::set(&app, &user.id, &room_id, &event_id).await?,
        "m.read" | "m.read.private" => {
            super::set(&app, &user.id, &room_id, &kind, &event_id, thread_id).await?;
        }
        _ => return Err(MatrixError::invalid_param("There is no such type of receipts")),
    }
    Ok(JsonObject::empty())
}

/// Reads `thread_id`; an empty text stands for none. Clients leave out the body where they have nothing to say.
fn read_thread(body: &[u8]) -> Result<String, MatrixError> {
    if body.is_empty() {
        return Ok(String::new());
    }
    let Json(body) = Json::<Body>::parse(body)?;
    match body.thread_id {
        None => Ok(String::new()),
        Some(Value::String(thread_id)) if !thread_id.is_empty() => Ok(thread_id),
        Some(_) => Err(MatrixError::invalid_param("`thread_id` must be a non-empty string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_names() {
        assert_eq!(read_thread(b"").unwrap(), "");
        assert_eq!(read_thread(b"{}").unwrap(), "");
        assert_eq!(read_thread(br#"{"thread_id":"main"}"#).unwrap(), "main");
        for body in [r#"{"thread_id":""}"#, r#"{"thread_id":1}"#, r#"{"thread_id":null,"thread_id":[]}"#] {
            assert!(read_thread(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read_thread(b"[]").unwrap_err().is("M_BAD_JSON"));
        assert!(read_thread(b"{").unwrap_err().is("M_NOT_JSON"));
    }
}
