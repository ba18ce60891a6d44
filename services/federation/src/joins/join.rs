//! A user of ours joins a room through another server.

use std::time::Duration;

use bytes::Bytes;
use plexus_events::{Object, RoomRules};
use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{MembershipSaga, membership_saga::Kind},
};
use plexus_s2s::now_ms;
use plexus_service::refusal::refusal;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tracing::{info, instrument, warn};

use super::{
    Outcome,
    apply::{self, ApplyError},
    candidates,
    failure::{Failure, Fate, keep_best, nobody},
    handshake,
    known::{self, Known},
    saga::{self, Claim, Held},
    template, verify,
};
use crate::{
    Federation,
    checked::{self, ReadPdu},
};

/// How often an event is sent to the server that made its template before others are tried.
const SENDS: u32 = 3;
/// How long it is waited for another process that joins the same user, and between two looks.
const TAKEN_PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);
/// A join that nobody answers is given up after so many attempts.
const MAX_ATTEMPTS: u32 = 20;

/// What is asked.
pub(crate) struct Request {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) user_id: OwnedUserId,
    pub(crate) via: Vec<String>,
    pub(crate) content: Bytes,
}

/// A join event that is signed.
pub(crate) struct Signed {
    rules: &'static RoomRules,
    event: ReadPdu,
    json: Bytes,
    /// Whether somebody must vouch for it.
    is_vouched: bool,
}

/// Joins the user, once at a time for each room and user.
pub(crate) async fn join(federation: &Federation, request: Request) -> Outcome {
    let key = (request.room_id.clone(), request.user_id.clone());
    let work = begin(federation.clone(), request);
    federation.joins.once(key, work).await
}

#[instrument(name = "federation.join", skip_all, fields(room.id = %request.room_id, user.id = %request.user_id))]
async fn begin(federation: Federation, request: Request) -> Outcome {
    let (room_id, user_id) = (&request.room_id, &request.user_id);
    let _turn = federation.joins.turn(user_id).await?;
    let was_resident = Known::read(&federation, room_id, user_id).await?.resident;
    let _room = federation.joins.room(room_id).await;
    let held = Held::new(&federation.rooms, room_id, user_id);
    let until = Instant::now() + TAKEN_PATIENCE;
    let (known, claimed) = loop {
        let known = Known::read(&federation, room_id, user_id).await?;
        if known.is_joined() {
            return Ok(known.event_id);
        }
        if known.resident && !was_resident {
            // Somebody else came in meanwhile, and this server with them.
            let message = "this server is in the room by now";
            return Err(refusal(Code::FailedPrecondition, ErrorReason::BadState, message));
        }
        match held.claim().await? {
            Claim::Held(saga) => break (known, saga),
            Claim::Taken if Instant::now() < until => sleep(LOOK).await,
            Claim::Taken => {
                let message = "the user is joining the room already";
                return Err(refusal(Code::Unavailable, ErrorReason::TimedOut, message));
            }
        }
    };
    let _kept = held.keep();
    match claimed {
        Some(saga) if saga.kind() == Kind::Join => resume(&federation, &held, &saga).await,
        // A new join takes the place of a leave that nobody could be told of.
        Some(_) | None => start(&federation, &held, &request, &known).await,
    }
}

