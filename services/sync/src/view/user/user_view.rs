//! A loaded user: memberships with their history, account data, inboxes.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use plexus_matrix_http::{
    invites::{INVITE_PERMISSION, blocks_invites},
    token::SyncToken,
};
use plexus_push::Rules;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;

use super::{At, Candidate, PUSH_RULES, Pending, Reading, Request};
use crate::{
    limits,
    positions::Vector,
    upstream::{Upstream, UpstreamError},
    view::{
        Attention, Membership, MembershipChange, OutOfBand, Room, View,
        inboxes::Inboxes,
        rooms_of_user::{DIRECT, Direct, RoomOfUser, RoomsOfUser, TAG, place_hash, read_tags},
    },
};
const IGNORED: &str = "m.ignored_user_list";

#[derive(Debug)]
pub(super) struct UserView {
    user: OwnedUserId,
    pub(super) rooms: HashMap<OwnedRoomId, UserRoom>,
    /// What other servers have told of the user, by room.
    out_of_band: BTreeMap<OwnedRoomId, OutOfBand>,
    /// By room (empty for global data) and type.
    pub(super) account_data: BTreeMap<String, BTreeMap<String, (u64, Bytes)>>,
    pub(super) attention: Attention,
    blocks_invites: bool,
    /// `seq` of the newest account data of a room.
    room_data_seq: u64,
    direct: Direct,
    /// By room; not of rooms without any.
    tags: HashMap<String, HashSet<String>>,
    /// What the memberships reflected when they were loaded, until the log was read so far.
    loaded_at: Option<Box<LoadedAt>>,
    /// What the account data reflect.
    pub(super) account_seq: u64,
    pub(super) inboxes: Inboxes,
}

/// How far memberships reach that were loaded.
#[derive(Debug)]
struct LoadedAt {
    /// All that was committed up to here is in them.
    all: Vector,
    /// Some of them are of up to here.
    some: Vector,
}

#[derive(Debug)]
pub(super) struct UserRoom {
    pub(super) room: Arc<Room>,
    /// Oldest first, never empty.
    pub(super) history: VecDeque<MembershipChange>,
    /// Whether nothing precedes the history.
    from_start: bool,
    /// `seq` of the change since which the user has had the membership.
    since: u64,
    /// `seq` of the change by which the user first had to do with the room: its place among the user's rooms.
    first: u64,
    /// See [`RoomOfUser::place`].
    place: u32,
    pub(super) forgotten: Option<u64>,
}

#[derive(Deserialize)]
struct IgnoredUsers {
    #[serde(default)]
    ignored_users: HashMap<String, serde::de::IgnoredAny>,
}

impl UserView {
    pub(super) async fn load(
        view: &View,
        upstream: &Upstream,
        user_id: &UserId,
    ) -> Result<(Self, Vec<Arc<Room>>), UpstreamError> {
        let mut loaded = Self {
            user: user_id.to_owned(),
            rooms: HashMap::new(),
            out_of_band: BTreeMap::new(),
            account_data: BTreeMap::new(),
            attention: Attention::default(),
            blocks_invites: false,
            room_data_seq: 0,
            direct: Direct::default(),
            tags: HashMap::new(),
            loaded_at: None,
            account_seq: 0,
            inboxes: Inboxes::default(),
        };
        let data = upstream.account_data(user_id).await?;
        loaded.account_seq = data.as_of.map_or(0, |as_of| as_of.seq);
        for inbox in data.inboxes {
            loaded.inboxes.hear(inbox.device_id, inbox.last_seq);
        }
        for told in data.out_of_band {
            let seq = told.seq;
            if let Some((room_id, Some(told))) = OutOfBand::read(told, seq) {
                loaded.out_of_band.insert(room_id, told);
            }
        }
        for data in data.account_data {
            loaded.set_account_data(data.room_id, data.r#type, data.seq, data.content);
        }
        let (rooms, heads) = upstream.rooms_of(user_id).await?;
        let mut loaded_at = LoadedAt { all: heads, some: heads };
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
            if let Some(position) = loaded_at.some.get_mut(room.partition) {
                *position = (*position).max(entry.seq);
            }
            if membership == Membership::Join {
                joined.push(Arc::clone(&room));
            }
            let sender = OwnedUserId::try_from(entry.sender.as_str()).unwrap_or_else(|_| user_id.to_owned());
            let change = MembershipChange { seq: entry.seq, membership, sender, ts: entry.member_ts };
            let forgotten = entry.forgotten.then_some(0);
            let history = VecDeque::from([change]);
            let since = if entry.since_seq == 0 { entry.seq } else { entry.since_seq };
            let first = entry.first_seq;
            let place = place_hash(&room_id, first);
            loaded.rooms.insert(
                room_id,
                UserRoom { room, history, from_start: false, since, first, place, forgotten },
            );
        }
        loaded.loaded_at = Some(Box::new(loaded_at));
        // From here on the rooms hear of every record; this tells what they had before.
        let present = loaded.rooms.values().filter(|known| known.forgotten.is_none());
        let ids: Vec<String> = present.map(|known| known.room.id.to_string()).collect();
        for info in upstream.room_infos(&ids).await? {
            let room = <&RoomId>::try_from(info.room_id.as_str()).ok().and_then(|id| loaded.rooms.get(id));
            if let Some(known) = room {
                known.room.heard_of(info.last_seq);
                known.room.traits.learn(&info);
            }
        }
        let present = loaded.rooms.values().filter(|known| known.forgotten.is_none());
        present.for_each(|known| known.room.traits.is_whole());
        Ok((loaded, joined))
    }

