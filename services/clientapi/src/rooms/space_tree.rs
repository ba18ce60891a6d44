//! Spaces with rooms in them that only other servers know: those are asked for them, level by level, and all is told depth
//! first.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use plexus_matrix_http::{AuthedUser, MatrixError, summary::space_room};
use plexus_proto::{
    federation::v1::GetSpaceResponse,
    room::v1::{GetRoomsRequest, SpaceRoom, WalkSpaceRequest},
};
use ruma::{RoomId, UserId};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Rooms, ask, remote_queries::parse};

/// Rooms of the tree that are read here at once.
const PAGE: u32 = 100;
/// Rooms of a tree that are told.
const MAX_ROOMS: usize = 5000;
/// Rooms that other servers are asked for, and how many at once.
const MAX_ASKED: usize = 100;
const AT_ONCE: usize = 8;
/// How long that may take; rooms that were not told by then are left out.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most servers that are named for a room.
const MAX_VIA: usize = 10;

/// A space, and how far it is read.
pub(super) struct Walk<'a> {
    pub(super) room_id: &'a RoomId,
    pub(super) suggested_only: bool,
    pub(super) max_depth: u32,
}

/// A room of the tree.
struct Node {
    told: Value,
    children: Vec<Child>,
    /// Whether its children are still to be asked for.
    is_open: bool,
}

/// A child that a space names, with the servers that may know it.
#[derive(Clone)]
struct Child {
    room_id: String,
    via: Vec<String>,
}

#[derive(Default)]
struct Tree {
    nodes: HashMap<String, Node>,
    /// Rooms that nobody has to be asked for any more.
    settled: HashSet<String>,
}

impl Rooms {
    /// Whether rooms of a page name children of which other servers may know more than this one.
    pub(super) async fn has_children_elsewhere(&self, rooms: &[SpaceRoom]) -> Result<bool, MatrixError> {
        if !self.asks_others() {
            return Ok(false);
        }
        let told: HashSet<&str> =
            rooms.iter().filter_map(|room| Some(room.summary.as_ref()?.room_id.as_str())).collect();
        let named = rooms.iter().flat_map(|room| &room.children).filter_map(|json| child(&parse(json).ok()?));
        let named = named.map(|child| child.room_id).filter(|room_id| !told.contains(room_id.as_str()));
        let named: HashSet<String> = named.take(MAX_ROOMS).collect();
        let known = self.residencies(&named).await?;
        Ok(named.iter().any(|room_id| !known.contains(room_id)))
    }

    /// Those of some rooms that this server is in.
    async fn residencies(&self, room_ids: &HashSet<String>) -> Result<HashSet<String>, MatrixError> {
        let mut resident = HashSet::new();
        let room_ids: Vec<&String> = room_ids.iter().collect();
        for room_ids in room_ids.chunks(1000) {
            let request = GetRoomsRequest { room_ids: room_ids.iter().map(ToString::to_string).collect() };
            let rooms = ask(self.queries.clone().get_rooms(request)).await?.rooms;
            resident.extend(rooms.into_iter().filter(|room| room.resident).map(|room| room.room_id));
        }
        Ok(resident)
    }

