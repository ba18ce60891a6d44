//! The answer, as JSON.

use std::{collections::BTreeMap, sync::Arc};

use plexus_matrix_http::token::{SyncToken, TimelineToken};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::params::StateAfter;
use crate::view::Counts;

/// The answer to `/sync`.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    #[serde(serialize_with = "as_text")]
    pub(crate) next_batch: SyncToken,
    pub(crate) account_data: Events,
    pub(crate) presence: Events,
    pub(crate) to_device: Events,
    pub(crate) device_lists: DeviceLists,
    pub(crate) device_one_time_keys_count: BTreeMap<String, u64>,
    pub(crate) device_unused_fallback_key_types: Vec<String>,
    /// Whether what the device has left changed since the client was told.
    #[serde(skip)]
    pub(crate) has_new_key_counts: bool,
    pub(crate) rooms: Rooms,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Events {
    pub(crate) events: Vec<Arc<RawValue>>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct DeviceLists {
    pub(crate) changed: Vec<OwnedUserId>,
    pub(crate) left: Vec<OwnedUserId>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Rooms {
    pub(crate) join: BTreeMap<OwnedRoomId, JoinedRoom>,
    pub(crate) invite: BTreeMap<OwnedRoomId, InvitedRoom>,
    pub(crate) knock: BTreeMap<OwnedRoomId, KnockedRoom>,
    pub(crate) leave: BTreeMap<OwnedRoomId, LeftRoom>,
}

#[derive(Debug, Serialize)]
pub(crate) struct JoinedRoom {
    pub(crate) summary: Summary,
    #[serde(flatten)]
    pub(crate) state: State,
    pub(crate) timeline: Timeline,
    pub(crate) ephemeral: Events,
    pub(crate) account_data: Events,
    /// Unset where counting was too much work: the client keeps what it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unread_notifications: Option<UnreadNotifications>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) unread_thread_notifications: BTreeMap<String, UnreadNotifications>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LeftRoom {
    #[serde(flatten)]
    pub(crate) state: State,
    pub(crate) timeline: Timeline,
    pub(crate) account_data: Events,
}

#[derive(Debug, Serialize)]
pub(crate) struct InvitedRoom {
    pub(crate) invite_state: Events,
}

#[derive(Debug, Serialize)]
pub(crate) struct KnockedRoom {
    pub(crate) knock_state: Events,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    #[serde(rename = "m.heroes", skip_serializing_if = "Option::is_none")]
    pub(crate) heroes: Option<Vec<OwnedUserId>>,
    #[serde(rename = "m.joined_member_count", skip_serializing_if = "Option::is_none")]
    pub(crate) joined: Option<u64>,
    #[serde(rename = "m.invited_member_count", skip_serializing_if = "Option::is_none")]
    pub(crate) invited: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct UnreadNotifications {
    highlight_count: u64,
    notification_count: u64,
}

impl From<Counts> for UnreadNotifications {
    fn from(counts: Counts) -> Self {
        Self { highlight_count: counts.highlights, notification_count: counts.notifications }
    }
}

/// The state, under the name that the client expects. Only one is set.
#[derive(Debug, Default, Serialize)]
pub(crate) struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Events>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_after: Option<Events>,
    #[serde(rename = "org.matrix.msc4222.state_after", skip_serializing_if = "Option::is_none")]
    state_after_unstable: Option<Events>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Timeline {
    pub(crate) events: Vec<Arc<RawValue>>,
    pub(crate) limited: bool,
    #[serde(serialize_with = "as_text")]
    pub(crate) prev_batch: TimelineToken,
}

impl Response {
    pub(crate) fn new(next_batch: SyncToken) -> Self {
        Self {
            next_batch,
            account_data: Events::default(),
            presence: Events::default(),
            to_device: Events::default(),
            device_lists: DeviceLists::default(),
            device_one_time_keys_count: BTreeMap::new(),
            device_unused_fallback_key_types: Vec::new(),
            has_new_key_counts: false,
            rooms: Rooms::default(),
        }
    }

    /// About how many bytes it takes as JSON.
    pub(crate) fn weight(&self) -> usize {
        const FRAME: usize = 1024;
        let Rooms { join, invite, knock, leave } = &self.rooms;
        let joined = join.values().map(|room| {
            let more = room.ephemeral.weight() + room.account_data.weight();
            room.state.weight() + room.timeline.weight() + more
        });
        let left = leave
            .values()
            .map(|room| room.state.weight() + room.timeline.weight() + room.account_data.weight());
        let invited = invite.values().map(|room| room.invite_state.weight());
        let knocked = knock.values().map(|room| room.knock_state.weight());
        let rooms: usize = joined.chain(left).chain(invited).chain(knocked).map(|bytes| bytes + FRAME).sum();
        FRAME + self.account_data.weight() + self.to_device.weight() + rooms
    }

    /// Whether it tells nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let Rooms { join, invite, knock, leave } = &self.rooms;
        self.account_data.events.is_empty()
            && self.to_device.events.is_empty()
            && self.device_lists.changed.is_empty()
            && self.device_lists.left.is_empty()
            && !self.has_new_key_counts
            && join.is_empty()
            && invite.is_empty()
            && knock.is_empty()
            && leave.is_empty()
    }
}

fn weight(events: &[Arc<RawValue>]) -> usize {
    events.iter().map(|event| event.get().len() + 1).sum()
}

impl Events {
    fn weight(&self) -> usize {
        weight(&self.events)
    }
}

impl Timeline {
    fn weight(&self) -> usize {
        weight(&self.events)
    }
}

impl State {
    fn weight(&self) -> usize {
        let all = [&self.state, &self.state_after, &self.state_after_unstable];
        all.into_iter().flatten().map(Events::weight).sum()
    }

    pub(crate) fn new(events: Vec<Arc<RawValue>>, name: StateAfter) -> Self {
        let events = Some(Events { events });
        match name {
            StateAfter::No => Self { state: events, ..Self::default() },
            StateAfter::Stable => Self { state_after: events, ..Self::default() },
            StateAfter::Unstable => Self { state_after_unstable: events, ..Self::default() },
        }
    }
}

fn as_text<T: std::fmt::Display, S: Serializer>(token: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(token)
}
