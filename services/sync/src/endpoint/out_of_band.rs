//! Rooms that this server is not in: what other servers have told of the user, and of the rooms for that.

use std::sync::Arc;

use plexus_matrix_http::{
    event::{EventFormat, client_room_event, stripped_event},
    token::TimelineToken,
};
use plexus_proto::room::v1::RoomEvent;
use ruma::RoomId;
use serde_json::value::RawValue;
use tracing::error;

use super::{
    context::Context,
    response::{Events, InvitedRoom, KnockedRoom, LeftRoom, Response, State, Timeline},
};
use crate::view::{Membership, OutOfBand, Reading};

/// Puts the rooms into the answer.
pub(crate) fn tell(context: &Context<'_>, reading: &Reading, response: &mut Response) {
    for (room_id, told) in &reading.out_of_band {
        if !context.request.filter.wants_room(room_id) {
            continue;
        }
        match told.membership {
            Membership::Invite => {
                if reading.blocks_invites || reading.attention.ignored.contains(&told.sender) {
                    continue;
                }
                let invite_state = stripped_state(told);
                response.rooms.invite.insert(room_id.clone(), InvitedRoom { invite_state });
            }
            Membership::Knock => {
                let knock_state = stripped_state(told);
                response.rooms.knock.insert(room_id.clone(), KnockedRoom { knock_state });
            }
            Membership::Leave | Membership::Ban => {
                if context.since.is_some() || context.request.filter.include_leave() {
                    response.rooms.leave.insert(room_id.clone(), left(context, room_id, told));
                }
            }
            // It is the room itself that tells it.
            Membership::Join => {}
        }
    }
}

/// What is told of the room, and at the end the member event of the user.
fn stripped_state(told: &OutOfBand) -> Events {
    let state: Vec<Box<RawValue>> = serde_json::from_slice(&told.stripped_state).unwrap_or_default();
    let own = stripped_event(&told.event)
        .inspect_err(|failure| error!(error = %failure, "member event cannot be shown"))
        .ok();
    Events { events: state.into_iter().chain(own).map(Arc::from).collect() }
}

/// A room that the user has nothing to do with any more: the member event that says so, if it is one.
fn left(context: &Context<'_>, room_id: &RoomId, told: &OutOfBand) -> LeftRoom {
    let shown = (!told.event_id.is_empty()).then(|| {
        let event = RoomEvent {
            event_id: told.event_id.clone(),
            room_id: room_id.to_string(),
            json: told.event.clone(),
            ..RoomEvent::default()
        };
        let user = &context.request.user;
        client_room_event(&event, &user.id, &user.device_id, context.now, EventFormat::Sync)
            .inspect_err(|failure| error!(room.id = %room_id, error = %failure, "event cannot be shown"))
            .ok()
    });
    let wanted = context.request.filter.wants_timeline(room_id);
    let events = shown.flatten().filter(|_| wanted).map(Arc::from).into_iter().collect();
    LeftRoom {
        state: State::new(Vec::new(), context.request.state_after),
        timeline: Timeline { events, limited: false, prev_batch: TimelineToken(0) },
        account_data: Events::default(),
    }
}