    /// Reads a space, wherever its rooms are, depth first.
    pub(super) async fn whole_space(
        &self,
        user: &AuthedUser,
        walk: &Walk<'_>,
    ) -> Result<Vec<Value>, MatrixError> {
        let root = walk.room_id.to_string();
        let mut tree = self.local_tree(user, walk).await?;
        let root_child = Child { room_id: root.clone(), via: Vec::new() };
        let (end, mut asked) = (Instant::now() + PATIENCE, 0);
        let mut level = vec![root_child];
        let mut seen = HashSet::from([root.clone()]);
        for depth in 0..=walk.max_depth {
            let unknown = level.iter().filter(|child| match tree.nodes.get(&child.room_id) {
                Some(node) => node.is_open && depth < walk.max_depth,
                None => !tree.settled.contains(&child.room_id),
            });
            let ids: HashSet<String> = unknown.map(|child| child.room_id.clone()).collect();
            let resident = self.residencies(&ids).await?;
            asked += self.add_own(user, walk, depth, &resident, (&mut tree, MAX_ASKED - asked)).await?;
            let elsewhere = level.iter().filter(|child| ids.contains(&child.room_id));
            let questions: Vec<Child> =
                elsewhere.filter(|child| !resident.contains(&child.room_id)).cloned().collect();
            let questions = questions.into_iter().take(MAX_ASKED - asked);
            asked += questions.len();
            let question = async |child: Child| {
                let Child { room_id, via } = child;
                let answer = timeout_at(end, self.remote_space(&room_id, via, walk.suggested_only)).await;
                (room_id, answer)
            };
            let answers: Vec<_> = stream::iter(questions).map(question).buffered(AT_ONCE).collect().await;
            for (room_id, answer) in answers {
                match answer {
                    Ok(Ok(answer)) => self.take(user, &mut tree, answer).await?,
                    Ok(Err(error)) if room_id == root => return Err(not_told(error)),
                    Err(_) if room_id == root => return Err(MatrixError::timed_out()),
                    Ok(Err(_)) | Err(_) => {}
                }
                tree.settled.insert(room_id);
            }
            let mut next = Vec::new();
            for child in &level {
                let Some(node) = tree.nodes.get(&child.room_id) else { continue };
                for child in &node.children {
                    if seen.len() < MAX_ROOMS && seen.insert(child.room_id.clone()) {
                        next.push(child.clone());
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        if !tree.nodes.contains_key(&root) {
            return Err(MatrixError::forbidden("You may not know of this room"));
        }
        Ok(tree.order(&root, walk.max_depth))
    }

    /// Adds rooms that this server is in and that only a space of another server names, with what is below them; returns
    /// how many were looked for.
    async fn add_own(
        &self,
        user: &AuthedUser,
        walk: &Walk<'_>,
        depth: u32,
        resident: &HashSet<String>,
        (tree, most): (&mut Tree, usize),
    ) -> Result<usize, MatrixError> {
        let new: Vec<&String> =
            resident.iter().filter(|room_id| !tree.nodes.contains_key(*room_id)).take(most).collect();
        for room_id in &new {
            let Ok(room_id) = RoomId::parse(room_id.as_str()) else { continue };
            let below = Walk { room_id: &room_id, max_depth: walk.max_depth.saturating_sub(depth), ..*walk };
            for (room_id, node) in self.local_tree(user, &below).await?.nodes {
                tree.nodes.entry(room_id).or_insert(node);
            }
            tree.settled.insert(room_id.to_string());
        }
        Ok(new.len())
    }

    /// What this server knows of the tree.
    async fn local_tree(&self, user: &AuthedUser, walk: &Walk<'_>) -> Result<Tree, MatrixError> {
        let mut tree = Tree::default();
        let mut offset = 0;
        while tree.nodes.len() < MAX_ROOMS {
            let request = WalkSpaceRequest {
                room_id: walk.room_id.to_string(),
                viewer: user.id.to_string(),
                suggested_only: walk.suggested_only,
                max_depth: walk.max_depth,
                offset,
                limit: PAGE,
                server: String::new(),
            };
            let page = match ask(self.summaries.clone().walk_space(request)).await {
                Ok(page) => page,
                Err(error) if error.is("M_FORBIDDEN") => break,
                Err(error) => return Err(error),
            };
            for room in page.rooms {
                tree.insert(space_room(room)?, false);
            }
            if !page.more {
                break;
            }
            offset = offset.saturating_add(PAGE);
        }
        Ok(tree)
    }

    /// Takes what another server has told of a room and its children, as far as the user may know of them.
    async fn take(
        &self,
        user: &AuthedUser,
        tree: &mut Tree,
        answer: GetSpaceResponse,
    ) -> Result<(), MatrixError> {
        let mut rooms = vec![(parse(&answer.room)?, false)];
        for child in &answer.children {
            let child = parse(child)?;
            // Its own children are told by whoever is asked for it.
            let is_space = child["room_type"] == "m.space";
            rooms.push((child, is_space));
        }
        for (room, is_open) in rooms {
            let room_id = room["room_id"].as_str().unwrap_or_default().to_owned();
            let is_news = tree.nodes.get(&room_id).is_none_or(|node| node.is_open && !is_open);
            if is_news && self.may_know(Some(&user.id), &room).await? {
                tree.insert(room, is_open);
            }
            tree.settled.insert(room_id);
        }
        tree.settled.extend(answer.inaccessible_children);
        Ok(())
    }

    /// Whether somebody may know of a room that another server has described.
    pub(super) async fn may_know(&self, user: Option<&UserId>, room: &Value) -> Result<bool, MatrixError> {
        let rule = room["join_rule"].as_str().unwrap_or("public");
        if matches!(rule, "public" | "knock" | "knock_restricted") || room["world_readable"] == true {
            return Ok(true);
        }
        let Some(user) = user else { return Ok(false) };
        let allowed = room["allowed_room_ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let allowed = allowed.filter(|_| rule == "restricted");
        for room_id in allowed.chain(room["room_id"].as_str()) {
            let Ok(room_id) = RoomId::parse(room_id) else { continue };
            let members = self.memberships(&room_id, &[user]).await?;
            let membership = members.out_of_band(user).or_else(|| members.of(user));
            let is_itself = Some(room_id.as_str()) == room["room_id"].as_str();
            match membership {
                Some("join") => return Ok(true),
                Some("invite") if is_itself => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}

impl Tree {
    fn insert(&mut self, told: Value, is_open: bool) {
        let Some(room_id) = told["room_id"].as_str().map(ToOwned::to_owned) else { return };
        let children = told["children_state"].as_array().into_iter().flatten();
        let mut children: Vec<(Order, Child)> =
            children.filter_map(|event| Some((order_of(event), child(event)?))).collect();
        children.sort_by(|(a, _), (b, _)| a.cmp(b));
        let children = children.into_iter().map(|(_, child)| child).collect();
        let mut told = told;
        if told.get("children_state").is_none() {
            told["children_state"] = Value::Array(Vec::new());
        }
        self.nodes.insert(room_id, Node { told, children, is_open });
    }

    /// The rooms depth first, each where it comes first.
    fn order(mut self, root: &str, max_depth: u32) -> Vec<Value> {
        let mut order = Vec::new();
        let mut stack = vec![(root.to_owned(), 0)];
        while let Some((room_id, depth)) = stack.pop() {
            let Some(node) = self.nodes.remove(&room_id) else { continue };
            order.push(node.told);
            if depth < max_depth {
                stack.extend(node.children.into_iter().rev().map(|child| (child.room_id, depth + 1)));
            }
        }
        order
    }
}

/// Who may not know of a room is not told that there is one.
fn not_told(error: MatrixError) -> MatrixError {
    if error.is("M_NOT_FOUND") { MatrixError::forbidden("You may not know of this room") } else { error }
}

/// Those with an order come first, by that, then the oldest, then by ID.
type Order = (bool, String, i64, String);

fn order_of(event: &Value) -> Order {
    let is_order = |order: &&str| order.len() <= 50 && order.chars().all(|c| (' '..='~').contains(&c));
    let order = event["content"]["order"].as_str().filter(is_order);
    let ts = event["origin_server_ts"].as_i64().unwrap_or_default();
    let room_id = event["state_key"].as_str().unwrap_or_default().to_owned();
    (order.is_none(), order.unwrap_or_default().to_owned(), ts, room_id)
}

fn child(event: &Value) -> Option<Child> {
    let via = event["content"]["via"].as_array()?;
    let via = via.iter().filter_map(Value::as_str).take(MAX_VIA).map(ToOwned::to_owned).collect();
    Some(Child { room_id: event["state_key"].as_str()?.to_owned(), via })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn loops_end_and_rooms_are_told_once() {
        let mut tree = Tree::default();
        let child =
            |room: &str| json!({ "state_key": room, "content": { "via": ["x"] }, "origin_server_ts": 1 });
        for (room, children) in
            [("a", vec!["b", "c"]), ("b", vec!["a", "d"]), ("c", vec!["d"]), ("d", vec![])]
        {
            let children: Vec<_> = children.into_iter().map(child).collect();
            tree.insert(json!({ "room_id": room, "children_state": children }), false);
        }
        let order = tree.order("a", 9);
        let order: Vec<_> = order.iter().map(|room| room["room_id"].as_str().unwrap()).collect();
        assert_eq!(order, ["a", "b", "d", "c"]);
    }
}
