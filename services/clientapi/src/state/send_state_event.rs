//! `PUT /_matrix/client/*/rooms/{roomId}/state/{eventType}/{stateKey}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey)

use std::borrow::Cow;

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError, PathArgs, UserLimit};
use ruma::{OwnedRoomId, UserId, api::client::state::send_state_event};
use serde::Deserialize;
use tracing::instrument;

use crate::App;

/// Path arguments; an empty state key is left out.
#[derive(Deserialize)]
pub(crate) struct Entry(OwnedRoomId, String, #[serde(default)] String);

/// The body is taken as it came: it becomes the content of the event.
#[instrument(name = "http.client.send_state_event", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs(Entry(room_id, event_type, state_key)): PathArgs<Entry>,
    content: JsonObject,
) -> Result<Matrix<send_state_event::v3::Response>, MatrixError> {
    if event_type == "m.room.member" {
        count_member(&app, &user, &state_key, &content)?;
    }
    let event_id = app.rooms.send_state(&user, &room_id, &event_type, &state_key, content.get()).await?;
    Ok(Matrix(send_state_event::v3::Response::new(event_id)))
}

#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow)]
    membership: Option<Cow<'a, str>>,
}

/// Counts a member event as what it does, as the endpoints count it that do nothing else.
fn count_member(app: &App, user: &AuthedUser, target: &str, content: &JsonObject) -> Result<(), MatrixError> {
    // What is no member event at all is refused later.
    let Ok(Member { membership: Some(membership) }) = serde_json::from_str(content.get()) else {
        return Ok(());
    };
    match (&*membership, <&UserId>::try_from(target)) {
        ("invite", Ok(invitee)) => app.limits.check_invites(&user.id, [invitee].into_iter()),
        ("join" | "knock", _) => app.limits.check(UserLimit::Join, &user.id),
        _ => Ok(()),
    }
}