    /// How far the log must have been read before the memberships can be shown, if it was not.
    pub(super) fn is_ahead_of(&mut self, read: &Vector) -> Option<Vector> {
        if let Some(loaded_at) = &self.loaded_at
            && loaded_at.some.iter().zip(read).any(|(loaded, read)| loaded > read)
        {
            return Some(loaded_at.some);
        }
        self.loaded_at = None;
        None
    }

    pub(super) fn apply(&mut self, pending: Pending) {
        match pending {
            Pending::Membership(room, change) => self.change(room, change),
            Pending::Forgotten(room_id, seq) => {
                let known = self.rooms.get_mut(&room_id);
                // What came while the user was being loaded may be older than what was loaded.
                if let Some(known) = known.filter(|known| known.last_seq() < seq) {
                    known.forgotten = known.forgotten.or(Some(seq));
                }
            }
            Pending::Purged(room_id, seq) => {
                if self.rooms.get(&room_id).is_some_and(|known| known.last_seq() < seq) {
                    self.rooms.remove(&room_id);
                }
            }
            Pending::AccountData(change) if change.seq > self.account_seq => {
                self.account_seq = change.seq;
                self.set_account_data(change.room_id, change.kind, change.seq, change.content);
            }
            Pending::NoAccountData(seq) if seq > self.account_seq => {
                self.account_seq = seq;
                self.account_data.clear();
                self.attention = Attention::default();
                self.direct.change(seq, &[]);
                self.tags.clear();
                self.blocks_invites = false;
            }
            Pending::AccountData(_) | Pending::NoAccountData(_) => {}
            Pending::OutOfBand(room_id, told, seq) => {
                // What came while the user was being loaded may be older than what was loaded.
                if self.out_of_band.get(&room_id).is_none_or(|known| known.seq < seq) {
                    self.account_seq = self.account_seq.max(seq);
                    match told {
                        Some(told) => drop(self.out_of_band.insert(room_id, told)),
                        None => drop(self.out_of_band.remove(&room_id)),
                    }
                }
            }
            Pending::Messages(device_ids, seq) => {
                device_ids.into_iter().for_each(|device_id| self.inboxes.hear(device_id, seq));
            }
            Pending::NoDevices(device_ids, seq) => {
                device_ids.iter().for_each(|device_id| self.inboxes.remove(device_id, seq));
            }
        }
    }

    fn change(&mut self, room: Arc<Room>, change: MembershipChange) {
        let loaded_at = self.loaded_at.as_ref().and_then(|at| at.all.get(room.partition)).copied();
        let known = self.rooms.entry(room.id.clone()).or_insert_with(|| UserRoom {
            place: place_hash(&room.id, change.seq),
            room,
            history: VecDeque::new(),
            from_start: true,
            since: 0,
            first: change.seq,
            forgotten: None,
        });
        // What came while the user was being loaded may be in what was loaded.
        if known.last_seq() >= change.seq || loaded_at.is_some_and(|loaded_at| change.seq <= loaded_at) {
            return;
        }
        if known.history.back().is_none_or(|last| last.membership != change.membership) {
            known.since = change.seq;
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
            let users = users.filter_map(|user| OwnedUserId::try_from(user).ok());
            self.attention.ignored = Arc::new(users.collect());
            self.attention.ignored_seq = seq;
        }
        if room_id.is_empty() && kind == INVITE_PERMISSION {
            self.blocks_invites = blocks_invites(&content);
        }
        if room_id.is_empty() && kind == PUSH_RULES {
            match Rules::parse(&content, &self.user) {
                Ok(rules) => {
                    self.attention.rules = Arc::new(rules);
                    self.attention.rules_seq = seq;
                }
                Err(failure) => {
                    tracing::error!(user.id = %self.user, error = %failure, "push rules cannot be read");
                }
            }
        }
        if room_id.is_empty() && kind == DIRECT {
            self.direct.change(seq, &content);
        }
        if !room_id.is_empty() && kind == TAG {
            let tags = read_tags(&content);
            if tags.is_empty() {
                self.tags.remove(&room_id);
            } else {
                self.tags.insert(room_id.clone(), tags);
            }
        }
        if !room_id.is_empty() {
            self.room_data_seq = self.room_data_seq.max(seq);
        }
        self.account_data.entry(room_id).or_default().insert(kind, (seq, content));
    }

