//! `GET /_matrix/client/*/room_keys/keys`, `…/keys/{roomId}` and `…/keys/{roomId}/{sessionId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeys)
//!
//! All keys of a user may be a hundred megabytes: they are written as they are read.

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures::stream;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs, QueryArgs};
use plexus_proto::{
    log::v1::BackupKey,
    user::v1::{StreamBackupKeysRequest, StreamBackupKeysResponse},
};
use ruma::OwnedRoomId;
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::Streaming;
use tracing::instrument;

use super::VersionQuery;
use crate::App;

#[instrument(name = "http.client.get_backup_keys", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<VersionQuery>,
) -> Result<Response, MatrixError> {
    let chunks = read(&app, &user, query, String::new(), String::new()).await?;
    Ok(answer(chunks, Writer::of_rooms()))
}

/// Of one room.
#[instrument(name = "http.client.get_backup_keys_for_room", skip_all, fields(user.id = %user.id))]
pub(crate) async fn room_handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(query): QueryArgs<VersionQuery>,
) -> Result<Response, MatrixError> {
    let chunks = read(&app, &user, query, room_id.into(), String::new()).await?;
    Ok(answer(chunks, Writer::of_a_room()))
}

/// Of one session.
#[instrument(name = "http.client.get_backup_keys_for_session", skip_all, fields(user.id = %user.id))]
pub(crate) async fn session_handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, session_id)): PathArgs<(OwnedRoomId, String)>,
    QueryArgs(query): QueryArgs<VersionQuery>,
) -> Result<JsonObject, MatrixError> {
    let mut chunks = read(&app, &user, query, room_id.into(), session_id).await?;
    let key = chunks.message().await?.and_then(|chunk| chunk.keys.into_iter().next());
    let key = key.ok_or_else(|| MatrixError::not_found("There is no key of the session"))?;
    JsonObject::of(&Key::of(&key).map_err(|error| broken(&error))?)
}

async fn read(
    app: &App,
    user: &AuthedUser,
    query: VersionQuery,
    room_id: String,
    session_id: String,
) -> Result<Streaming<StreamBackupKeysResponse>, MatrixError> {
    let version = query.read()?;
    let request = StreamBackupKeysRequest { user_id: user.id.to_string(), version, room_id, session_id };
    Ok(app.backups.clone().stream_backup_keys(request).await?.into_inner())
}

/// A key as clients are told it.
#[derive(Serialize)]
struct Key<'a> {
    first_message_index: u64,
    forwarded_count: u64,
    is_verified: bool,
    session_data: &'a RawValue,
}

impl<'a> Key<'a> {
    fn of(key: &'a BackupKey) -> serde_json::Result<Self> {
        Ok(Self {
            first_message_index: key.first_message_index,
            forwarded_count: key.forwarded_count,
            is_verified: key.is_verified,
            session_data: serde_json::from_slice(&key.session_data)?,
        })
    }
}

fn broken(error: &serde_json::Error) -> MatrixError {
    tracing::error!(%error, "a key of a backup cannot be shown");
    MatrixError::internal()
}

/// Writes chunks as they come. Where they fail, the answer breaks off: its status was told long ago.
fn answer(chunks: Streaming<StreamBackupKeysResponse>, writer: Writer) -> Response {
    let body = stream::try_unfold(Some((chunks, writer)), |work| async move {
        let Some((mut chunks, mut writer)) = work else { return Ok(None) };
        match chunks.message().await {
            Ok(Some(chunk)) => {
                let text = writer.write(&chunk.keys).map_err(std::io::Error::other)?;
                Ok(Some((text, Some((chunks, writer)))))
            }
            Ok(None) => Ok(Some((writer.end(), None))),
            Err(status) => {
                tracing::warn!(reason = status.message(), "the keys of a backup break off");
                Err(std::io::Error::other("the keys break off"))
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response()
}

/// Writes the JSON of keys that come in the order of rooms.
struct Writer {
    text: Vec<u8>,
    of_rooms: bool,
    /// The room that is being written.
    room_id: Option<String>,
    /// Whether the next session is the first of its room.
    is_first: bool,
}

impl Writer {
    /// `{"rooms": {…}}`
    fn of_rooms() -> Self {
        Self { text: b"{\"rooms\":{".to_vec(), of_rooms: true, room_id: None, is_first: true }
    }

    /// `{"sessions": {…}}`
    fn of_a_room() -> Self {
        Self { text: b"{\"sessions\":{".to_vec(), of_rooms: false, room_id: None, is_first: true }
    }

    /// Writes on, and returns what there is to be sent.
    fn write(&mut self, keys: &[BackupKey]) -> serde_json::Result<Vec<u8>> {
        for key in keys {
            if self.of_rooms && self.room_id.as_ref() != Some(&key.room_id) {
                if self.room_id.is_some() {
                    self.text.extend_from_slice(b"}},");
                }
                serde_json::to_writer(&mut self.text, &key.room_id)?;
                self.text.extend_from_slice(b":{\"sessions\":{");
                self.room_id = Some(key.room_id.clone());
                self.is_first = true;
            }
            if !std::mem::take(&mut self.is_first) {
                self.text.push(b',');
            }
            serde_json::to_writer(&mut self.text, &key.session_id)?;
            self.text.push(b':');
            serde_json::to_writer(&mut self.text, &Key::of(key)?)?;
        }
        Ok(std::mem::take(&mut self.text))
    }

    /// Writes the end.
    fn end(mut self) -> Vec<u8> {
        if self.room_id.is_some() {
            self.text.extend_from_slice(b"}}");
        }
        self.text.extend_from_slice(b"}}");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key(room_id: &str, session_id: &str) -> BackupKey {
        BackupKey {
            room_id: room_id.to_owned(),
            session_id: session_id.to_owned(),
            session_data: b"{\"a\": 1}".to_vec().into(),
            ..BackupKey::default()
        }
    }

    fn written(mut writer: Writer, chunks: &[&[BackupKey]]) -> Value {
        let mut text = Vec::new();
        for chunk in chunks {
            text.extend(writer.write(chunk).unwrap());
        }
        text.extend(writer.end());
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn keys_are_told_by_room_however_they_are_cut() {
        let keys =
            [key("!a:x", "1"), key("!a:x", "2\""), key("!b:x", "1"), key("!c:x", "1"), key("!c:x", "2")];
        let shown = json!({"first_message_index": 0, "forwarded_count": 0, "is_verified": false, "session_data": {"a": 1}});
        let wanted = json!({"rooms": {
            "!a:x": {"sessions": {"1": shown, "2\"": shown}},
            "!b:x": {"sessions": {"1": shown}},
            "!c:x": {"sessions": {"1": shown, "2": shown}},
        }});
        for cut in 0..=keys.len() {
            let (first, second) = keys.split_at(cut);
            assert_eq!(written(Writer::of_rooms(), &[first, second]), wanted, "{cut}");
        }
        assert_eq!(
            written(Writer::of_a_room(), &[&keys[..1], &keys[1..2]]),
            json!({"sessions": {"1": shown, "2\"": shown}})
        );
        assert_eq!(written(Writer::of_rooms(), &[]), json!({"rooms": {}}));
        assert_eq!(written(Writer::of_a_room(), &[]), json!({"sessions": {}}));
    }
}
