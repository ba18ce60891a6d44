//! `PUT /_matrix/client/*/rooms/{roomId}/typing/{userId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid)

use axum::extract::State;
use plexus_log::Ephemeral as Topic;
use plexus_matrix_http::{AuthedUser, JsonObject, MatrixError, PathArgs};
use plexus_proto::log::v1::{Ephemeral, Typing, ephemeral};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use tracing::instrument;

use crate::{App, account, clock::now_ms};

/// How long a user counts as typing if the client does not say, and at most, in milliseconds.
const TIMEOUT: (u32, u32) = (30_000, 120_000);

#[derive(Deserialize)]
struct Body {
    typing: bool,
    timeout: Option<u64>,
}

#[instrument(name = "http.client.create_typing_event", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((room_id, user_id)): PathArgs<(OwnedRoomId, OwnedUserId)>,
    body: JsonObject,
) -> Result<JsonObject, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    let body: Body = body.read()?;
    app.rooms.require_joined(&room_id, &user.id).await?;
    let record = Ephemeral {
        version: 1,
        room_id: room_id.to_string(),
        produced_ts: now_ms(),
        body: Some(ephemeral::Body::Typing(Typing {
            user_id: user.id.to_string(),
            timeout_ms: timeout(&body),
        })),
    };
    app.log.append::<Topic>(&record).await.map_err(|error| {
        tracing::warn!(%error, "typing could not be told");
        MatrixError::unavailable()
    })?;
    Ok(JsonObject::empty())
}

fn timeout(body: &Body) -> u32 {
    let (default, most) = TIMEOUT;
    match (body.typing, body.timeout) {
        (false, _) => 0,
        (true, None) => default,
        (true, Some(asked)) => u32::try_from(asked).unwrap_or(most).min(most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_bounded() {
        let timeout = |json: &str| timeout(&serde_json::from_str(json).unwrap());
        assert_eq!(timeout(r#"{"typing":false,"timeout":5}"#), 0);
        assert_eq!(timeout(r#"{"typing":true}"#), 30_000);
        assert_eq!(timeout(r#"{"typing":true,"timeout":5}"#), 5);
        assert_eq!(timeout(r#"{"typing":true,"timeout":18446744073709551615}"#), 120_000);
    }
}
