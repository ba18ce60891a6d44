//! A user of ours leaves a room that this server is not in: rejects an invite, withdraws a knock, or undoes a join.
//!
//! The user is out at once, whatever the servers say that would have to know it. They are told for a week.

use std::time::Duration;

use bytes::Bytes;
use plexus_events::{BuildError, Built, Object, RoomRules, Value};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::SetOutOfBandMembership,
    room::v1::{MembershipSaga, membership_saga::Kind},
};
use plexus_s2s::now_ms;
use plexus_service::refusal::refusal;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use serde_json::json;
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::{info, instrument};

use super::{
    candidates,
    failure::{Failure, Fate, keep_best},
    handshake,
    known::{self, Known},
    saga::{self, Claim, Held},
    template::{self, Template},
};
use crate::{Federation, front::MEMBER};

/// How long the user waits for the servers.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long servers are told, in milliseconds.
const GIVE_UP_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Leaves; returns whether no server knows it yet.
#[instrument(name = "federation.leave", skip_all, fields(room.id = %room_id, user.id = %user_id))]
pub(crate) async fn leave(
    federation: &Federation,
    room_id: &RoomId,
    user_id: &UserId,
    reason: &str,
) -> Result<bool, Status> {
    let known = Known::read(federation, room_id, user_id).await?;
    if known.resident {
        let message = "this server is in the room";
        return Err(refusal(Code::FailedPrecondition, ErrorReason::BadState, message));
    }
    let pending = |membership: &str| matches!(membership, "invite" | "knock");
    let (ended, version) = match &known.out_of_band {
        Some(told) if pending(&told.membership) => (told.event_id.clone(), told.room_version.as_str()),
        Some(_) => return Ok(false),
        // An invite of the time when this server was in the room.
        None if pending(&known.membership) => (known.event_id.clone(), ""),
        None => {
            return Err(refusal(Code::NotFound, ErrorReason::NotFound, "the user has no invite to the room"));
        }
    };
    let mut others: Vec<String> = known.out_of_band.iter().map(|told| told.origin.clone()).collect();
    others.extend(known::servers(federation, room_id).await);
    let servers = candidates::list(federation.name(), room_id, &[], known.inviter(), &others);
    let held = Held::new(&federation.rooms, room_id, user_id);
    let saga = MembershipSaga {
        room_id: room_id.to_string(),
        user_id: user_id.to_string(),
        kind: Kind::Leave.into(),
        room_version: String::new(),
        servers: servers.iter().map(ToString::to_string).collect(),
        event: Bytes::from(ended.clone()),
        attempts: 1,
        created_ts: now_ms(),
        error: String::new(),
    };
    if let Claim::Taken = held.put(saga).await? {
        let message = "the user is joining the room";
        return Err(refusal(Code::FailedPrecondition, ErrorReason::BadState, message));
    }
    let _kept = held.keep();
    let content = known::with_reason(Object::new(), reason);
    let told = timeout(PATIENCE, tell(federation, &servers, room_id, user_id, &content)).await;
    let told = told.unwrap_or(Err((Failure::Answer("no server answered in time".to_owned()), Fate::Unknown)));
    let alone = || sign_alone(federation, room_id, user_id, &ended, version, content.clone());
    let left = told.as_ref().ok().cloned().or_else(alone);
    note(federation, room_id, user_id, left.as_ref(), reason, "").await?;
    match told {
        Ok(_) | Err((_, Fate::Refused)) => {
            held.finish().await?;
            Ok(false)
        }
        Err((failure, _)) => {
            info!(error = %failure, "nobody could be told that a user is out of a room");
            held.postpone(saga::pause(1), failure.to_string()).await;
            Ok(true)
        }
    }
}

/// Tells one server after the other until one takes the leave.
async fn tell(
    federation: &Federation,
    servers: &[OwnedServerName],
    room_id: &RoomId,
    user_id: &UserId,
    content: &Object,
) -> Result<Built, (Failure, Fate)> {
    let (mut best, mut all_refuse) = (None, !servers.is_empty());
    for server in servers {
        match tell_one(federation, server, room_id, user_id, content.clone()).await {
            Ok(built) => return Ok(built),
            Err(failure) => {
                info!(%server, error = %failure, "a leave was not taken");
                all_refuse &= failure.fate() == Fate::Refused;
                keep_best(&mut best, failure);
            }
        }
    }
    let failure = best.unwrap_or_else(|| Failure::Answer("no server is known".to_owned()));
    // Where nobody lets the user leave, the user is not in.
    Err((failure, if all_refuse { Fate::Refused } else { Fate::Unknown }))
}

