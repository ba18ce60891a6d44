//! A user who syncs here: memberships and account data.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use plexus_log::partition_of;
use plexus_matrix_http::token::SyncToken;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use tokio::sync::watch;

use super::{Membership, MembershipChange, Room, View};
use crate::{
    limits,
    positions::Vector,
    upstream::{Upstream, UpstreamError},
};

const IGNORED: &str = "m.ignored_user_list";

/// A user. While anybody holds one, every record that concerns the user reaches it.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: OwnedUserId,
    pub(crate) partition: usize,
    last_used: AtomicU64,
    slot: Mutex<Slot>,
    /// Held by who loads.
    loading: tokio::sync::Mutex<()>,
    /// Changes whenever something happened that may concern the user.
    news: watch::Sender<u64>,
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
    AccountData(AccountChange),
    NoAccountData(u64),
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

#[derive(Debug, Default)]
struct UserView {
    rooms: HashMap<OwnedRoomId, UserRoom>,
    /// By room (empty for global data) and type.
    account_data: BTreeMap<String, BTreeMap<String, (u64, Bytes)>>,
    ignored: Arc<HashSet<OwnedUserId>>,
    /// What the memberships reflected when they were loaded.
    loaded_at: Option<Box<Vector>>,
    /// What the account data reflect.
    account_seq: u64,
}

#[derive(Debug)]
struct UserRoom {
    room: Arc<Room>,
    /// Oldest first, never empty.
    history: VecDeque<MembershipChange>,
    /// Whether nothing precedes the history.
    from_start: bool,
    forgotten: Option<u64>,
}

/// What a user was in a room at a position.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Known(MembershipChange),
    /// Nothing yet.
    Nothing,
    /// It is too long ago.
    Unknown,
}

/// A room that an answer may show.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) room: Arc<Room>,
    /// At the cut.
    pub(crate) now: MembershipChange,
    /// At the token; nothing without one.
    pub(crate) then: At,
    pub(crate) forgotten: bool,
    /// Account data of the room, as far as newer than the token.
    pub(crate) account_data: Vec<(String, Bytes)>,
}

/// What an answer begins with.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) candidates: Vec<Candidate>,
    /// Global account data, as far as newer than the token.
    pub(crate) account_data: Vec<(String, Bytes)>,
    pub(crate) ignored: Arc<HashSet<OwnedUserId>>,
}

#[derive(Deserialize)]
struct IgnoredUsers {
    #[serde(default)]
    ignored_users: HashMap<String, serde::de::IgnoredAny>,
}

impl User {
    pub(super) fn new(id: OwnedUserId) -> Self {
        let partition = usize::try_from(partition_of(id.as_str())).unwrap_or_default();
        Self {
            id,
            partition,
            last_used: AtomicU64::new(0),
            slot: Mutex::new(Slot::Absent),
            loading: tokio::sync::Mutex::new(()),
            news: watch::Sender::new(0),
        }
    }

