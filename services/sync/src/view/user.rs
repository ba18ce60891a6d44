//! A user who syncs here: memberships and account data.

mod reading;
mod user_view;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use plexus_log::partition_of;
use plexus_matrix_http::token::SyncToken;
use plexus_proto::log::v1::KeyCounts;
use plexus_service::trace::TraceId;
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use tokio::sync::watch;

pub(crate) use self::reading::{At, Candidate, Reading, Request};
use self::user_view::{UserRoom, UserView};
use super::{
    Attention, Membership, MembershipChange, OutOfBand, Room, View, inboxes::Inboxes,
    rooms_of_user::RoomsOfUser,
};
use crate::{
    limits,
    positions::Vector,
    upstream::{Upstream, UpstreamError},
};

/// Type of the account data that holds push rules.
pub(crate) const PUSH_RULES: &str = "m.push_rules";

/// A user. While anybody holds one, every record that concerns the user reaches it.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: OwnedUserId,
    pub(crate) partition: usize,
    last_used: AtomicU64,
    slot: Mutex<Slot>,
    /// What devices have left of their keys, with the `seq` of the record that told it; of those that sync here.
    key_counts: Mutex<HashMap<String, (u64, KeyCounts)>>,
    /// Held by who loads.
    loading: tokio::sync::Mutex<()>,
    /// Changes whenever something happened that may concern the user.
    news: watch::Sender<News>,
}

#[derive(Debug)]
enum Slot {
    Absent,
    /// Being loaded: what happens meanwhile.
    Loading(Vec<Pending>),
    Loaded(Box<UserView>),
}

#[derive(Debug)]
enum Pending {
    Membership(Arc<Room>, MembershipChange),
    Forgotten(OwnedRoomId, u64),
    Purged(OwnedRoomId, u64),
    AccountData(AccountChange),
    NoAccountData(u64),
    Messages(Vec<String>, u64),
    NoDevices(Vec<String>, u64),
    OutOfBand(OwnedRoomId, Option<OutOfBand>, u64),
}

/// Account data changed.
#[derive(Debug)]
pub(crate) struct AccountChange {
    pub(crate) seq: u64,
    /// Empty for global data.
    pub(crate) room_id: String,
    pub(crate) kind: String,
    pub(crate) content: Bytes,
}

/// That something happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct News {
    /// Trace of the request that led to it, if it is known.
    pub(crate) cause: Option<TraceId>,
}

impl User {
    pub(super) fn new(id: OwnedUserId) -> Self {
        let partition = usize::try_from(partition_of(id.as_str())).unwrap_or_default();
        Self {
            id,
            partition,
            last_used: AtomicU64::new(0),
            slot: Mutex::new(Slot::Absent),
            key_counts: Mutex::default(),
            loading: tokio::sync::Mutex::new(()),
            news: watch::Sender::new(News::default()),
        }
    }