async fn tell_one(
    federation: &Federation,
    server: &OwnedServerName,
    room_id: &RoomId,
    user_id: &UserId,
    content: Object,
) -> Result<Built, Failure> {
    let body = handshake::make(federation, server, "leave", room_id, user_id).await?;
    let template = template::read(&body, room_id, user_id, "leave")?;
    let built = sign(&template, federation, room_id, user_id, content)
        .map_err(|error| Failure::Answer(error.to_string()))?;
    let json = Bytes::from(built.json.clone());
    handshake::send(federation, server, "leave", (room_id, &built.event_id), json).await?;
    Ok(built)
}

fn sign(
    template: &Template,
    federation: &Federation,
    room_id: &RoomId,
    user_id: &UserId,
    mut content: Object,
) -> Result<Built, BuildError> {
    content.insert("membership".to_owned(), Value::String("leave".to_owned()));
    template.sign(federation, room_id, user_id, content, now_ms())
}

/// Makes the leave that the user is shown where no server has taken one: an event that cites the invite or the knock that
/// it ends, and that no other server sees. None if too little is known of the room.
fn sign_alone(
    federation: &Federation,
    room_id: &RoomId,
    user_id: &UserId,
    ended: &str,
    version: &str,
    content: Object,
) -> Option<Built> {
    let rules = RoomRules::of(version).ok()?;
    let template = Template::citing(rules, ended.try_into().ok()?);
    sign(&template, federation, room_id, user_id, content).ok()
}

/// Notes that the user is out, by the event if there is one.
async fn note(
    federation: &Federation,
    room_id: &RoomId,
    user_id: &UserId,
    left: Option<&Built>,
    reason: &str,
    replaces_event_id: &str,
) -> Result<(), Status> {
    let content = if reason.is_empty() {
        json!({ "membership": "leave" })
    } else {
        json!({ "membership": "leave", "reason": reason })
    };
    let (event, event_id) = match left {
        Some(built) => (Bytes::from(built.json.clone()), built.event_id.to_string()),
        None => {
            let event = json!({
                "type": MEMBER, "sender": user_id, "state_key": user_id, "content": content,
                "origin_server_ts": now_ms(),
            });
            (Bytes::from(event.to_string()), String::new())
        }
    };
    let told = SetOutOfBandMembership {
        room_id: room_id.to_string(),
        membership: "leave".to_owned(),
        event,
        event_id,
        sender: user_id.to_string(),
        origin: federation.name().to_string(),
        replaces_event_id: replaces_event_id.to_owned(),
        ..SetOutOfBandMembership::default()
    };
    known::set_out_of_band(federation, user_id, told).await
}

/// Goes on with a leave of which no server could be told.
pub(crate) async fn resume(
    federation: &Federation,
    held: &Held<'_>,
    saga: &MembershipSaga,
) -> Result<(), Status> {
    let broken = |why: String| Status::internal(format!("a leave that was kept cannot be read: {why}"));
    let room_id = OwnedRoomId::try_from(saga.room_id.as_str()).map_err(|error| broken(error.to_string()))?;
    let user_id = OwnedUserId::try_from(saga.user_id.as_str()).map_err(|error| broken(error.to_string()))?;
    let ended = String::from_utf8_lossy(&saga.event).into_owned();
    let known = Known::read(federation, &room_id, &user_id).await?;
    let pending = known.out_of_band.filter(|told| matches!(told.membership.as_str(), "invite" | "knock"));
    let is_another = pending.as_ref().is_some_and(|told| !ended.is_empty() && told.event_id != ended);
    if known.resident || is_another || now_ms() - saga.created_ts > GIVE_UP_MS {
        return held.finish().await;
    }
    let servers = candidates::distinct(federation.name(), saga.servers.iter().map(String::as_str));
    match tell(federation, &servers, &room_id, &user_id, &Object::new()).await {
        Ok(built) => {
            // Also where this process died before the user was out.
            if let Some(told) = pending {
                note(federation, &room_id, &user_id, Some(&built), "", &told.event_id).await?;
            }
            held.finish().await
        }
        Err((_, Fate::Refused)) => held.finish().await,
        Err((failure, _)) => {
            held.postpone(saga::pause(saga.attempts), failure.to_string()).await;
            Ok(())
        }
    }
}
