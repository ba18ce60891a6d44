//! A user of ours knocks on a room that this server is not in. A repeat knocks again: what became of the first knock may
//! not have been told.

use bytes::Bytes;
use plexus_events::{Built, Object, RoomRules};
use plexus_proto::log::v1::SetOutOfBandMembership;
use plexus_s2s::now_ms;
use ruma::{OwnedServerName, RoomId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tonic::Status;
use tracing::{info, instrument};

use super::{
    candidates,
    failure::{Failure, Fate, keep_best, nobody},
    handshake,
    known::{self, Known},
    template,
};
use crate::{Federation, receiver::membership::stripped};

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    knock_room_state: Vec<Box<RawValue>>,
}

/// Knocks; returns the ID of the event.
#[instrument(name = "federation.knock", skip_all, fields(room.id = %room_id, user.id = %user_id))]
pub(crate) async fn knock(
    federation: &Federation,
    room_id: &RoomId,
    user_id: &UserId,
    via: &[String],
    reason: &str,
) -> Result<String, Status> {
    let known = Known::read(federation, room_id, user_id).await?;
    let content = known::content(federation, user_id, "knock", b"").await?;
    let content = known::with_reason(content, reason);
    let mut others: Vec<String> = known.out_of_band.iter().map(|told| told.origin.clone()).collect();
    others.extend(known::servers(federation, room_id).await);
    let (mut best, mut is_refused) = (None, false);
    for server in candidates::list(federation.name(), room_id, via, known.inviter(), &others) {
        if !candidates::is_asked(&server, via, is_refused) {
            continue;
        }
        match knock_at(federation, &server, room_id, user_id, content.clone()).await {
            Ok((built, rules, state)) => {
                let told = SetOutOfBandMembership {
                    room_id: room_id.to_string(),
                    membership: "knock".to_owned(),
                    event: Bytes::from(built.json),
                    event_id: built.event_id.to_string(),
                    sender: user_id.to_string(),
                    origin: server.to_string(),
                    room_version: rules.id.to_string(),
                    stripped_state: state.into(),
                    replaces_event_id: String::new(),
                };
                known::set_out_of_band(federation, user_id, told).await?;
                return Ok(built.event_id.to_string());
            }
            Err(failure) => {
                info!(%server, error = %failure, "a knock was not taken");
                is_refused |= failure.fate() == Fate::Refused;
                keep_best(&mut best, failure);
            }
        }
    }
    Err(best.map_or_else(nobody, |failure| failure.to_status()))
}

async fn knock_at(
    federation: &Federation,
    server: &OwnedServerName,
    room_id: &RoomId,
    user_id: &UserId,
    content: Object,
) -> Result<(Built, &'static RoomRules, String), Failure> {
    let body = handshake::make(federation, server, "knock", room_id, user_id).await?;
    let template = template::read(&body, room_id, user_id, "knock")?;
    let built = template
        .sign(federation, room_id, user_id, content, now_ms())
        .map_err(|error| Failure::Answer(error.to_string()))?;
    let json = Bytes::from(built.json.clone());
    let body = handshake::send(federation, server, "knock", (room_id, &built.event_id), json).await?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| Failure::Answer(error.to_string()))?;
    let state = answer.knock_room_state.iter().map(|event| &**event).collect();
    // The knock is there, whatever is told of the room.
    let state = stripped::read(state, room_id, template.rules).unwrap_or_else(|_| "[]".to_owned());
    Ok((built, template.rules, state))
}
