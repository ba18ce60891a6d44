//! A user of ours invites one of another server, which signs the invite, too. Only then it is sent to the room.

use std::collections::BTreeMap;

use bytes::Bytes;
use plexus_events::{Object, Value, canonical};
use plexus_input::{Lane, Outcome};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{input_room_event::Body, pdu},
};
use plexus_s2s::now_ms;
use plexus_service::refusal::refusal;
use ruma::{RoomId, UserId};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tonic::{Code, Status};
use tracing::{instrument, warn};

use super::{
    failure::Failure,
    handshake,
    known::{Known, submit_status},
};
use crate::{
    Federation, checked,
    front::{Front, PrepareError},
    receiver::membership::stripped,
};

#[derive(Deserialize)]
struct Answer {
    event: Signed,
}

#[derive(Deserialize)]
struct Signed {
    #[serde(default)]
    signatures: BTreeMap<String, BTreeMap<String, String>>,
}

/// How long keys may take that have to be fetched.
const KEY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Most signatures that are taken over.
const MAX_SIGNATURES: usize = 8;

fn forbidden(message: String) -> Status {
    refusal(Code::PermissionDenied, ErrorReason::Forbidden, message)
}

/// Invites; returns the ID of the event.
#[instrument(name = "federation.invite", skip_all, fields(room.id = %room_id, user.id = %user_id))]
pub(crate) async fn invite(
    federation: &Federation,
    room_id: &RoomId,
    sender: &UserId,
    user_id: &UserId,
    content: &[u8],
) -> Result<String, Status> {
    if !Known::read(federation, room_id, sender).await?.is_joined() {
        return Err(forbidden("You are not in this room".to_owned()));
    }
    let content = canonical::parse_object(content)
        .map_err(|error| refusal(Code::InvalidArgument, ErrorReason::BadJson, error.detail()))?;
    let front = Front::read(&federation.rooms, room_id, &[sender, user_id], &stripped::keys()).await?;
    send(federation, &front, room_id, (sender, user_id), content).await
}

/// Builds an invite at the front of a room, has the other server sign it, and sends it to the room.
pub(crate) async fn send(
    federation: &Federation,
    front: &Front,
    room_id: &RoomId,
    (sender, user_id): (&UserId, &UserId),
    content: Object,
) -> Result<String, Status> {
    let prepared = front.prepare(sender, user_id, content, now_ms()).map_err(|error| match error {
        PrepareError::Refused(rule) => forbidden(rule),
        PrepareError::Build(error) => {
            refusal(Code::InvalidArgument, ErrorReason::InvalidParam, error.to_string())
        }
    })?;
    let built = prepared
        .sign(federation.name(), &federation.key)
        .map_err(|error| refusal(Code::InvalidArgument, ErrorReason::TooLarge, error.to_string()))?;

    let raw = |json: &str| serde_json::from_str::<Box<RawValue>>(json).ok();
    let state: Vec<Box<RawValue>> =
        stripped::of_front(front, &[sender]).iter().filter_map(|event| raw(event)).collect();
    let event = std::str::from_utf8(&built.json).ok().and_then(raw);
    let body = json!({
        "room_version": front.rules.id.as_str(), "event": event, "invite_room_state": state,
    });
    let ids = (room_id, &*built.event_id);
    let body = Bytes::from(body.to_string());
    let answer = handshake::invite(federation, user_id.server_name(), ids, body).await;
    let answer = answer.map_err(|error| Failure::from(error).to_status())?;
    let json = countersigned(&built.json, &answer, user_id).map_err(|failure| failure.to_status())?;

    let read = checked::read(&json, room_id, front.rules)
        .map_err(|error| Failure::Answer(error.to_string()).to_status())?;
    if read.event_id() != built.event_id {
        return Err(Failure::Answer("the invite is another one".to_owned()).to_status());
    }
    let signed = checked::is_signed_by(&federation.keys, &read, user_id.server_name(), KEY_PATIENCE).await;
    signed.map_err(|error| Failure::Answer(error.to_string()).to_status())?;
    let checked = checked::verify(&federation.keys, vec![read], KEY_PATIENCE).await.pop();
    let Some((_, Ok(event))) = checked else {
        return Err(Failure::Answer("the invite is not signed".to_owned()).to_status());
    };
    let pdu = plexus_proto::log::v1::Pdu { relay: true, ..event.to_input(pdu::Kind::New, federation.name()) };
    let written = federation.input.append_room(room_id, Lane::Live, Body::Pdu(pdu)).await;
    let written = written.map_err(|error| submit_status(&error))?;
    match federation.input.verdict_on(written).await.map_err(|error| submit_status(&error))? {
        Outcome::Accepted(accepted) if !accepted.soft_failed => Ok(built.event_id.to_string()),
        Outcome::Accepted(_) => {
            warn!("a room has changed while a server was asked to sign an invite");
            Err(forbidden("The room has changed meanwhile".to_owned()))
        }
        Outcome::Rejected(rejected) => {
            Err(refusal(Code::FailedPrecondition, rejected.reason(), rejected.message))
        }
        Outcome::Parked(_) | Outcome::Unknown(_) => Err(Status::unavailable("the invite could not be sent")),
    }
}

/// Our event with the signatures of the server of who is invited: nothing else is taken from what it answers.
fn countersigned(json: &[u8], answer: &[u8], user_id: &UserId) -> Result<Vec<u8>, Failure> {
    let bad = |why: String| Failure::Answer(why);
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| bad(error.to_string()))?;
    let server = user_id.server_name().as_str();
    let given = answer.event.signatures.get(server).filter(|signatures| !signatures.is_empty());
    let given = given.ok_or_else(|| bad(format!("{server} has not signed the invite")))?;
    let mut event = canonical::parse_object(json).map_err(|error| bad(error.detail()))?;
    let Some(Value::Object(signatures)) = event.get_mut("signatures") else {
        return Err(bad("our own signature is lacking".to_owned()));
    };
    let given = given.iter().take(MAX_SIGNATURES).filter(|(id, _)| id.starts_with("ed25519:"));
    let given = given.map(|(id, signature)| (id.clone(), Value::String(signature.clone())));
    signatures.insert(server.to_owned(), Value::Object(given.collect()));
    Ok(canonical::object_to_vec(&event))
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn nothing_is_taken_but_signatures() {
        let ours = br#"{"content":{"membership":"invite"},"signatures":{"us.test":{"ed25519:a":"x"}}}"#;
        let user = user_id!("@b:far.test");
        let answer = r#"{"event":{"content":{"membership":"ban"},"depth":9,
            "signatures":{"us.test":{"ed25519:a":"forged"},"far.test":{"ed25519:b":"y","rsa:c":"z"}}}}"#;
        let signed = countersigned(ours, answer.as_bytes(), user).unwrap();
        let expected = r#"{"content":{"membership":"invite"},"signatures":{"far.test":{"ed25519:b":"y"},"us.test":{"ed25519:a":"x"}}}"#;
        assert_eq!(String::from_utf8(signed).unwrap(), expected);
        for answer in [
            "{}",
            r#"{"event":{}}"#,
            r#"{"event":{"signatures":{"other.test":{"ed25519:b":"y"}}}}"#,
            r#"{"event":{"signatures":{"far.test":{}}}}"#,
            r#"{"event":{"signatures":[]}}"#,
        ] {
            assert!(countersigned(ours, answer.as_bytes(), user).is_err(), "{answer}");
        }
    }
}
