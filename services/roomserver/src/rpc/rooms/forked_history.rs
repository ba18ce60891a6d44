//! Reads memberships at events of forked graphs from the state at each event.

use std::collections::{BTreeMap, HashMap, btree_map::Entry};

use diesel_async::AsyncPgConnection;

use super::access::{Facts, View};
use crate::{
    app::App,
    store::{StoreError, reads},
    visibility::{MemberHistory, Membership},
};

impl View {
    /// Whether the viewer may see what the room was like at an event. Where the graph is forked, the order of the timeline
    /// does not tell.
    pub(super) async fn may_see_state_exactly(
        &self,
        app: &App,
        conn: &AsyncPgConnection,
        event_nid: i64,
        facts: &Facts<'_>,
    ) -> Result<bool, StoreError> {
        let Some(viewer) = self.viewer.as_ref() else { return Ok(true) };
        if !self.room.forked {
            return Ok(facts.state_visible_to(&viewer.user_id, &viewer.history));
        }
        let mut histories = HashMap::from([(self.room.room_nid, viewer.history.clone())]);
        add_memberships_at(app, conn, &mut histories, &viewer.user_id, &[event_nid]).await?;
        Ok(histories.values().any(|history| facts.state_visible_to(&viewer.user_id, history)))
    }

    /// Tells the viewer's history the memberships at events, if the order of the timeline does not tell them.
    pub(super) async fn add_memberships_at(
        &mut self,
        app: &App,
        conn: &AsyncPgConnection,
        event_nids: &[i64],
    ) -> Result<(), StoreError> {
        let room = self.room.room_nid;
        let forked = self.room.forked;
        let Some(viewer) = self.viewer.as_mut().filter(|_| forked) else { return Ok(()) };
        let mut histories = HashMap::from([(room, std::mem::take(&mut viewer.history))]);
        let added = add_memberships_at(app, conn, &mut histories, &viewer.user_id, event_nids).await;
        viewer.history = histories.remove(&room).unwrap_or_default();
        added
    }
}

/// Tells histories of a user in rooms the memberships at events of those whose graph is forked.
pub(super) async fn add_memberships_at(
    app: &App,
    conn: &AsyncPgConnection,
    histories: &mut HashMap<i64, MemberHistory>,
    user_id: &str,
    event_nids: &[i64],
) -> Result<(), StoreError> {
    let standings = reads::graph::list_memberships_at(conn, user_id, event_nids).await?;
    if standings.is_empty() {
        return Ok(());
    }
    // Many events have the same members behind them.
    let mut held: BTreeMap<(i64, i64), Option<i64>> = BTreeMap::new();
    for row in &standings {
        if let Entry::Vacant(entry) = held.entry((row.room_nid, row.members_root)) {
            let key = [("m.room.member", user_id)];
            let found = reads::state::find(&app.nodes, conn, row.room_nid, row.members_root, &key).await?;
            entry.insert(found.into_iter().next().flatten());
        }
    }
    let mut nids: Vec<i64> = held.values().flatten().copied().collect();
    nids.extend(standings.iter().filter(|row| row.own).filter_map(|row| row.replaces_nid));
    nids.sort_unstable();
    nids.dedup();
    let memberships: HashMap<i64, Membership> = reads::graph::list_memberships(conn, &nids)
        .await?
        .into_iter()
        .map(|(nid, membership)| (nid, membership.as_deref().map_or(Membership::Leave, Membership::parse)))
        .collect();
    let membership =
        |nid: Option<i64>| nid.and_then(|nid| memberships.get(&nid)).copied().unwrap_or(Membership::Leave);
    for row in standings {
        let after = membership(held.get(&(row.room_nid, row.members_root)).copied().flatten());
        let before = if row.own { membership(row.replaces_nid) } else { after };
        if let Some(history) = histories.get_mut(&row.room_nid) {
            history.set_exact(row.seq, before, after);
        }
    }
    Ok(())
}
