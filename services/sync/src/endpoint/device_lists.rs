//! `device_lists`: whose keys the client has to ask for anew, and whose it need not know any more.

use plexus_proto::user::v1::ListDeviceListChangesRequest;
use ruma::OwnedUserId;

use super::{
    context::{Context, Problem},
    response::DeviceLists,
};
use crate::view::Candidate;

/// Whether anything may have changed; `candidates` are the rooms in which something happened.
pub(super) fn may_have_changed(context: &Context<'_>, candidates: &[Candidate]) -> bool {
    // A client that begins asks for whatever it needs.
    let Some(since) = &context.since else { return false };
    let news = &context.service.view.keys;
    since.users.iter().enumerate().any(|(partition, seq)| news.users.may_be_after(partition, *seq))
        || candidates.iter().any(|candidate| {
            let partition = candidate.room.partition;
            let known = since.rooms.get(partition).copied().unwrap_or_default();
            news.rooms.may_be_after(partition, known)
        })
}

/// Asks what changed since the client's token.
pub(super) async fn changes(context: &Context<'_>) -> Result<DeviceLists, Problem> {
    let Some(since) = &context.since else { return Ok(DeviceLists::default()) };
    let request = ListDeviceListChangesRequest {
        viewer: context.user_id().to_string(),
        from_rooms: since.rooms.to_vec(),
        from_users: since.users.to_vec(),
        generation: 0,
        to_users: context.cut.users.to_vec(),
    };
    let changes = context.service.upstream.device_list_changes(request).await?;
    Ok(DeviceLists { changed: read(changes.changed), left: read(changes.left) })
}

fn read(users: Vec<String>) -> Vec<OwnedUserId> {
    let mut users: Vec<OwnedUserId> =
        users.into_iter().filter_map(|user| OwnedUserId::try_from(user).ok()).collect();
    users.sort_unstable();
    users
}
