//! Telling rooms what became of a user: a new name, a new avatar, or that they are gone.
//!
//! It goes on when the client hangs up, and a room that refuses stops no other.

use futures::{StreamExt as _, stream};
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    log::v1::{Intent, input_room_event::Body},
    room::v1::{GetStateRequest, ListRoomsForUserRequest, StateKey},
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{App, clock};

/// Rooms that are told at a time.
const AT_ONCE: usize = 8;

/// Puts a name or an avatar into the member event of every room the user is in.
pub(super) async fn to_rooms(app: &App, user: &UserId, field: &str, value: Option<Value>) {
    tell_rooms(app, user, &["join"], Change::Profile { field: field.to_owned(), value }).await;
}

/// Leaves all rooms of a user, and declines what the user was invited to.
pub(crate) async fn leave_all_rooms(app: &App, user: &UserId) {
    tell_rooms(app, user, &["join", "invite", "knock"], Change::Leave).await;
}

/// What rooms are told.
enum Change {
    Profile { field: String, value: Option<Value> },
    Leave,
}

/// Runs to the end in a task of its own, also if whoever waits for it goes away.
async fn tell_rooms(app: &App, user: &UserId, memberships: &'static [&'static str], change: Change) {
    let (app, user) = (app.clone(), user.to_owned());
    let work = async move {
        let rooms = rooms(&app, &user, memberships).await?;
        let (app, user, change) = (&app, &user, &change);
        stream::iter(rooms)
            .for_each_concurrent(AT_ONCE, |room| async move {
                let told = match change {
                    Change::Profile { field, value } => {
                        update_member(app, user, &room, field, value.as_ref()).await
                    }
                    Change::Leave => send_member(app, user, &room, &json!({ "membership": "leave" })).await,
                };
                if let Err(error) = told {
                    tracing::info!(room.id = %room, %error, "room did not take the member event of a user");
                }
            })
            .await;
        Ok::<(), MatrixError>(())
    };
    match tokio::spawn(work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "rooms of a user could not be listed"),
        Err(error) => tracing::error!(%error, "telling rooms of a user failed"),
    }
}

async fn rooms(app: &App, user: &OwnedUserId, memberships: &[&str]) -> Result<Vec<OwnedRoomId>, MatrixError> {
    let request = ListRoomsForUserRequest {
        user_id: user.to_string(),
        memberships: memberships.iter().map(|membership| (*membership).to_owned()).collect(),
        include_forgotten: false,
        at_least: None,
    };
    let rooms = app.room_queries.clone().list_rooms_for_user(request).await?.into_inner().rooms;
    Ok(rooms.into_iter().filter_map(|room| RoomId::parse(room.room_id).ok()).collect())
}

#[derive(Deserialize)]
struct Member {
    content: Map<String, Value>,
}

/// Changes one key of the member event, and keeps whatever else clients have put there.
async fn update_member(
    app: &App,
    user: &UserId,
    room: &RoomId,
    field: &str,
    value: Option<&Value>,
) -> Result<(), MatrixError> {
    let key = StateKey { r#type: "m.room.member".to_owned(), state_key: user.to_string() };
    let request =
        GetStateRequest { room_id: room.to_string(), keys: vec![key], ..GetStateRequest::default() };
    let events = app.room_queries.clone().get_state(request).await?.into_inner().events;
    let member = events.first().and_then(|event| serde_json::from_slice::<Member>(&event.json).ok());
    let Some(Member { mut content }) = member else {
        return Err(MatrixError::not_found("there is no member event"));
    };
    if content.get("membership").and_then(Value::as_str) != Some("join") {
        return Ok(());
    }
    // It vouched for the join, and is only valid there.
    content.remove("join_authorised_via_users_server");
    content.remove("third_party_invite");
    match value {
        Some(value) => drop(content.insert(field.to_owned(), value.clone())),
        None => drop(content.remove(field)),
    }
    send_member(app, user, room, &Value::Object(content)).await
}

async fn send_member(app: &App, user: &UserId, room: &RoomId, content: &Value) -> Result<(), MatrixError> {
    let intent = Intent {
        sender: user.to_string(),
        r#type: "m.room.member".to_owned(),
        state_key: Some(user.to_string()),
        content: content.to_string().into_bytes().into(),
        origin_server_ts: clock::now_ms(),
        txn: None,
        redacts: String::new(),
        skip_if_unchanged: true,
    };
    app.input.submit_room(room, Body::Intent(intent)).await?;
    Ok(())
}
