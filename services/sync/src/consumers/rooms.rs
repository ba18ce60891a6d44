//! `OutputRoomEvent` into the view.

use std::{collections::HashSet, sync::Arc};

use plexus_log::OutputRoom;
use plexus_proto::log::v1::{NewEvent, OutputRoomEvent, output_room_event::Body};
use plexus_service::TraceContext;
use ruma::{OwnedRoomId, RoomId, UserId};
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

use super::follower::Feed;
use crate::{
    clock::now_ms,
    limits, metrics as names,
    positions::{Positions, Track, Vector},
    upstream::{Range, Upstream, UpstreamError},
    view::{Applied, Completed, MEMBER, Membership, MembershipChange, User, View, Woken},
};

/// Applies what happens in rooms.
pub(crate) struct Rooms {
    view: Arc<View>,
    upstream: Upstream,
    positions: Arc<Positions>,
    woken: Woken,
    /// Until then nothing is asked for: an answer did not come.
    silent_until: Option<Instant>,
}

/// What applying a record needs beside it.
pub(crate) enum Prepared {
    /// Nothing, or this.
    Whole(Option<Completed>),
    /// It could not be had: what the record concerns is to be read anew by whoever asks for it next.
    Lacking,
}

impl Rooms {
    pub(crate) fn new(view: Arc<View>, upstream: Upstream, positions: Arc<Positions>) -> Self {
        Self { view, upstream, positions, woken: Woken::default(), silent_until: None }
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

    /// Whether a record concerns a room in memory, or the membership of a user in memory.
    fn concerns_anybody(&self, record: &OutputRoomEvent, room_id: &RoomId) -> bool {
        if self.view.find_room(room_id).is_some_and(|room| room.is_held()) {
            return true;
        }
        let Some(Body::NewEvent(new)) = &record.body else { return false };
        // Where there are too many changes to be named, anybody may be concerned.
        let delta = new.delta.as_ref();
        delta.is_some_and(|delta| delta.truncated) && self.view.has_users()
            || !self.members(record).is_empty()
    }

    /// The users in memory whose member events a record changes, as far as it names them.
    fn members(&self, record: &OutputRoomEvent) -> Vec<Arc<User>> {
        let Some(Body::NewEvent(new)) = &record.body else { return Vec::new() };
        let changes = new.delta.iter().flat_map(|delta| &delta.changes);
        let users: HashSet<&UserId> = changes
            .filter(|change| change.r#type == MEMBER)
            .filter_map(|change| <&UserId>::try_from(change.state_key.as_str()).ok())
            .collect();
        users.into_iter().filter_map(|user| self.view.find_user(user)).collect()
    }

    /// Drops what is in memory of a room, and of the users whose memberships a record changes in it: they lack a fact,
    /// which is read with everything else when somebody asks.
    fn unload(&mut self, record: &OutputRoomEvent) {
        let Ok(room_id) = RoomId::parse(record.room_id.as_str()) else { return };
        let mut users = self.members(record);
        let is_truncated = |new: &NewEvent| new.delta.as_ref().is_some_and(|delta| delta.truncated);
        if matches!(&record.body, Some(Body::NewEvent(new)) if is_truncated(new)) {
            users.extend(self.view.users_in_memory().into_iter().filter(|user| user.refers_to(&room_id)));
        }
        for user in users {
            user.unload();
            self.woken.user(user);
        }
        if let Some(room) = self.view.find_room(&room_id) {
            room.heard_of(record.seq);
            room.unload();
            self.woken.room(room);
        }
    }

    fn change_members(&mut self, room_id: &OwnedRoomId, applied: &Applied) {
        for change in applied.member_changes() {
            if change.membership != Some(Membership::Join) {
                self.view.stop_typing(room_id, change.user_id, now_ms());
            }
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
                MembershipChange {
                    seq: applied.seq,
                    membership,
                    sender: change.sender.to_owned(),
                    ts: applied.ts,
                },
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

/// Type of the event that encrypts a room.
const ENCRYPTION: &str = "m.room.encryption";

impl Feed for Rooms {
    type Topic = OutputRoom;
    type Prepared = Prepared;

    fn track(&self) -> &Track {
        &self.positions.rooms
    }

    async fn heads(&self) -> Result<Vector, UpstreamError> {
        let (heads, generation) = self.upstream.room_heads().await?;
        self.view.keys.rooms.begin(&heads);
        self.positions.set_generation(generation);
        Ok(heads)
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

    fn trace(record: &OutputRoomEvent) -> Option<TraceContext> {
        TraceContext::parse(&record.traceparent)
    }

    /// A delta that is too large for a record, or that names events beside the new one, is read from the room server:
    /// if somebody here has to do with the room, and soon or not at all.
    async fn prepare(&mut self, record: &OutputRoomEvent) -> Prepared {
        if !Completed::is_needed(record) {
            return Prepared::Whole(None);
        }
        let Ok(room_id) = RoomId::parse(record.room_id.as_str()) else {
            return Prepared::Whole(None);
        };
        if !self.concerns_anybody(record, &room_id)
            || self.silent_until.is_some_and(|until| Instant::now() < until)
        {
            return Prepared::Lacking;
        }
        let delta = self.upstream.state_delta(&room_id, record.seq.saturating_sub(1), record.seq);
        let failure = match timeout(limits::COMPLETION, delta).await {
            Ok(Ok(delta)) => return Prepared::Whole(Some(Completed::from(delta))),
            Ok(Err(refused)) if refused.is_refusal() => return Prepared::Lacking,
            Ok(Err(failure)) => failure,
            Err(_) => UpstreamError::TimedOut { call: "StreamStateDelta" },
        };
        warn!(room.id = %room_id, error = %failure, "record cannot be completed, unloading the room");
        self.silent_until = Some(Instant::now() + limits::COMPLETION_PAUSE);
        Prepared::Lacking
    }

    fn apply(&mut self, record: OutputRoomEvent, prepared: Prepared) {
        if concerns_device_lists(&record) {
            self.view.keys.rooms.heard(record.partition, record.seq);
        }
        let Prepared::Whole(completed) = prepared else {
            metrics::counter!(names::UNLOADED).increment(1);
            self.unload(&record);
            return;
        };
        let (seq, partition) = (record.seq, record.partition);
        let room_id = record.room_id.clone();
        if let Err(failure) = self.try_apply(record, completed) {
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
        self.view.keys.rooms.missed(partition, seq);
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

/// Whether a record may change who has to know whose keys: memberships, and whether a room is encrypted.
fn concerns_device_lists(record: &OutputRoomEvent) -> bool {
    match &record.body {
        Some(Body::NewEvent(new)) => new.delta.as_ref().is_some_and(|delta| {
            delta.truncated
                || delta.changes.iter().any(|change| change.r#type == MEMBER || change.r#type == ENCRYPTION)
        }),
        Some(Body::Purged(_) | Body::StateRewritten(_)) => true,
        Some(_) | None => false,
    }
}
