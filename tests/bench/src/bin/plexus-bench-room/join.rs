//! A room of another server, joined through the bulk lane.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use plexus_log::partition_of;
use plexus_proto::{
    input::v1::InputLog,
    log::v1::{Pdu, SnapshotChunk, StateBefore, input_room_event::Body, pdu::Kind},
};

use crate::{
    far::{self, Far},
    stage::{self, Stage},
};

/// Chunks whose verdicts are awaited at a time.
const IN_FLIGHT: usize = 16;

/// A room of another server and the events of its state, with their IDs.
pub(crate) struct Room {
    far: Far,
    events: Vec<(String, Bytes)>,
}

impl Room {
    /// Builds the room, in a partition if that matters.
    pub(crate) fn build(partition: Option<u32>, members: usize) -> anyhow::Result<Self> {
        for salt in 0.. {
            let (mut far, first) = Far::new(&format!("{members} {salt}"), members)?;
            if partition.is_some_and(|partition| partition_of(far.room_id()) != partition) {
                continue;
            }
            let mut events = Vec::with_capacity(members + 4);
            for json in first {
                events.push((far::event_id(&json)?, json));
            }
            for _ in 0..members {
                let (id, json) = far.next_join()?;
                events.push((id.to_string(), json));
            }
            return Ok(Self { far, events });
        }
        anyhow::bail!("there is no room in the partition")
    }

    /// Room ID.
    pub(crate) fn id(&self) -> &str {
        self.far.room_id()
    }

    /// Sends the state ahead in chunks of so many events, then the join of the local user.
    pub(crate) async fn join(&mut self, stage: &Stage, chunk: usize) -> anyhow::Result<()> {
        self.join_in_turns(stage, chunk, Duration::MAX, async |_| ()).await
    }

    /// The same in turns: after each, `rest` is called with how long the turn took, when all that was sent is committed.
    pub(crate) async fn join_in_turns(
        &mut self,
        stage: &Stage,
        chunk: usize,
        turn: Duration,
        mut rest: impl AsyncFnMut(Duration),
    ) -> anyhow::Result<()> {
        let room = self.id().to_owned();
        let token = Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes());
        let chunks = u32::try_from(self.events.len().div_ceil(chunk))?;
        let records = (0..).zip(self.events.chunks(chunk)).map(|(index, chunk)| {
            let chunk = SnapshotChunk {
                token: token.clone(),
                index,
                room_version: "12".to_owned(),
                origin: "s0.example".to_owned(),
                pdus: chunk.iter().map(|(_, json)| json.clone()).collect(),
                state_event_ids: chunk.iter().map(|(id, _)| id.clone()).collect(),
                last: index + 1 == chunks,
            };
            stage::record(&room, Body::Snapshot(chunk))
        });
        let mut records = records.peekable();
        while records.peek().is_some() {
            let began = Instant::now();
            let in_turn = std::iter::from_fn(|| (began.elapsed() < turn).then(|| records.next()).flatten());
            // They begin in order, and so the log has them in order.
            stream::iter(in_turn)
                .map(async |record| stage.put(InputLog::RoomBulk, &record).await)
                .buffered(IN_FLIGHT)
                .try_for_each(async |_| Ok(()))
                .await?;
            rest(began.elapsed()).await;
        }
        let (_, json) = self.far.join_of(&far::local_user())?;
        let events = u32::try_from(self.events.len())?;
        let state_before = StateBefore { snapshot_token: token, chunks, events };
        let pdu = Pdu { state_before: Some(state_before), ..far::pdu(json, Kind::New) };
        stage.put(InputLog::Room, &stage::record(&room, Body::Pdu(pdu))).await.context("the join")?;
        Ok(())
    }
}
