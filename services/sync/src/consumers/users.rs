//! `OutputUserEvent` into the view.

use std::sync::Arc;

use plexus_log::OutputUser;
use plexus_proto::log::v1::{OutputUserEvent, output_user_event::Fact};
use plexus_service::TraceContext;
use ruma::{OwnedRoomId, UserId};
use tokio::time::timeout;
use tracing::error;

use super::follower::Feed;
use crate::{
    clock::now_ms,
    limits, metrics as names,
    positions::{Positions, Track, Vector},
    upstream::{Range, Upstream, UpstreamError},
    view::{AccountChange, OutOfBand, Room, View, Woken},
};

/// Applies what happens to users.
pub(crate) struct Users {
    view: Arc<View>,
    upstream: Upstream,
    positions: Arc<Positions>,
    woken: Woken,
}

impl Users {
    pub(crate) fn new(view: Arc<View>, upstream: Upstream, positions: Arc<Positions>) -> Self {
        Self { view, upstream, positions, woken: Woken::default() }
    }
}

/// Whom a record concerns beside its user.
pub(crate) enum Concerned {
    Nobody,
    /// Members of these rooms.
    Members(Vec<Arc<Room>>),
    /// Whoever it is: that could not be found out.
    Everybody,
}

impl Feed for Users {
    type Topic = OutputUser;
    /// Rooms whose members have to be told of changed keys.
    type Prepared = Concerned;

    fn track(&self) -> &Track {
        &self.positions.users
    }

    async fn heads(&self) -> Result<Vector, UpstreamError> {
        let heads = self.upstream.user_heads().await?;
        self.view.keys.users.begin(&heads);
        Ok(heads)
    }

    async fn range(
        &self,
        partition: u32,
        after: u64,
        to: u64,
    ) -> Result<Range<OutputUserEvent>, UpstreamError> {
        self.upstream.user_range(partition, after, to).await
    }

    fn place(record: &OutputUserEvent) -> (u64, u32) {
        (record.seq, record.partition)
    }

    fn trace(record: &OutputUserEvent) -> Option<TraceContext> {
        TraceContext::parse(&record.traceparent)
    }

    async fn prepare(&mut self, record: &OutputUserEvent) -> Concerned {
        if !concerns_device_lists(record) {
            return Concerned::Nobody;
        }
        let Ok(user_id) = <&UserId>::try_from(record.user_id.as_str()) else { return Concerned::Nobody };
        if let Some(rooms) = self.view.find_user(user_id).and_then(|user| user.joined_rooms()) {
            return Concerned::Members(rooms);
        }
        if !self.view.has_users() {
            return Concerned::Nobody;
        }
        let rooms = match timeout(limits::COMPLETION, self.upstream.rooms_of(user_id)).await {
            Ok(Ok((rooms, _))) => rooms,
            Ok(Err(_)) | Err(_) => return Concerned::Everybody,
        };
        let rooms = rooms.into_iter().filter(|room| room.membership == "join");
        let rooms = rooms.filter_map(|room| self.view.find_room(&OwnedRoomId::try_from(room.room_id).ok()?));
        Concerned::Members(rooms.collect())
    }

    fn apply(&mut self, record: OutputUserEvent, concerned: Concerned) {
        if concerns_device_lists(&record) || is_own(&record) {
            self.view.keys.users.heard(record.partition, record.seq);
        }
        // Members of many rooms are woken once.
        match concerned {
            Concerned::Nobody => {}
            Concerned::Members(rooms) => {
                rooms.iter().flat_map(|room| room.watching()).for_each(|user| self.woken.user(user));
            }
            Concerned::Everybody => {
                self.view.users_in_memory().into_iter().for_each(|user| self.woken.user(user));
            }
        }
        let Ok(user_id) = UserId::parse(record.user_id.as_str()) else {
            let (seq, partition) = (record.seq, record.partition);
            error!(partition, seq, "record names no user, leaving it out");
            metrics::counter!(names::POISONED, "topic" => "OutputUserEvent").increment(1);
            return;
        };
        if matches!(&record.fact, Some(Fact::Deactivated(gone)) if gone.erase) {
            self.upstream.erased.add(&user_id);
        }
        let is_out = match &record.fact {
            Some(Fact::DevicesChanged(devices)) => devices.logged_out,
            Some(Fact::Deactivated(_)) => true,
            Some(_) | None => false,
        };
        if is_out {
            // Nobody is there to type.
            for room in self.view.stop_typing_everywhere(&user_id, now_ms()) {
                self.woken.room(room);
            }
        }
        let Some(user) = self.view.find_user(&user_id) else {
            return;
        };
        match record.fact {
            Some(Fact::AccountDataChanged(data)) => {
                user.set_account_data(AccountChange {
                    seq: record.seq,
                    room_id: data.room_id,
                    kind: data.r#type,
                    content: data.content,
                });
                self.woken.user(user);
            }
            Some(Fact::Deactivated(_)) => {
                user.clear_account_data(record.seq);
                self.woken.user(user);
            }
            Some(Fact::ToDevicePending(pending)) => {
                user.hear_of_messages(pending.device_ids, record.seq);
                self.woken.user(user);
            }
            // Sessions may have ended: requests that wait look whether theirs has.
            Some(Fact::DevicesChanged(devices)) => {
                devices.removed.iter().for_each(|device| user.drop_key_counts(device));
                user.remove_devices(devices.removed, record.seq);
                self.woken.user(user);
            }
            Some(Fact::PasswordChanged(_) | Fact::KeysChanged(_)) => self.woken.user(user),
            Some(Fact::KeyCountsChanged(changed)) => {
                user.set_key_counts(changed.device_id, record.seq, changed.counts.unwrap_or_default());
                self.woken.user(user);
            }
            Some(Fact::OutOfBandMembership(told)) => {
                if let Some((room_id, told)) = OutOfBand::read(told, record.seq) {
                    user.set_out_of_band(room_id, told, record.seq);
                    self.woken.user(user);
                }
            }
            Some(Fact::Registered(_) | Fact::ProfileChanged(_) | Fact::OutgoingPending(_)) | None => {}
        }
    }

    fn drop_partition(&mut self, partition: u32, seq: u64) {
        self.view.keys.users.missed(partition, seq);
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        let users = self.view.users_in_memory();
        for user in users.into_iter().filter(|user| user.partition == partition) {
            user.unload();
            self.woken.user(user);
        }
        // Who asked to be erased meanwhile is not known; rooms tell it when they are loaded.
        for room in self.view.all_rooms() {
            room.unload();
        }
    }

    fn wake(&mut self) {
        self.woken.wake();
    }
}

/// Whether those who share rooms with the user have to be told.
fn concerns_device_lists(record: &OutputUserEvent) -> bool {
    match &record.fact {
        Some(Fact::DevicesChanged(devices)) => !devices.changed.is_empty() || !devices.removed.is_empty(),
        Some(Fact::KeysChanged(changed)) => !changed.own,
        Some(_) | None => false,
    }
}

/// Whether the user alone has to be told of keys.
fn is_own(record: &OutputUserEvent) -> bool {
    matches!(&record.fact, Some(Fact::KeysChanged(changed)) if changed.own)
}
