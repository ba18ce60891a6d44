//! `PUT /_matrix/client/*/room_keys/keys`, `…/keys/{roomId}` and `…/keys/{roomId}/{sessionId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys)

use std::collections::BTreeMap;

use axum::extract::State;
use plexus_input::SubmitError;
use plexus_matrix_http::{AuthedUser, Json, JsonObject, MatrixError, PathArgs, QueryArgs};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{BackupKey, BackupState, PutBackupKeys, input_user_event::Command},
};
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::instrument;

use super::{VersionQuery, contents, find, state_of};
use crate::App;

/// Most bytes of one encrypted key.
const MAX_SESSION_DATA: usize = 64 * 1024;
/// Most bytes of the ID of a session.
const MAX_SESSION_ID: usize = 255;
/// Largest integer in JSON.
const MAX_INTEGER: u64 = (1 << 53) - 1;
/// Bytes after which keys go on in another record: logs take 256 KiB.
const PART_BYTES: usize = 180 * 1024;

/// Keys of rooms.
#[derive(Deserialize)]
pub(crate) struct RoomsBody {
    rooms: BTreeMap<String, Box<RawValue>>,
}

/// Keys of a room.
#[derive(Deserialize)]
pub(crate) struct SessionsBody {
    sessions: BTreeMap<String, Box<RawValue>>,
}

/// A key.
#[derive(Deserialize)]
pub(crate) struct KeyBody {
    first_message_index: u64,
    forwarded_count: u64,
    is_verified: bool,
    session_data: Box<RawValue>,
}

#[instrument(name = "http.client.add_backup_keys", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<VersionQuery>,
    Json(body): Json<RoomsBody>,
) -> Result<JsonObject, MatrixError> {
    let version = query.read()?;
    let mut keys = Vec::new();
    for (room_id, room) in body.rooms {
        let room_id = RoomId::parse(&room_id)
            .map_err(|_| MatrixError::invalid_param("`rooms` names something that is no room ID"))?;
        let Json(room) = Json::<SessionsBody>::parse(room.get().as_bytes())?;
        read_room(&room_id, room, &mut keys)?;
    }
    put(&app, &user, version, keys).await
}

/// Of one room.
#[instrument(name = "http.client.add_backup_keys_for_room", skip_all, fields(user.id = %user.id))]
pub(crate) async fn room_handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    QueryArgs(query): QueryArgs<VersionQuery>,
    Json(room): Json<SessionsBody>,
) -> Result<JsonObject, MatrixError> {
    let version = query.read()?;
    let mut keys = Vec::new();
    read_room(&room_id, room, &mut keys)?;
    put(&app, &user, version, keys).await
}

/// Of one session.
#[instrument(name = "http.client.add_backup_keys_for_session", skip_all, fields(user.id = %user.id))]
pub(crate) async fn session_handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, session_id)): PathArgs<(OwnedRoomId, String)>,
    QueryArgs(query): QueryArgs<VersionQuery>,
    Json(key): Json<KeyBody>,
) -> Result<JsonObject, MatrixError> {
    let version = query.read()?;
    let key = check(&room_id, session_id, key)?;
    put(&app, &user, version, vec![key]).await
}

fn read_room(room_id: &RoomId, room: SessionsBody, keys: &mut Vec<BackupKey>) -> Result<(), MatrixError> {
    for (session_id, key) in room.sessions {
        let Json(key) = Json::<KeyBody>::parse(key.get().as_bytes())?;
        keys.push(check(room_id, session_id, key)?);
    }
    Ok(())
}

