//! Servers, users and rooms with which this server has nothing to do, because an operator said so. The room server keeps
//! them; they are read anew every few seconds.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::RwLock;
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{Block, BlockKind, ListBlocksRequest, block_service_client::BlockServiceClient},
};
use plexus_service::{Shutdown, refusal::refusal};
use ruma::{OwnedServerName, RoomId, UserId};
use tonic::{Code, Status};
use tracing::warn;

use crate::{Federation, upstream::timed};

/// How often blocks are read.
const EVERY: Duration = Duration::from_secs(3);
/// Most pages of them.
const MAX_PAGES: usize = 1_000;
/// How long it takes until they are asked for again at the beginning.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What is blocked. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Blocks(Arc<RwLock<Arc<Sets>>>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Sets {
    servers: HashSet<String>,
    users: HashSet<String>,
    rooms: HashSet<String>,
}

impl Blocks {
    fn now(&self) -> Arc<Sets> {
        Arc::clone(&self.0.read())
    }

    /// Whether a server is blocked.
    pub(crate) fn has_server(&self, server: &str) -> bool {
        self.now().servers.contains(server)
    }

    /// Whether a room is blocked.
    pub(crate) fn has_room(&self, room_id: &RoomId) -> bool {
        self.now().rooms.contains(room_id.as_str())
    }

    /// Refuses rooms and users that are blocked, toward other servers.
    pub(crate) fn check(&self, room_id: &RoomId, user_id: &UserId) -> Result<(), MatrixError> {
        let sets = self.now();
        if sets.rooms.contains(room_id.as_str()) || sets.users.contains(user_id.as_str()) {
            return Err(MatrixError::forbidden("An operator of this server does not want this"));
        }
        Ok(())
    }

    /// Refuses rooms that are blocked, toward our users.
    pub(crate) fn check_room(&self, room_id: &RoomId) -> Result<(), Status> {
        if self.has_room(room_id) {
            let message = "An operator of this server has blocked the room";
            return Err(refusal(Code::PermissionDenied, ErrorReason::Forbidden, message));
        }
        Ok(())
    }

    fn set(&self, blocks: Vec<Block>) {
        let mut sets = Sets::default();
        for block in blocks {
            match block.kind() {
                BlockKind::Server => drop(sets.servers.insert(block.name)),
                BlockKind::User => drop(sets.users.insert(block.name)),
                BlockKind::Room => drop(sets.rooms.insert(block.name)),
                BlockKind::Unspecified => {}
            }
        }
        *self.0.write() = Arc::new(sets);
    }
}

/// Reads what is blocked as soon as the room server answers.
async fn load(federation: &Federation) {
    while let Err(error) = read(federation).await {
        warn!(error = error.message(), "it is not known what is blocked, and nothing is; trying again");
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}

/// Reads it anew until shutdown.
pub(crate) async fn run(federation: Federation, shutdown: Shutdown) {
    tokio::select! {
        () = load(&federation) => {}
        () = shutdown.requested() => return,
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.requested() => return,
        }
        if let Err(error) = read(&federation).await {
            // What was blocked stays so.
            warn!(error = error.message(), "it cannot be read what is blocked");
        }
    }
}

async fn read(federation: &Federation) -> Result<(), Status> {
    let mut client = BlockServiceClient::new(federation.rooms.clone());
    let (mut blocks, mut after) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let page =
            client.list_blocks(timed(ListBlocksRequest { after, limit: 0 })).await?.into_inner().blocks;
        after = page.last().cloned();
        blocks.extend(page);
        if after.is_none() {
            break;
        }
    }
    let servers = blocks.iter().filter(|block| block.kind() == BlockKind::Server);
    let servers = servers.filter_map(|block| OwnedServerName::try_from(block.name.as_str()).ok());
    federation.peers.deny(servers.collect());
    federation.blocks.set(blocks);
    Ok(())
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, user_id};

    use super::*;

    #[test]
    fn what_is_blocked_is_refused_and_nothing_else() {
        let blocks = Blocks::default();
        let (room, user) = (room_id!("!r:x.test"), user_id!("@u:x.test"));
        blocks.check(room, user).unwrap();
        let block = |kind: BlockKind, name: &str| Block {
            kind: kind.into(),
            name: name.to_owned(),
            ..Block::default()
        };
        blocks.set(vec![block(BlockKind::User, "@u:x.test"), block(BlockKind::Server, "y.test")]);
        assert!(blocks.check(room, user).is_err() && blocks.check_room(room).is_ok());
        assert!(blocks.has_server("y.test") && !blocks.has_server("x.test"));
        blocks.set(vec![block(BlockKind::Room, "!r:x.test")]);
        assert!(blocks.check(room, user_id!("@v:x.test")).is_err() && blocks.check_room(room).is_err());
        assert!(!blocks.has_server("y.test"));
    }
}