    pub(super) fn used(&self, at: u64) {
        self.last_used.store(at, Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Tells from now on whenever something happened that may concern the user.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(super) fn wake(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Applies a change of membership; changes come in order.
    pub(crate) fn change(&self, room: &Arc<Room>, change: MembershipChange) {
        self.apply(Pending::Membership(Arc::clone(room), change));
    }

    /// Notes that the user forgot a room.
    pub(crate) fn forget(&self, room_id: &RoomId, seq: u64) {
        self.apply(Pending::Forgotten(room_id.to_owned(), seq));
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
        since: Option<&SyncToken>,
        read: &Vector,
        cut: &mut SyncToken,
        all_joined: bool,
    ) -> Option<Result<Reading, Vector>> {
        let mut slot = self.slot.lock();
        let Slot::Loaded(view) = &mut *slot else {
            return None;
        };
        if let Some(loaded_at) = &view.loaded_at
            && loaded_at.iter().zip(read).any(|(loaded, read)| loaded > read)
        {
            return Some(Err(**loaded_at));
        }
        view.loaded_at = None;
        if let Some(position) = cut.users.get_mut(self.partition) {
            *position = (*position).max(view.account_seq);
        }
        Some(Ok(view.read(since, cut, self.partition, all_joined)))
    }
}

impl UserView {
    async fn load(
        view: &View,
        upstream: &Upstream,
        user_id: &UserId,
    ) -> Result<(Self, Vec<Arc<Room>>), UpstreamError> {
        let mut loaded = Self::default();
        let data = upstream.account_data(user_id).await?;
        loaded.account_seq = data.as_of.map_or(0, |as_of| as_of.seq);
        for data in data.account_data {
            loaded.set_account_data(data.room_id, data.r#type, data.seq, data.content);
        }
        let (rooms, heads) = upstream.rooms_of(user_id).await?;
        loaded.loaded_at = Some(Box::new(heads));
        let mut joined = Vec::new();
        for entry in rooms {
            let (Ok(room_id), Some(membership)) =
                (OwnedRoomId::try_from(entry.room_id.as_str()), Membership::find(&entry.membership))
            else {
                tracing::error!(room.id = entry.room_id, "membership makes no sense, leaving it out");
                continue;
            };
            let room = view.room(&room_id);
            room.heard_of(entry.seq);
            if membership == Membership::Join {
                joined.push(Arc::clone(&room));
            }
            let sender = OwnedUserId::try_from(entry.sender.as_str()).unwrap_or_else(|_| user_id.to_owned());
            let change = MembershipChange { seq: entry.seq, membership, sender };
            let forgotten = entry.forgotten.then_some(0);
            let history = VecDeque::from([change]);
            loaded.rooms.insert(room_id, UserRoom { room, history, from_start: false, forgotten });
        }
        // From here on the rooms hear of every record; this tells what they had before.
        let ids: Vec<String> = joined.iter().map(|room| room.id.to_string()).collect();
        for info in upstream.room_infos(&ids).await? {
            let room = <&RoomId>::try_from(info.room_id.as_str()).ok().and_then(|id| loaded.rooms.get(id));
            if let Some(known) = room {
                known.room.heard_of(info.last_seq);
            }
        }
        Ok((loaded, joined))
    }

    fn apply(&mut self, pending: Pending) {
        match pending {
            Pending::Membership(room, change) => self.change(room, change),
            Pending::Forgotten(room_id, seq) => {
                let known = self.rooms.get_mut(&room_id);
                // What came while the user was being loaded may be older than what was loaded.
                if let Some(known) = known.filter(|known| known.last_seq() < seq) {
                    known.forgotten = known.forgotten.or(Some(seq));
                }
            }
            Pending::AccountData(change) if change.seq > self.account_seq => {
                self.account_seq = change.seq;
                self.set_account_data(change.room_id, change.kind, change.seq, change.content);
            }
            Pending::NoAccountData(seq) if seq > self.account_seq => {
                self.account_seq = seq;
                self.account_data.clear();
                self.ignored = Arc::default();
            }
            Pending::AccountData(_) | Pending::NoAccountData(_) => {}
        }
    }

    fn change(&mut self, room: Arc<Room>, change: MembershipChange) {
        let loaded_at = self.loaded_at.as_ref().and_then(|heads| heads.get(room.partition)).copied();
        let known = self.rooms.entry(room.id.clone()).or_insert_with(|| UserRoom {
            room,
            history: VecDeque::new(),
            from_start: true,
            forgotten: None,
        });
        // What came while the user was being loaded may be in what was loaded.
        if known.last_seq() >= change.seq || loaded_at.is_some_and(|loaded_at| change.seq <= loaded_at) {
            return;
        }
        known.history.push_back(change);
        known.forgotten = None;
        if known.history.len() > limits::MEMBERSHIPS {
            known.history.pop_front();
            known.from_start = false;
        }
    }

    fn set_account_data(&mut self, room_id: String, kind: String, seq: u64, content: Bytes) {
        if room_id.is_empty() && kind == IGNORED {
            let list: Option<IgnoredUsers> = serde_json::from_slice(&content).ok();
            let users = list.into_iter().flat_map(|list| list.ignored_users.into_keys());
            self.ignored = Arc::new(users.filter_map(|user| OwnedUserId::try_from(user).ok()).collect());
        }
        self.account_data.entry(room_id).or_default().insert(kind, (seq, content));
    }

    fn read(
        &self,
        since: Option<&SyncToken>,
        cut: &SyncToken,
        partition: usize,
        all_joined: bool,
    ) -> Reading {
        let position = |vector: &Vector, partition: usize| vector.get(partition).copied().unwrap_or_default();
        let data_since = since.map_or(0, |since| position(&since.users, partition));
        let data_of = |room_id: &str| -> Vec<(String, Bytes)> {
            let data = self.account_data.get(room_id).into_iter().flatten();
            data.filter(|(_, (seq, _))| since.is_none() || *seq > data_since)
                .map(|(kind, (_, content))| (kind.clone(), content.clone()))
                .collect()
        };
        let mut candidates = Vec::new();
        for (room_id, known) in &self.rooms {
            let upto = position(&cut.rooms, known.room.partition);
            let At::Known(now) = known.at(upto) else {
                continue;
            };
            let (then, moved) = match since {
                Some(since) => {
                    let since = position(&since.rooms, known.room.partition);
                    let moved = match now.membership {
                        Membership::Join => known.room.moved_since(since),
                        Membership::Invite | Membership::Leave | Membership::Ban | Membership::Knock => {
                            now.seq > since
                        }
                    };
                    (known.at(since), moved)
                }
                None => (At::Nothing, true),
            };
            let account_data = data_of(room_id.as_str());
            let joined = now.membership == Membership::Join;
            if moved || (joined && (all_joined || !account_data.is_empty())) {
                let forgotten = known.forgotten.is_some_and(|seq| seq <= upto);
                candidates.push(Candidate {
                    room: Arc::clone(&known.room),
                    now,
                    then,
                    forgotten,
                    account_data,
                });
            }
        }
        Reading { candidates, account_data: data_of(""), ignored: Arc::clone(&self.ignored) }
    }
}

impl UserRoom {
    fn last_seq(&self) -> u64 {
        self.history.back().map_or(0, |last| last.seq)
    }

    fn at(&self, position: u64) -> At {
        match self.history.iter().rev().find(|change| change.seq <= position) {
            Some(change) => At::Known(change.clone()),
            None if self.from_start => At::Nothing,
            None => At::Unknown,
        }
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