fn check(room_id: &RoomId, session_id: String, key: KeyBody) -> Result<BackupKey, MatrixError> {
    if room_id.as_str().len() > MAX_SESSION_ID || room_id.as_str().contains('\0') {
        return Err(MatrixError::invalid_param("The ID of a room cannot be one"));
    }
    if session_id.is_empty() || session_id.len() > MAX_SESSION_ID || session_id.contains('\0') {
        return Err(MatrixError::invalid_param(format!(
            "The ID of a session must have 1 to {MAX_SESSION_ID} bytes, and none of them NUL"
        )));
    }
    if key.first_message_index > MAX_INTEGER || key.forwarded_count > MAX_INTEGER {
        return Err(MatrixError::bad_json("An integer is too large"));
    }
    if key.session_data.get().len() > MAX_SESSION_DATA {
        return Err(MatrixError::too_large(format!(
            "`session_data` may have {MAX_SESSION_DATA} bytes at most"
        )));
    }
    Ok(BackupKey {
        room_id: room_id.to_string(),
        session_id,
        first_message_index: key.first_message_index,
        forwarded_count: key.forwarded_count,
        is_verified: key.is_verified,
        session_data: String::from(Box::<str>::from(key.session_data)).into_bytes().into(),
    })
}

/// Puts keys into a version, in as few records as they fit into. No keys are put, too: it tells whether there is the
/// version.
async fn put(
    app: &App,
    user: &AuthedUser,
    version: u64,
    keys: Vec<BackupKey>,
) -> Result<JsonObject, MatrixError> {
    let mut state = BackupState::default();
    for keys in split(keys) {
        let command = Command::PutBackupKeys(PutBackupKeys { version, keys });
        state = match app.input.submit_user(&user.id, command).await {
            Ok(accepted) => state_of(&accepted)?,
            Err(SubmitError::Rejected { reason: ErrorReason::WrongRoomKeysVersion, message }) => {
                let error = plexus_matrix_http::reason_error(ErrorReason::WrongRoomKeysVersion, &message);
                let current = find(app, &user.id, 0).await?.state.unwrap_or_default();
                return Err(error.with("current_version", current.version.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
    }
    contents(state)
}

fn split(keys: Vec<BackupKey>) -> Vec<Vec<BackupKey>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for key in keys {
        let more = key.room_id.len() + key.session_id.len() + key.session_data.len() + 40;
        if bytes > 0 && bytes + more > PART_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            part.push(key);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use ruma::room_id;
    use serde_json::{Value, json};

    use super::*;

    fn key(session_data: &Value) -> Result<BackupKey, MatrixError> {
        let json = json!({
            "first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": session_data,
        });
        let Json(key) = Json::<KeyBody>::parse(json.to_string().as_bytes())?;
        check(room_id!("!r:x"), "s".to_owned(), key)
    }

    #[test]
    fn keys_go_into_records_that_fit() {
        let large = key(&json!("x".repeat(MAX_SESSION_DATA - 2))).unwrap();
        let parts = split(vec![large; 7]);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 1]);
        for keys in parts {
            assert!(PutBackupKeys { version: 1, keys }.encoded_len() < 200 * 1024);
        }
        assert_eq!(split(Vec::new()), [Vec::new()], "whether there is the version is asked all the same");
    }

    #[test]
    fn data_of_a_session_are_any_json_of_a_bounded_size() {
        for data in [json!({}), json!("text"), json!(null), json!([1.5])] {
            assert_eq!(key(&data).unwrap().session_data, data.to_string());
        }
        assert!(key(&json!("x".repeat(MAX_SESSION_DATA))).unwrap_err().is("M_TOO_LARGE"));
    }

    #[test]
    fn a_key_has_all_of_its_fields() {
        let whole = json!({
            "first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": {},
        });
        for (field, value) in [
            ("first_message_index", json!(-1)),
            ("first_message_index", json!(1.5)),
            ("first_message_index", json!("1")),
            ("forwarded_count", json!(null)),
            ("is_verified", json!("true")),
            ("is_verified", json!(1)),
        ] {
            let mut wrong = whole.clone();
            wrong[field] = value;
            let read = Json::<KeyBody>::parse(wrong.to_string().as_bytes());
            assert!(read.err().is_some_and(|error| error.is("M_BAD_JSON")), "{wrong}");
            wrong.as_object_mut().unwrap().remove(field);
            assert!(Json::<KeyBody>::parse(wrong.to_string().as_bytes()).is_err(), "{wrong}");
        }
        assert!(Json::<KeyBody>::parse(b"[1,0,true,{}]").is_err());
    }
}