    pub(super) fn read(&self, request: Request<'_>, cut: &SyncToken, partition: usize) -> Reading {
        let Request { since, all_joined, now } = request;
        let position = |vector: &Vector, partition: usize| vector.get(partition).copied().unwrap_or_default();
        let data_since = since.map_or(0, |since| position(&since.users, partition));
        let data_of = |room_id: &str| -> Vec<(String, Bytes)> {
            let data = self.account_data.get(room_id).into_iter().flatten();
            data.filter(|(_, (seq, _))| since.is_none() || *seq > data_since)
                .map(|(kind, (_, content))| (kind.clone(), content.clone()))
                .collect()
        };
        // Rooms are looked at one by one, most of them in vain: it must be cheap to see that there is nothing.
        let has_room_data = since.is_none() || self.room_data_seq > data_since;
        let mut candidates = Vec::new();
        for (room_id, known) in &self.rooms {
            let room = &known.room;
            let since_seq = since.map(|since| position(&since.rooms, room.partition));
            let moved = since_seq.is_none_or(|since| room.moved_since(since) || known.last_seq() > since);
            let types = since.is_none_or(|since| {
                let then = i64::try_from(since.at).unwrap_or(i64::MAX);
                room.typing.changed_since(position(&since.live, room.partition), then, now)
            });
            if !(moved || types || all_joined || has_room_data) {
                continue;
            }
            let At::Known(current) = known.at(position(&cut.rooms, room.partition)) else {
                continue;
            };
            let joined = current.membership == Membership::Join;
            // Whatever the room told last, this server has not been in it since.
            if !joined && self.out_of_band.contains_key(room_id) {
                continue;
            }
            let (then, moved) = match since_seq {
                Some(since) => (known.at(since), moved && (joined || current.seq > since)),
                None => (At::Nothing, true),
            };
            let account_data = if has_room_data { data_of(room_id.as_str()) } else { Vec::new() };
            if moved || (joined && (types || all_joined || !account_data.is_empty())) {
                let upto = position(&cut.rooms, room.partition);
                let forgotten = known.forgotten.is_some_and(|seq| seq <= upto);
                candidates.push(Candidate {
                    room: Arc::clone(room),
                    now: current,
                    then,
                    forgotten,
                    since: known.since,
                    account_data,
                });
            }
        }
        let is_joined = |room_id: &RoomId| {
            let known =
                self.rooms.get(room_id).map(|known| known.at(position(&cut.rooms, known.room.partition)));
            matches!(known, Some(At::Known(current)) if current.membership == Membership::Join)
        };
        let out_of_band = self
            .out_of_band
            .iter()
            .filter(|(room_id, told)| (since.is_none() || told.seq > data_since) && !is_joined(room_id));
        Reading {
            candidates,
            account_data: data_of(""),
            attention: self.attention.clone(),
            blocks_invites: self.blocks_invites,
            out_of_band: out_of_band.map(|(room_id, told)| (room_id.clone(), told.clone())).collect(),
        }
    }
}

impl UserView {
    /// All rooms of the user as of a cut, in the order that positions count by.
    pub(super) fn all_rooms(&self, cut: &SyncToken, partition: usize) -> RoomsOfUser<'_> {
        let mut rooms: Vec<_> = self.rooms.values().filter_map(|known| known.as_of(&cut.rooms)).collect();
        rooms.sort_unstable_by_key(|known| (known.room.partition, known.first));
        RoomsOfUser {
            rooms,
            user: &self.user,
            partition,
            account_data: &self.account_data,
            room_data_seq: self.room_data_seq,
            tags: &self.tags,
            direct: &self.direct,
            attention: &self.attention,
            blocks_invites: self.blocks_invites,
        }
    }
}

impl UserRoom {
    fn as_of(&self, cut: &Vector) -> Option<RoomOfUser<'_>> {
        let upto = cut.get(self.room.partition).copied().unwrap_or_default();
        let now = self.history.iter().rev().find(|change| change.seq <= upto)?;
        let forgotten = self.forgotten.is_some_and(|seq| seq <= upto);
        Some(RoomOfUser {
            room: &self.room,
            now,
            first: self.first,
            place: self.place,
            since: self.since,
            forgotten,
        })
    }

    pub(super) fn last_seq(&self) -> u64 {
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