/// Asks one server after the other for a template, until the event that is made of one is taken.
async fn start(federation: &Federation, held: &Held<'_>, request: &Request, known: &Known) -> Outcome {
    let Request { room_id, user_id, via, content } = request;
    let content = known::content(federation, user_id, "join", content).await?;
    let mut others: Vec<String> = known.out_of_band.iter().map(|told| told.origin.clone()).collect();
    others.extend(known::servers(federation, room_id).await);
    let mut servers = candidates::list(federation.name(), room_id, via, known.inviter(), &others);
    // Those that did not answer lately come last.
    servers.sort_by_key(|server| federation.peers.health().pause(server).is_some());
    let (mut best, mut is_kept, mut is_refused) = (None, false, false);
    for server in &servers {
        if !candidates::is_asked(server, via, is_refused) {
            continue;
        }
        let signed = match sign(federation, server, room_id, user_id, &content).await {
            Ok(signed) => signed,
            Err(failure) => {
                info!(%server, error = %failure, "no template for a join");
                is_refused |= failure.fate() == Fate::Refused;
                keep_best(&mut best, failure);
                continue;
            }
        };
        let rest = servers.iter().filter(|other| *other != server);
        let order: Vec<OwnedServerName> = std::iter::once(server).chain(rest).cloned().collect();
        let saga = saga_of(&signed, room_id, user_id, &order);
        // From here on it is this event or none, whatever happens to this process.
        if let Claim::Taken = held.put(saga).await? {
            let message = "another process joins the user";
            return Err(refusal(Code::Unavailable, ErrorReason::TimedOut, message));
        }
        is_kept = true;
        match deliver(federation, room_id, &signed, &order).await {
            Ok((server, body)) => {
                return finish(federation, held, (room_id, user_id), &signed, &server, body).await;
            }
            Err((failure, Fate::Unknown)) => {
                held.postpone(saga::pause(1), failure.to_string()).await;
                return Err(failure.to_status());
            }
            Err((failure, Fate::Refused | Fate::NotSent)) => {
                info!(%server, error = %failure, "a join was not taken");
                keep_best(&mut best, failure);
            }
        }
    }
    if is_kept {
        held.finish().await?;
    }
    Err(best.map_or_else(nobody, |failure| failure.to_status()))
}

/// Makes a join event of a template.
async fn sign(
    federation: &Federation,
    server: &OwnedServerName,
    room_id: &RoomId,
    user_id: &UserId,
    content: &Object,
) -> Result<Signed, Failure> {
    let body = handshake::make(federation, server, "join", room_id, user_id).await?;
    let template = template::read(&body, room_id, user_id, "join")?;
    let built = template
        .sign(federation, room_id, user_id, content.clone(), now_ms())
        .map_err(|error| Failure::Answer(error.to_string()))?;
    Signed::read(room_id, template.rules, built.json.into())
        .map_err(|error| Failure::Answer(error.to_string()))
}

impl Signed {
    fn read(room_id: &RoomId, rules: &'static RoomRules, json: Bytes) -> Result<Self, checked::CheckError> {
        #[derive(serde::Deserialize)]
        struct Event {
            content: serde_json::Map<String, serde_json::Value>,
        }
        let event = checked::read(&json, room_id, rules)?;
        let content = serde_json::from_slice::<Event>(&json).map(|event| event.content).unwrap_or_default();
        let is_vouched = content.contains_key("join_authorised_via_users_server");
        Ok(Self { rules, event, json, is_vouched })
    }
}

fn saga_of(
    signed: &Signed,
    room_id: &RoomId,
    user_id: &UserId,
    servers: &[OwnedServerName],
) -> MembershipSaga {
    MembershipSaga {
        room_id: room_id.to_string(),
        user_id: user_id.to_string(),
        kind: Kind::Join.into(),
        room_version: signed.rules.id.to_string(),
        servers: servers.iter().map(ToString::to_string).collect(),
        event: signed.json.clone(),
        attempts: 1,
        created_ts: now_ms(),
        error: String::new(),
    }
}

/// Sends the event until a server takes it: to the first one some times, then to the others. Who answers that it does not
/// take it ends that, unless it may have been taken before.
async fn deliver(
    federation: &Federation,
    room_id: &RoomId,
    signed: &Signed,
    servers: &[OwnedServerName],
) -> Result<(OwnedServerName, Bytes), (Failure, Fate)> {
    let ids = (room_id, signed.event.event_id());
    let mut last = None;
    for (index, server) in servers.iter().enumerate() {
        let sends = if index == 0 { SENDS } else { 1 };
        for attempt in 0..sends {
            match handshake::send(federation, server, "join", ids, signed.json.clone()).await {
                Ok(body) => return Ok((server.clone(), body)),
                Err(error) => {
                    let failure = Failure::from(error);
                    let fate = failure.fate();
                    warn!(%server, error = %failure, "a join was sent in vain");
                    if fate != Fate::Unknown {
                        if last.is_none() {
                            return Err((failure, fate));
                        }
                        break;
                    }
                    last = Some(failure);
                    if attempt + 1 < sends {
                        sleep(Duration::from_secs(1 << attempt)).await;
                    }
                }
            }
        }
    }
    match last {
        Some(failure) => Err((failure, Fate::Unknown)),
        None => Err((Failure::Answer("no server to ask".to_owned()), Fate::NotSent)),
    }
}

