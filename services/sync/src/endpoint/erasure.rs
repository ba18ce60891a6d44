//! Redacts events of erased users for the viewer: those who were not in the room at the event get what
//! redaction leaves of it, unless they came before the sender asked.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate)

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use plexus_proto::{log::v1::HistoryVisibility, room::v1::RoomEvent};
use ruma::{OwnedEventId, UserId};

use super::{
    context::{Context, Problem},
    timeline::Timeline,
};
use crate::{
    SyncService, limits,
    upstream::{Upstream, UpstreamError},
    view::{At, Candidate, Event, Membership, RecordError},
};

/// Makes sure that this process knows of all who asked to be erased before an answer begins that tells a user of events
/// from before they came into a room: the log of users may lag behind those of rooms.
pub(crate) async fn learn(
    service: &SyncService,
    candidates: &[Candidate],
    full_state: bool,
) -> Result<bool, UpstreamError> {
    let knows_room = |candidate: &Candidate| matches!(&candidate.then, At::Known(then) if then.membership == Membership::Join);
    if !full_state && candidates.iter().all(knows_room) {
        return Ok(true);
    }
    let mut target = service.positions.cut(0);
    target.users = service.upstream.user_heads().await?;
    Ok(service.positions.reach(&target, limits::CATCH_UP).await)
}

/// Puts the redacted copies that the user is served in place of events of a timeline and a state.
pub(crate) async fn serve(
    context: &Context<'_>,
    timeline: &mut Timeline,
    state: &mut [Arc<Event>],
) -> Result<(), Problem> {
    let erased = &context.service.upstream.erased;
    if erased.is_empty() {
        return Ok(());
    }
    // Who was in the room at an event reads it as it was.
    let unseen = timeline.events.iter_mut().filter(|seen| seen.membership != Membership::Join);
    let events = unseen.map(|seen| &mut seen.event).chain(state.iter_mut());
    let events: Vec<&mut Arc<Event>> = events.filter(|event| erased.contains(&event.sender)).collect();
    let ids: HashSet<String> = events.iter().map(|event| event.id.to_string()).collect();
    let copies = copies(&context.service.upstream, context.user_id(), ids).await?;
    for event in events {
        if let Some(copy) = copies.get(&event.id) {
            *event = Arc::clone(copy);
        }
    }
    Ok(())
}

/// The same for events as the room server answers them.
pub(crate) async fn serve_stored(context: &Context<'_>, events: &mut [RoomEvent]) -> Result<(), Problem> {
    Ok(copy_stored(&context.service.upstream, context.user_id(), events).await?)
}

/// The same where there is no answer to `/sync`.
pub(crate) async fn copy_stored(
    upstream: &Upstream,
    user: &UserId,
    events: &mut [RoomEvent],
) -> Result<(), UpstreamError> {
    let of_erased = events.iter().filter(|event| !event.erased_sender.is_empty());
    let ids: Vec<String> = of_erased.map(|event| event.event_id.clone()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let copies = upstream.copies(user, &ids).await?;
    let mut copies: HashMap<_, _> = copies.into_iter().map(|copy| (copy.event_id.clone(), copy)).collect();
    for event in events {
        if let Some(copy) = copies.remove(&event.event_id) {
            *event = copy;
        }
    }
    Ok(())
}

async fn copies(
    upstream: &Upstream,
    user: &UserId,
    ids: HashSet<String>,
) -> Result<HashMap<OwnedEventId, Arc<Event>>, Problem> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<String> = ids.into_iter().collect();
    let copies = upstream.copies(user, &ids).await?.into_iter().map(|copy| {
        let event = Event::stored(copy, HistoryVisibility::Joined)?;
        Ok((event.id.clone(), Arc::new(event)))
    });
    copies.collect::<Result<_, RecordError>>().map_err(|_| {
        UpstreamError::Nonsense { call: "RoomQuery.ListCopies", what: "an event that cannot be read" }.into()
    })
}
