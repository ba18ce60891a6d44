//! `device_lists`: whose keys the client has to ask for anew, and whose it need not know any more.

use plexus_matrix_http::token::SyncToken;
use plexus_proto::user::v1::ListDeviceListChangesRequest;
use ruma::OwnedUserId;

use super::{
    context::{Context, Problem},
    response::DeviceLists,
};
use crate::{SyncService, view::Room};

/// Whether anything may have changed since a token; `rooms` are those in which something happened.
pub(super) fn may_have_changed<'r>(
    service: &SyncService,
    since: &SyncToken,
    mut rooms: impl Iterator<Item = &'r Room>,
) -> bool {
    let news = &service.view.keys;
    since.users.iter().enumerate().any(|(partition, seq)| news.users.may_be_after(partition, *seq))
        || rooms.any(|room| {
            let known = since.rooms.get(room.partition).copied().unwrap_or_default();
            news.rooms.may_be_after(room.partition, known)
        })
}

/// Asks what changed since a token.
pub(super) async fn changes(context: &Context<'_>, since: &SyncToken) -> Result<DeviceLists, Problem> {
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