/// A server has taken the join: it becomes part of the room here. If that cannot be, the user leaves again.
async fn finish(
    federation: &Federation,
    held: &Held<'_>,
    (room_id, user_id): (&RoomId, &UserId),
    signed: &Signed,
    server: &OwnedServerName,
    body: Bytes,
) -> Outcome {
    let told =
        verify::verify(federation, room_id, signed.rules, &signed.event, signed.is_vouched, body).await;
    let told = match told {
        Ok(told) => told,
        Err(failure) => {
            warn!(%server, error = %failure, "the answer to a join cannot be used");
            undo(held, (room_id, user_id), signed, server, failure.to_string()).await?;
            return Err(failure.to_status());
        }
    };
    let resident = Known::read(federation, room_id, user_id).await?.resident;
    let applied = if resident {
        apply::as_resident(federation, room_id, user_id, server, told).await
    } else {
        apply::with_state(federation, room_id, signed.rules, server, told).await
    };
    match applied {
        Ok(()) => {}
        Err(ApplyError::Refused(why)) => {
            warn!(%server, why, "the room server refuses a join");
            undo(held, (room_id, user_id), signed, server, why.clone()).await?;
            return Err(refusal(
                Code::Unavailable,
                ErrorReason::RemoteFailed,
                "The state of the room makes no sense",
            ));
        }
        Err(ApplyError::Later(status)) => {
            held.postpone(Duration::ZERO, status.to_string()).await;
            return Err(status);
        }
    }
    known::forget_out_of_band(federation, room_id, user_id).await?;
    held.finish().await?;
    Ok(signed.event.event_id().to_string())
}

/// The user is in the room as others see it, and cannot be as we do: they are to leave.
async fn undo(
    held: &Held<'_>,
    (room_id, user_id): (&RoomId, &UserId),
    signed: &Signed,
    server: &OwnedServerName,
    why: String,
) -> Result<(), Status> {
    let saga = MembershipSaga {
        kind: Kind::Leave.into(),
        // Whatever the user was before, that has ended.
        event: Bytes::new(),
        ..saga_of(signed, room_id, user_id, std::slice::from_ref(server))
    };
    held.put(saga).await?;
    held.postpone(Duration::ZERO, why).await;
    Ok(())
}

/// Goes on with a join whose event was signed.
pub(crate) async fn resume(federation: &Federation, held: &Held<'_>, saga: &MembershipSaga) -> Outcome {
    let broken = |why: String| Status::internal(format!("a join that was kept cannot be read: {why}"));
    let room_id = OwnedRoomId::try_from(saga.room_id.as_str()).map_err(|error| broken(error.to_string()))?;
    let user_id = OwnedUserId::try_from(saga.user_id.as_str()).map_err(|error| broken(error.to_string()))?;
    let rules = RoomRules::of(&saga.room_version).map_err(|error| broken(error.to_string()))?;
    let signed =
        Signed::read(&room_id, rules, saga.event.clone()).map_err(|error| broken(error.to_string()))?;
    let known = Known::read(federation, &room_id, &user_id).await?;
    if known.is_joined() {
        known::forget_out_of_band(federation, &room_id, &user_id).await?;
        held.finish().await?;
        return Ok(known.event_id);
    }
    let servers = candidates::distinct(federation.name(), saga.servers.iter().map(String::as_str));
    match deliver(federation, &room_id, &signed, &servers).await {
        Ok((server, body)) => finish(federation, held, (&room_id, &user_id), &signed, &server, body).await,
        Err((failure, Fate::Refused)) => {
            held.finish().await?;
            Err(failure.to_status())
        }
        Err((failure, _)) if saga.attempts >= MAX_ATTEMPTS => {
            if let Some(server) = servers.first() {
                undo(held, (&room_id, &user_id), &signed, server, failure.to_string()).await?;
            }
            Err(failure.to_status())
        }
        Err((failure, _)) => {
            held.postpone(saga::pause(saga.attempts), failure.to_string()).await;
            Err(failure.to_status())
        }
    }
}
