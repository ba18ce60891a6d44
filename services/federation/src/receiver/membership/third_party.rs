//! `PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid)
//!
//! A user of the server that asks has proved that a third-party identifier is theirs, to which a user of ours has sent an
//! invite. Of what is sent only the proof is taken: the invite is built here, for the user that it names.

use axum::extract::State;
use plexus_events::{Object, Value, canonical};
use plexus_matrix_http::{Json, JsonObject, MatrixError, PathArgs};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tracing::instrument;

use super::{
    check::{check_room, invalid},
    stripped,
};
use crate::{
    Federation,
    front::{Front, MEMBER},
    joins::invite,
    receiver::{Membership, Signed},
};

/// The type of the invites that are exchanged.
const INVITE: &str = "m.room.third_party_invite";

#[derive(Deserialize)]
struct RequestBody {
    r#type: String,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    state_key: OwnedUserId,
    content: InContent,
}

#[derive(Deserialize)]
struct InContent {
    membership: String,
    third_party_invite: InInvite,
}

#[derive(Deserialize)]
struct InInvite {
    signed: Box<RawValue>,
}

/// What the identity server has signed, as far as it matters here.
#[derive(Deserialize)]
struct Proof {
    mxid: OwnedUserId,
    token: String,
}

/// What is known of a third-party invite.
#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    display_name: String,
}

#[instrument(name = "http.server.exchange_third_party_invite", skip_all, fields(room.id = %room_id))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((room_id,)): PathArgs<(OwnedRoomId,)>,
    signed: Signed<Membership>,
) -> Result<JsonObject, MatrixError> {
    let Json(body) = Json::<RequestBody>::parse(&signed.body)?;
    let proof: Proof = serde_json::from_str(body.content.third_party_invite.signed.get())
        .map_err(|error| MatrixError::bad_json(error.to_string()))?;
    check_fields(&federation, &signed, &room_id, &body, &proof)?;
    federation.blocks.check(&room_id, &body.state_key)?;
    check_room(&federation, &room_id, &signed.origin).await?;

    let mut others: Vec<(&str, &str)> = stripped::keys();
    others.push((INVITE, &proof.token));
    let users = [&*body.sender, &*body.state_key];
    let front = Front::read(&federation.rooms, &room_id, &users, &others).await?;
    let known = front.find(INVITE, &proof.token).and_then(|(pdu, _)| pdu.content_as::<Known>().ok());
    let known = known.ok_or_else(|| MatrixError::forbidden("There is no such third-party invite"))?;
    // A repeat. The rules would let the invite be, and it would put out who has come in by it.
    if matches!(front.membership_of(&body.state_key).as_deref(), Some("invite" | "join")) {
        return JsonObject::of(&json!({}));
    }
    let content = content(known, body.content.third_party_invite.signed.get())?;
    invite::send(&federation, &front, &room_id, (&body.sender, &body.state_key), content).await?;
    JsonObject::of(&json!({}))
}

/// The content of the invite: nothing is in it but what we say, and what was signed.
fn content(known: Known, signed: &str) -> Result<Object, MatrixError> {
    let signed =
        canonical::parse_object(signed.as_bytes()).map_err(|error| MatrixError::bad_json(error.detail()))?;
    let invite = Object::from([
        ("display_name".to_owned(), Value::String(known.display_name)),
        ("signed".to_owned(), Value::Object(signed)),
    ]);
    Ok(Object::from([
        ("membership".to_owned(), Value::String("invite".to_owned())),
        ("third_party_invite".to_owned(), Value::Object(invite)),
    ]))
}

/// Checks what is asked for, and by whom.
fn check_fields(
    federation: &Federation,
    signed: &Signed<Membership>,
    room_id: &RoomId,
    body: &RequestBody,
    proof: &Proof,
) -> Result<(), MatrixError> {
    if body.r#type != MEMBER || body.content.membership != "invite" {
        return Err(invalid("The event is no invite"));
    }
    if body.room_id != room_id {
        return Err(invalid("The event is of another room"));
    }
    if body.sender.server_name() != federation.name() {
        return Err(invalid("The sender is not a user of this server"));
    }
    if body.state_key.server_name() != signed.origin {
        return Err(invalid("The user is not one of the server"));
    }
    if proof.mxid != body.state_key {
        return Err(MatrixError::forbidden("The proof is for somebody else"));
    }
    Ok(())
}
