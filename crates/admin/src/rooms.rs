//! `plexus-admin room …` and `plexus-admin explain`: rooms and single events.

use anyhow::Context as _;
use plexus_proto::operator::v1::{
    ExplainEventRequest, ListExtremitiesRequest, PurgeRoomRequest, ReprocessRequest, VerifyRoomRequest,
    explain_service_client::ExplainServiceClient, reprocess_request::Target,
    room_admin_service_client::RoomAdminServiceClient,
};
use plexus_service::{RpcChannel, outln};

/// Verifies a room; fails if its state does not agree.
pub(crate) async fn verify(channel: RpcChannel, room_id: String) -> anyhow::Result<()> {
    let mut client = RoomAdminServiceClient::new(channel);
    let found =
        client.verify_room(VerifyRoomRequest { room_id }).await.context("the room is not verified")?;
    let found = found.into_inner();
    outln!(
        "{} events, {} resolutions, {} taken as stored, {} outliers, {} ms",
        found.events,
        found.resolutions,
        found.taken_as_stored,
        found.outliers,
        found.elapsed_ms
    );
    for difference in &found.differences {
        if !difference.damage.is_empty() {
            outln!("{}: {}", difference.event_id, difference.damage);
            continue;
        }
        let which = match (difference.members, difference.other) {
            (true, true) => "members and other state",
            (true, false) => "members",
            _ => "other state",
        };
        outln!("{}: {which} differ", difference.event_id);
    }
    outln!("{} events differ", found.differing);
    outln!("current state {}", if found.current_state_agrees { "agrees" } else { "DIFFERS" });
    anyhow::ensure!(found.agrees, "the stored state is not what the events say");
    Ok(())
}

/// Lists the ends of a room's event graph.
pub(crate) async fn extremities(channel: RpcChannel, room_id: String) -> anyhow::Result<()> {
    let mut client = RoomAdminServiceClient::new(channel);
    let found = client.list_extremities(ListExtremitiesRequest { room_id }).await?.into_inner();
    for end in found.forward {
        outln!("forward   {} depth {} {} by {}", end.event_id, end.depth, end.r#type, end.sender);
    }
    for end in found.backward {
        outln!("missing   {} cited by {}", end.event_id, end.cited_by);
    }
    Ok(())
}

/// Judges again an event, or what is parked in a room.
pub(crate) async fn reprocess(channel: RpcChannel, id: String) -> anyhow::Result<()> {
    let target = if id.starts_with('$') { Target::EventId(id) } else { Target::RoomId(id) };
    let request = ReprocessRequest { target: Some(target) };
    let done = RoomAdminServiceClient::new(channel).reprocess(request).await?.into_inner();
    if done.fetched_again {
        outln!("the event is asked for again");
    } else if done.seq > 0 {
        outln!("the event is part of the timeline, seq {}", done.seq);
    } else {
        outln!("asked again for what {} parked events lack", done.asked_again);
    }
    Ok(())
}

/// Deletes a room.
pub(crate) async fn purge(channel: RpcChannel, room_id: String, force: bool) -> anyhow::Result<()> {
    let request = PurgeRoomRequest { room_id, force };
    let done = RoomAdminServiceClient::new(channel).purge_room(request).await?.into_inner();
    outln!("deleted; {} users left for it", done.left);
    Ok(())
}

/// Explains an event.
pub(crate) async fn explain(channel: RpcChannel, event_id: String) -> anyhow::Result<()> {
    let mut client = ExplainServiceClient::new(channel);
    let found = client.explain_event(ExplainEventRequest { event_id }).await.context("no explanation")?;
    let found = found.into_inner();
    let standing = found.standing().as_str_name().trim_start_matches("EVENT_STANDING_").to_lowercase();
    outln!("{} in {} (version {}): {standing}", found.event_id, found.room_id, found.room_version);
    if !found.rule.is_empty() {
        outln!("refused by {}: {}", found.stage, found.rule);
    }
    for missing in &found.missing {
        let kind = if missing.is_prev { "previous" } else { "auth" };
        outln!("waits for {kind} event {}, asked for {} times", missing.event_id, found.attempts);
    }
    for auth in &found.auth_events {
        let rejected = if auth.rejected { ", rejected" } else { "" };
        let key = auth.state_key.as_deref().unwrap_or_default();
        outln!("auth event {} {} {key:?} by {}{rejected}", auth.event_id, auth.r#type, auth.sender);
    }
    if let Some(state) = &found.state_after {
        outln!("state after: members {} other {}", state.members, state.other);
    }
    if let Some(resolution) = &found.resolution {
        outln!("state before: resolved from {} states", resolution.states);
        for key in &resolution.conflicting {
            outln!("  {} {:?}: {} of {}", key.r#type, key.state_key, key.resolved, key.event_ids.join(", "));
        }
        for step in &resolution.steps {
            let verdict = if step.refused.is_empty() { "allowed" } else { step.refused.as_str() };
            outln!("  {} {} {:?}: {verdict}", step.event_id, step.r#type, step.state_key);
        }
    }
    Ok(())
}
