//! Decides which events a server may see: history visibility, by the memberships of its users at each event.

use std::collections::HashMap;

use diesel_async::AsyncPgConnection;

use crate::{
    app::App,
    store::{StoreError, reads, reads::graph::NodeRow},
    visibility::{HistoryVisibility, Membership},
};

/// Most users of a server who are looked at.
const MAX_USERS: i64 = 1000;

/// For each event, whether the server may see it.
///
/// Of rooms that are shared or world-readable, every server in the room may see all. Else one of its users must have been
/// in the room, or invited where that is enough, after the event or before it: the state after an event holds both but for
/// member events, and whom these remove gets to see them.
pub(super) async fn of_server(
    app: &App,
    conn: &AsyncPgConnection,
    room_nid: i64,
    rows: &[NodeRow],
    server: &str,
) -> Result<Vec<bool>, StoreError> {
    let is_open = |row: &NodeRow| {
        matches!(
            HistoryVisibility::from_column(row.visibility),
            HistoryVisibility::Shared | HistoryVisibility::WorldReadable
        )
    };
    if rows.iter().all(is_open) {
        return Ok(vec![true; rows.len()]);
    }
    let users = reads::graph::list_users_of_server(conn, server, &room_nid, &MAX_USERS).await?;
    let keys: Vec<(&str, &str)> = users.iter().map(|(user,)| ("m.room.member", user.as_str())).collect();
    let mut held: HashMap<i64, Vec<i64>> = HashMap::new();
    for row in rows.iter().filter(|row| !is_open(row)) {
        if let std::collections::hash_map::Entry::Vacant(entry) = held.entry(row.members_root) {
            let found = reads::state::find(&app.nodes, conn, room_nid, row.members_root, &keys).await?;
            entry.insert(found.into_iter().flatten().collect());
        }
    }
    let replaced = replaced(conn, rows, &users).await?;
    let mut nids: Vec<i64> = held.values().flatten().copied().collect();
    nids.extend(replaced.values());
    nids.sort_unstable();
    nids.dedup();
    let memberships: HashMap<i64, Membership> = reads::graph::list_memberships(conn, &nids)
        .await?
        .into_iter()
        .map(|(nid, membership)| (nid, membership.as_deref().map_or(Membership::Leave, Membership::parse)))
        .collect();
    let sees = |row: &NodeRow| {
        let visibility = HistoryVisibility::from_column(row.visibility);
        let after = held.get(&row.members_root).into_iter().flatten();
        after.chain(replaced.get(&row.event_nid)).any(|nid| match memberships.get(nid) {
            Some(Membership::Join) => true,
            // Whoever is invited gets to see the invite.
            Some(Membership::Invite) => visibility == HistoryVisibility::Invited || *nid == row.event_nid,
            Some(Membership::Knock | Membership::Leave | Membership::Ban) | None => *nid == row.event_nid,
        })
    };
    Ok(rows.iter().map(|row| is_open(row) || sees(row)).collect())
}

/// For member events of users of the server: the member event before it.
async fn replaced(
    conn: &AsyncPgConnection,
    rows: &[NodeRow],
    users: &[(String,)],
) -> Result<HashMap<i64, i64>, StoreError> {
    let nids: Vec<i64> = rows.iter().map(|row| row.event_nid).collect();
    let names: Vec<String> = users.iter().map(|(user,)| user.clone()).collect();
    Ok(reads::graph::list_replaced(conn, &names, &nids).await?.into_iter().collect())
}
