//! Saves the sender's progress with the room server: positions and destinations, in one transaction.

use std::collections::BTreeSet;

use plexus_proto::room::v1::{
    BehindRoom, CaughtUpRoom, Destination, DestinationOrder, SaveProgressRequest, ShardPositions,
};
use ruma::OwnedServerName;
use tonic::Status;

use super::{
    Vector,
    destination::{Change, Row},
    shard_of,
    upstream::Upstream,
};

/// Rows of one request.
const MAX_ROWS: usize = 5_000;

/// How far we are, at one point.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) sender: Vec<u8>,
    /// Number of this among what the sender keeps.
    pub(super) serial: u64,
    /// Shards that are ours.
    pub(super) shards: Vec<u32>,
    pub(super) positions: Vec<(u32, Box<Vector>)>,
    pub(super) changes: Vec<(OwnedServerName, Change)>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Saved {
    /// It is kept; operators want this.
    Yes(Vec<DestinationOrder>),
    /// These shards belong to others; nothing of the last request is kept.
    Lost(Vec<u32>),
    /// The room server is away.
    Failed(Status),
}

/// Tells the room server. Positions come last: nothing lies before them that is not kept.
pub(super) async fn save(upstream: &Upstream, progress: &Progress) -> Saved {
    let mut orders = Vec::new();
    for request in requests(progress) {
        match upstream.save(request).await {
            Ok(answer) if !answer.lost_shards.is_empty() => return Saved::Lost(answer.lost_shards),
            Ok(answer) => orders.extend(answer.orders),
            Err(status) => return Saved::Failed(status),
        }
    }
    Saved::Yes(orders)
}

fn requests(progress: &Progress) -> Vec<SaveProgressRequest> {
    let concerned = progress.changes.iter().map(|(server, _)| shard_of(server));
    let concerned = concerned.chain(progress.positions.iter().map(|(shard, _)| *shard));
    let concerned: Vec<u32> = concerned.collect::<BTreeSet<u32>>().into_iter().collect();
    let empty = || SaveProgressRequest {
        sender: progress.sender.clone().into(),
        serial: progress.serial,
        shards: concerned.clone(),
        order_shards: progress.shards.clone(),
        ..SaveProgressRequest::default()
    };
    let (mut requests, mut request, mut rows) = (Vec::new(), empty(), 0);
    for (server, change) in &progress.changes {
        let Change::Keep { row, rooms, caught_up } = change else {
            request.recovered.push(server.to_string());
            rows += 1;
            continue;
        };
        let mut pieces: Vec<&[(ruma::OwnedRoomId, u64)]> = rooms.chunks(MAX_ROWS).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        for piece in pieces {
            if rows + piece.len() >= MAX_ROWS {
                requests.push(std::mem::replace(&mut request, empty()));
                rows = 0;
            }
            rows += 1 + piece.len();
            request.destinations.push(destination(server, row, piece));
        }
        for room_id in caught_up {
            if rows >= MAX_ROWS {
                requests.push(std::mem::replace(&mut request, empty()));
                rows = 0;
            }
            rows += 1;
            let caught_up = CaughtUpRoom { server: server.to_string(), room_id: room_id.to_string() };
            request.caught_up.push(caught_up);
        }
        if rows >= MAX_ROWS {
            requests.push(std::mem::replace(&mut request, empty()));
            rows = 0;
        }
    }
    let position = |(shard, positions): &(u32, Box<Vector>)| ShardPositions {
        shard: *shard,
        positions: positions.to_vec(),
    };
    request.positions = progress.positions.iter().map(position).collect();
    requests.push(request);
    requests
}

fn destination(server: &OwnedServerName, row: &Row, rooms: &[(ruma::OwnedRoomId, u64)]) -> Destination {
    let room = |(room_id, after): &(ruma::OwnedRoomId, u64)| BehindRoom {
        room_id: room_id.to_string(),
        after_seq: *after,
    };
    Destination {
        server: server.to_string(),
        shard: shard_of(server),
        failures: row.failures,
        first_failure_ts: row.first_failure_ts,
        retry_ts: row.retry_ts,
        error: row.error.clone(),
        last_success_ts: row.last_success_ts,
        rooms: rooms.iter().map(room).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_much_goes_in_pieces_and_positions_come_last() {
        let rooms = |count: usize| -> Vec<(ruma::OwnedRoomId, u64)> {
            (0..count).map(|number| (format!("!r{number}:a.test").try_into().unwrap(), 1)).collect()
        };
        let keep = |count, caught_up: usize| Change::Keep {
            row: Row::default(),
            rooms: rooms(count),
            caught_up: rooms(caught_up).into_iter().map(|(room_id, _)| room_id).collect(),
        };
        let name = |text: &str| -> OwnedServerName { text.try_into().unwrap() };
        let progress = Progress {
            shards: vec![1],
            positions: vec![(1, Box::new([7; super::super::PARTITION_COUNT]))],
            changes: vec![
                (name("a.test"), keep(12_000, 0)),
                (name("b.test"), keep(0, 7_000)),
                (name("c.test"), Change::Recovered),
            ],
            ..Progress::default()
        };
        let requests = requests(&progress);
        let rows = |request: &SaveProgressRequest| {
            request.destinations.iter().map(|it| 1 + it.rooms.len()).sum::<usize>()
                + request.caught_up.len()
                + request.recovered.len()
        };
        assert!(requests.iter().all(|request| rows(request) <= 10_000 && request.order_shards == [1]));
        let total: usize = requests.iter().flat_map(|it| &it.destinations).map(|it| it.rooms.len()).sum();
        assert_eq!(total, 12_000);
        assert_eq!(requests.iter().map(|it| it.caught_up.len()).sum::<usize>(), 7_000);
        let (last, before) = requests.split_last().unwrap();
        assert!(before.iter().all(|request| request.positions.is_empty()));
        assert_eq!((last.positions.len(), last.recovered.len()), (1, 1));
        // A sender with nothing to tell asks what operators want.
        assert_eq!(super::requests(&Progress { shards: vec![2], ..Progress::default() }).len(), 1);
    }
}