    pub(super) fn used(&self, at: u64) {
        self.last_used.store(at, Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Tells from now on whenever something happened that may concern the user.
    pub(crate) fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    pub(super) fn wake(&self, cause: Option<TraceId>) {
        self.news.send_replace(News { cause });
    }

    /// What of what happens the user is notified of; `None` if the user is not loaded any more.
    pub(crate) fn attention(&self) -> Option<Attention> {
        match &*self.slot.lock() {
            Slot::Loaded(view) => Some(view.attention.clone()),
            Slot::Absent | Slot::Loading(_) => None,
        }
    }

    /// Notes that messages have come for devices.
    pub(crate) fn hear_of_messages(&self, device_ids: Vec<String>, seq: u64) {
        self.apply(Pending::Messages(device_ids, seq));
    }

    /// Notes that devices are gone, with all that was in their inboxes.
    pub(crate) fn remove_devices(&self, device_ids: Vec<String>, seq: u64) {
        self.apply(Pending::NoDevices(device_ids, seq));
    }

    /// What is known of the inboxes of the user's devices; nothing if the user is not loaded any more.
    pub(crate) fn with_inboxes<R>(&self, work: impl FnOnce(&mut Inboxes) -> R) -> Option<R> {
        match &mut *self.slot.lock() {
            Slot::Loaded(view) => Some(work(&mut view.inboxes)),
            Slot::Absent | Slot::Loading(_) => None,
        }
    }

    /// How many requests of the user wait or are about to.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.news.receiver_count()
    }

    /// Whether the user may have to do with a room.
    pub(crate) fn refers_to(&self, room_id: &RoomId) -> bool {
        match &*self.slot.lock() {
            Slot::Absent => false,
            Slot::Loading(_) => true,
            Slot::Loaded(view) => view.rooms.contains_key(room_id),
        }
    }

    /// Applies a change of membership; changes come in order.
    pub(crate) fn change(&self, room: &Arc<Room>, change: MembershipChange) {
        self.apply(Pending::Membership(Arc::clone(room), change));
    }

    /// Notes that the user forgot a room.
    pub(crate) fn forget(&self, room_id: &RoomId, seq: u64) {
        self.apply(Pending::Forgotten(room_id.to_owned(), seq));
    }

    /// Notes that a room was deleted: the user has nothing to do with it any more, whatever they were in it.
    pub(crate) fn purge(&self, room_id: &RoomId, seq: u64) {
        self.apply(Pending::Purged(room_id.to_owned(), seq));
    }

    /// Applies what another server has told of the user; changes come in order. `None`: the room itself tells it.
    pub(crate) fn set_out_of_band(&self, room_id: OwnedRoomId, told: Option<OutOfBand>, seq: u64) {
        self.apply(Pending::OutOfBand(room_id, told, seq));
    }

    /// Applies a change of account data; changes come in order.
    pub(crate) fn set_account_data(&self, change: AccountChange) {
        self.apply(Pending::AccountData(change));
    }

    /// Drops all account data: the account is gone.
    pub(crate) fn clear_account_data(&self, seq: u64) {
        self.apply(Pending::NoAccountData(seq));
    }

    fn apply(&self, pending: Pending) {
        let mut slot = self.slot.lock();
        match &mut *slot {
            Slot::Absent => {}
            Slot::Loading(waiting) if waiting.len() < limits::PENDING => waiting.push(pending),
            Slot::Loading(_) => *slot = Slot::Absent,
            Slot::Loaded(view) => view.apply(pending),
        }
    }

    /// What a device has left of its keys, and the `seq` of the record that told it; `None` if that is not known.
    pub(crate) fn key_counts(&self, device_id: &str) -> Option<(u64, KeyCounts)> {
        self.key_counts.lock().get(device_id).cloned()
    }

    /// Notes what a device has left, as it was read, unless a record has told it meanwhile; returns what is known now.
    pub(crate) fn note_key_counts(&self, device_id: String, counts: KeyCounts) -> (u64, KeyCounts) {
        self.key_counts.lock().entry(device_id).or_insert((0, counts)).clone()
    }

    /// Sets what a device has left, as a record tells it.
    pub(crate) fn set_key_counts(&self, device_id: String, seq: u64, counts: KeyCounts) {
        self.key_counts.lock().insert(device_id, (seq, counts));
    }

    /// Forgets what a device that is gone had left.
    pub(crate) fn drop_key_counts(&self, device_id: &str) {
        self.key_counts.lock().remove(device_id);
    }

    /// The rooms that the user is in, as far as they are known here; `None` if they are not.
    pub(crate) fn joined_rooms(&self) -> Option<Vec<Arc<Room>>> {
        match &*self.slot.lock() {
            Slot::Loaded(view) => {
                let is_in = |room: &&UserRoom| {
                    room.history.back().is_some_and(|last| last.membership == Membership::Join)
                };
                Some(view.rooms.values().filter(is_in).map(|room| Arc::clone(&room.room)).collect())
            }
            Slot::Absent | Slot::Loading(_) => None,
        }
    }

    /// The user's rooms of which nobody has told what they were like before they came up here.
    pub(super) fn strange_rooms(&self) -> Vec<Arc<Room>> {
        let Slot::Loaded(view) = &*self.slot.lock() else { return Vec::new() };
        let known = view.rooms.values().filter(|known| known.forgotten.is_none());
        known.filter(|known| !known.room.traits.is_known()).map(|known| Arc::clone(&known.room)).collect()
    }

    /// Drops what is in memory, and what is being loaded: it lacks a fact.
    pub(crate) fn unload(&self) {
        self.key_counts.lock().clear();
        *self.slot.lock() = Slot::Absent;
    }

    fn is_loaded(&self) -> bool {
        matches!(&*self.slot.lock(), Slot::Loaded(_))
    }

    /// Loads memberships and account data unless they are. Only one caller loads, the others wait for it.
    pub(super) async fn load(
        self: &Arc<Self>,
        view: &View,
        upstream: &Upstream,
    ) -> Result<(), UpstreamError> {
        if self.is_loaded() {
            return Ok(());
        }
        let _only = self.loading.lock().await;
        if self.is_loaded() {
            return Ok(());
        }
        *self.slot.lock() = Slot::Loading(Vec::new());
        // If the caller goes away meanwhile, nobody is left to take the records.
        let abandoned = Abandoned(self);
        let (mut loaded, joined) = UserView::load(view, upstream, &self.id).await?;
        let mut slot = self.slot.lock();
        let Slot::Loading(pending) = &mut *slot else {
            // It was too much. Whoever wants to read it tries again.
            return Ok(());
        };
        for room in joined {
            room.watch(self);
        }
        for pending in pending.drain(..) {
            if let Pending::Membership(room, change) = &pending {
                if change.membership == Membership::Join { room.watch(self) } else { room.unwatch(self) }
            }
            loaded.apply(pending);
        }
        *slot = Slot::Loaded(Box::new(loaded));
        drop(slot);
        std::mem::forget(abandoned);
        Ok(())
    }

    /// Reads what an answer begins with, when the log was read up to `read`. `None` if the user is not loaded any more;
    /// an error names positions that the log must have been read to first.
    ///
    /// The user's part of `cut` moves up to what the account data reflect, which is all of the user's up to there.
    pub(crate) fn read(
        &self,
        request: Request<'_>,
        read: &Vector,
        cut: &mut SyncToken,
    ) -> Option<Result<Reading, Vector>> {
        let mut slot = self.slot.lock();
        let Slot::Loaded(view) = &mut *slot else {
            return None;
        };
        if let Some(ahead) = view.is_ahead_of(read) {
            return Some(Err(ahead));
        }
        if let Some(position) = cut.users.get_mut(self.partition) {
            *position = (*position).max(view.account_seq);
        }
        Some(Ok(view.read(request, cut, self.partition)))
    }

    /// Reads all rooms of the user at a cut, as [`Self::read`] does. Never wait while reading.
    pub(crate) fn read_rooms<T>(
        &self,
        read: &Vector,
        cut: &mut SyncToken,
        reader: impl FnOnce(&RoomsOfUser<'_>, &SyncToken) -> T,
    ) -> Option<Result<T, Vector>> {
        let mut slot = self.slot.lock();
        let Slot::Loaded(view) = &mut *slot else {
            return None;
        };
        if let Some(ahead) = view.is_ahead_of(read) {
            return Some(Err(ahead));
        }
        if let Some(position) = cut.users.get_mut(self.partition) {
            *position = (*position).max(view.account_seq);
        }
        Some(Ok(reader(&view.all_rooms(cut, self.partition), cut)))
    }
}

/// Undoes the beginning of a load that did not end well.
struct Abandoned<'a>(&'a User);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let mut slot = self.0.slot.lock();
        if matches!(&*slot, Slot::Loading(_)) {
            *slot = Slot::Absent;
        }
    }
}
