//! Changes rooms for operators, by the input log.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{PurgeRoom, Reprocess, RoomControl, input_room_event::Body, room_control::Action},
    operator::v1::{
        PurgeRoomRequest, PurgeRoomResponse, ReprocessRequest, ReprocessResponse, reprocess_request::Target,
    },
};
use plexus_service::refusal::{reason_of, refusal};
use tonic::{Code, Status};
use tracing::info;

use super::find_room;
use crate::{
    app::App,
    rooms::RoomNid,
    rpc::{
        check::{event_id, failed, invalid, not_found, room_id},
        commands::submit_room,
    },
    store::{loads, pool, reads::vertices},
    worker::leave,
};

/// How often users are sent out who have joined in the meantime.
const ROUNDS: usize = 10_000;

/// Judges an event again, or what is parked in a room.
pub(super) async fn reprocess(app: &App, request: ReprocessRequest) -> Result<ReprocessResponse, Status> {
    let (room, event) = match request.target {
        None => return Err(invalid("target", "is not set")),
        Some(Target::RoomId(room)) => {
            room_id("room_id", &room)?;
            let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
            find_room(&conn, &room).await?;
            (room, String::new())
        }
        Some(Target::EventId(event)) => {
            event_id("event_id", &event)?;
            let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
            let found = vertices::find_room_with(&conn, &event).await.map_err(|error| failed(&error))?;
            let room = found.into_iter().next().ok_or_else(|| not_found("nothing is known of the event"))?;
            (room.0, event)
        }
    };
    let action = Action::Reprocess(Reprocess { event_id: event });
    let control = RoomControl { action: Some(action) };
    let accepted = submit_room(app, &room, Body::Control(control)).await?;
    let asked_again = u32::try_from(accepted.results.len()).unwrap_or(u32::MAX);
    info!(room.id = %room, asked_again, seq = accepted.seq, "judged again");
    Ok(ReprocessResponse {
        asked_again,
        fetched_again: accepted.event_id.is_empty() && accepted.results.is_empty() && accepted.seq > 0,
        seq: if accepted.event_id.is_empty() { 0 } else { accepted.seq },
    })
}

/// Deletes a room.
pub(super) async fn purge(app: &App, request: PurgeRoomRequest) -> Result<PurgeRoomResponse, Status> {
    let PurgeRoomRequest { room_id: room, force } = request;
    room_id("room_id", &room)?;
    let mut left = 0;
    for _ in 0..ROUNDS {
        let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
        let nid = RoomNid(find_room(&conn, &room).await?.room_nid);
        let server_name = &app.config.server.name;
        let joined =
            loads::find_joined_local(&conn, nid, server_name).await.map_err(|error| failed(&error))?;
        drop(conn);
        if joined.is_empty() || !force {
            let control = RoomControl { action: Some(Action::Purge(PurgeRoom {})) };
            match submit_room(app, &room, Body::Control(control)).await {
                // Somebody has joined in the meantime.
                Err(refused) if force && reason_of(&refused) == Some(ErrorReason::BadState) => continue,
                Err(refused) => return Err(refused),
                Ok(_) => {}
            }
            info!(room.id = %room, left, "deleted a room");
            return Ok(PurgeRoomResponse { left });
        }
        for user in joined {
            match submit_room(app, &room, Body::Intent(leave(user.into()))).await {
                Ok(_) => left += 1,
                // They have left by themselves.
                Err(refused) if reason_of(&refused) == Some(ErrorReason::Forbidden) => {}
                Err(refused) => return Err(refused),
            }
        }
    }
    Err(refusal(Code::FailedPrecondition, ErrorReason::BadState, "users go on joining the room"))
}
