//! `RoomSummaryService.WalkSpace`
//!
//! The tree is read level by level, a few statements for each, and told depth first. A room is told once, where it comes
//! first; so loops end.

use std::collections::{HashMap, HashSet};

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{SpaceRoom, WalkSpaceRequest, WalkSpaceResponse};
use tonic::Status;

use super::{
    ROOMS, describe,
    facts::{Child, Room, Viewer},
    user,
};
use crate::{
    rpc::check::{self, failed, forbidden, invalid},
    store::{StoreError, reads},
};

/// Most rooms of a page.
const PAGE: u32 = 100;
/// Levels below the space that are read.
const MAX_DEPTH: u32 = 32;
/// Rooms of a tree that are read; further ones are left out.
const MAX_ROOMS: usize = 5000;
/// Children of one space that are read.
const MAX_CHILDREN: i64 = 1000;
/// Type of spaces.
const SPACE: &str = "m.space";

pub(super) async fn answer(
    conn: &AsyncPgConnection,
    request: WalkSpaceRequest,
) -> Result<WalkSpaceResponse, Status> {
    let WalkSpaceRequest { room_id, viewer, suggested_only, max_depth, offset, limit, server } = request;
    check::room_id("room_id", &room_id)?;
    check::storable("room_id", &room_id)?;
    let viewer = if server.is_empty() {
        user("viewer", &viewer)?;
        Viewer::User(&viewer)
    } else {
        check::name("server", &server)?;
        Viewer::Server(&server)
    };
    if !(1..=PAGE).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {PAGE}")));
    }
    let max_depth = max_depth.min(MAX_DEPTH);
    let mut tree = Tree { nodes: HashMap::new(), suggested_only };
    tree.read(conn, viewer, &room_id, max_depth).await.map_err(|error| failed(&error))?;
    if !tree.nodes.contains_key(&room_id) {
        return Err(forbidden("you may not know of this room"));
    }
    let order = tree.order(&room_id, max_depth);
    let to = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let page = order.iter().skip(to(offset)).take(to(limit)).filter_map(|room_id| {
        let node = tree.nodes.remove(room_id)?;
        let children = node.children.into_iter().map(|child| child.json.into()).collect();
        Some(SpaceRoom { summary: Some(node.room.summary), children })
    });
    let rooms = page.collect();
    Ok(WalkSpaceResponse { rooms, more: order.len() > to(offset).saturating_add(to(limit)) })
}

/// Rooms that the viewer may know of.
struct Tree {
    nodes: HashMap<String, Node>,
    suggested_only: bool,
}

struct Node {
    room: Room,
    children: Vec<Child>,
}

impl Tree {
    async fn read(
        &mut self,
        conn: &AsyncPgConnection,
        viewer: Viewer<'_>,
        root: &str,
        max_depth: u32,
    ) -> Result<(), StoreError> {
        let mut asked = HashSet::from([root.to_owned()]);
        let mut level = vec![root.to_owned()];
        for _ in 0..=max_depth {
            let mut next = Vec::new();
            for room_ids in level.chunks(ROOMS) {
                let mut rooms = describe(conn, viewer, room_ids).await?;
                rooms.retain(|room| room.accessible);
                let mut children = self.children(conn, &rooms).await?;
                for room in rooms {
                    let children = children.remove(&room.nid).unwrap_or_default();
                    for child in &children {
                        if asked.len() < MAX_ROOMS && asked.insert(child.room_id.clone()) {
                            next.push(child.room_id.clone());
                        }
                    }
                    self.nodes.insert(room.summary.room_id.clone(), Node { room, children });
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        Ok(())
    }

    async fn children(
        &self,
        conn: &AsyncPgConnection,
        rooms: &[Room],
    ) -> Result<HashMap<i64, Vec<Child>>, StoreError> {
        let spaces = rooms.iter().filter(|room| room.summary.room_type == SPACE).map(|room| room.nid);
        let spaces = spaces.collect::<Vec<_>>();
        let mut children: HashMap<i64, Vec<Child>> = HashMap::new();
        if spaces.is_empty() {
            return Ok(children);
        }
        for fact in reads::facts::list_children(conn, &spaces, &MAX_CHILDREN).await? {
            let space = fact.room_nid;
            if let Some(child) = Child::read(fact).filter(|child| child.suggested || !self.suggested_only) {
                children.entry(space).or_default().push(child);
            }
        }
        for list in children.values_mut() {
            list.sort_by(|a, b| a.key().cmp(&b.key()));
        }
        Ok(children)
    }

    /// The rooms depth first.
    fn order(&self, root: &str, max_depth: u32) -> Vec<String> {
        let mut seen = HashSet::new();
        let mut order = Vec::new();
        // The next one last.
        let mut stack = vec![(root, 0)];
        while let Some((room_id, depth)) = stack.pop() {
            let Some(node) = self.nodes.get(room_id).filter(|_| seen.insert(room_id)) else { continue };
            order.push(room_id.to_owned());
            if depth < max_depth {
                stack.extend(node.children.iter().rev().map(|child| (child.room_id.as_str(), depth + 1)));
            }
        }
        order
    }
}
