//! `OutputRoomEvent` into the view.

use std::sync::Arc;

use plexus_log::OutputRoom;
use plexus_proto::log::v1::{OutputRoomEvent, output_room_event::Body};
use ruma::{OwnedRoomId, RoomId, UserId};
use tracing::error;

use super::follower::Feed;
use crate::{
    metrics as names,
    positions::{Positions, Track, Vector},
    upstream::{Range, Upstream, UpstreamError},
    view::{Applied, Completed, Membership, MembershipChange, View, Woken},
};

/// Applies what happens in rooms.
pub(crate) struct Rooms {
    view: Arc<View>,
    upstream: Upstream,
    positions: Arc<Positions>,
    woken: Woken,
}

impl Rooms {
    pub(crate) fn new(view: Arc<View>, upstream: Upstream, positions: Arc<Positions>) -> Self {
        Self { view, upstream, positions, woken: Woken::default() }
    }

    fn try_apply(
        &mut self,
        record: OutputRoomEvent,
        completed: Option<Completed>,
    ) -> Result<(), crate::view::RecordError> {
        let room_id = RoomId::parse(record.room_id.as_str())?;
        let room = self.view.find_room(&room_id);
        if let Some(Body::Forgotten(forgotten)) = &record.body {
            let user_id = UserId::parse(forgotten.user_id.as_str())?;
            if let Some(user) = self.view.find_user(&user_id) {
                user.forget(&room_id, record.seq);
            }
            return Ok(());
        }
        if let Some(Body::Purged(_)) = &record.body {
            for user in self.view.users_in_memory() {
                user.purge(&room_id, record.seq);
            }
            if let Some(room) = room {
                room.heard_of(record.seq);
                room.unload();
                self.woken.room(room);
            }
            return Ok(());
        }
        if let Some(Body::StateRewritten(_)) = &record.body {
            // What we hold of the room is void; the next reader loads it anew.
            if let Some(room) = room {
                room.heard_of(record.seq);
                room.unload();
                self.woken.room(room);
            }
            return Ok(());
        }
        // Nobody but the user learns of a private receipt, so nobody else is woken by it.
        let private_of = match &record.body {
            Some(Body::Receipt(receipt)) if receipt.r#type == "m.read.private" => {
                Some(UserId::parse(receipt.user_id.as_str())?)
            }
            _ => None,
        };
        let applied = Applied::read(record, completed, room.is_some())?;
        self.change_members(&room_id, &applied);
        // A room may have come into being with the membership of somebody we know.
        if let Some(room) = room.or_else(|| self.view.find_room(&room_id)) {
            room.apply(Arc::new(applied));
            match private_of {
                Some(user) => self.woken.user_if(self.view.find_user(&user)),
                None => self.woken.room(room),
            }
        }
        Ok(())
    }

    fn change_members(&mut self, room_id: &OwnedRoomId, applied: &Applied) {
        for change in applied.member_changes() {
            let Some(user) = self.view.find_user(change.user_id) else {
                continue;
            };
            let Some(membership) = change.membership else {
                continue;
            };
            let room = self.view.room(room_id);
            room.heard_of(applied.seq);
            user.change(
                &room,
                MembershipChange { seq: applied.seq, membership, sender: change.sender.to_owned() },
            );
            // Whoever leaves is not told by the room any more, and whoever is invited not yet.
            if membership == Membership::Join {
                room.watch(&user);
            } else {
                room.unwatch(&user);
            }
            self.woken.user(user);
        }
    }
}

impl Feed for Rooms {
    type Topic = OutputRoom;
    type Prepared = Option<Completed>;

    fn track(&self) -> &Track {
        &self.positions.rooms
    }

    async fn heads(&self) -> Result<Vector, UpstreamError> {
        self.upstream.room_heads().await
    }

    async fn range(
        &self,
        partition: u32,
        after: u64,
        to: u64,
    ) -> Result<Range<OutputRoomEvent>, UpstreamError> {
        self.upstream.room_range(partition, after, to).await
    }

    fn place(record: &OutputRoomEvent) -> (u64, u32) {
        (record.seq, record.partition)
    }

    /// A delta that is too large for a record, or that names events beside the new one, is read from the room server.
    async fn prepare(&self, record: &OutputRoomEvent) -> Result<Option<Completed>, UpstreamError> {
        if !Completed::is_needed(record) {
            return Ok(None);
        }
        let Ok(room_id) = RoomId::parse(record.room_id.as_str()) else {
            return Ok(None);
        };
        match self.upstream.state_delta(&room_id, record.seq.saturating_sub(1), record.seq).await {
            Ok(delta) => Ok(Some(Completed::from(delta))),
            Err(refused) if refused.is_refusal() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn apply(&mut self, record: OutputRoomEvent, prepared: Option<Completed>) {
        let (seq, partition) = (record.seq, record.partition);
        let room_id = record.room_id.clone();
        if let Err(failure) = self.try_apply(record, prepared) {
            error!(partition, seq, room.id = room_id, error = %failure, "record cannot be applied, leaving it out");
            metrics::counter!(names::POISONED, "topic" => "OutputRoomEvent").increment(1);
            // What we hold of the room lacks a fact now; the room server knows it.
            if let Some(room) = RoomId::parse(room_id).ok().and_then(|id| self.view.find_room(&id)) {
                room.heard_of(seq);
                room.unload();
            }
        }
    }

    fn drop_partition(&mut self, partition: u32, seq: u64) {
        for room in self.view.rooms_of_partition(partition) {
            room.heard_of(seq);
            room.unload();
            self.woken.room(room);
        }
        // Whoever was invited, joined or left meanwhile may be anybody.
        for user in self.view.users_in_memory() {
            user.unload();
            self.woken.user(user);
        }
    }

    fn wake(&mut self) {
        self.woken.wake();
    }
}
