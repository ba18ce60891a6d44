//! The answer of sliding sync, and how both dialects write it.

use std::{collections::BTreeMap, sync::Arc};

use plexus_matrix_http::token::TimelineToken;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::{
    endpoint::response::DeviceLists,
    view::{Counts, Membership},
};

/// Which dialect the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `org.matrix.simplified_msc3575`.
    Deployed,
    /// The merged text of MSC4186.
    Merged,
}

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) pos: String,
    pub(crate) txn_id: Option<String>,
    /// By list: how many rooms it has.
    pub(crate) lists: BTreeMap<String, usize>,
    pub(crate) rooms: BTreeMap<OwnedRoomId, Room>,
    pub(crate) extensions: Extensions,
    /// Whether there is more to tell, so that the client is to come again at once.
    pub(crate) is_partial: bool,
}

/// A room of an answer.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) initial: bool,
    pub(crate) membership: Membership,
    pub(crate) lists: Vec<String>,
    /// Unset if unchanged, or unset within if the room has none any more.
    pub(crate) name: Option<Option<String>>,
    pub(crate) avatar: Option<Option<String>>,
    pub(crate) heroes: Option<Vec<Hero>>,
    pub(crate) is_dm: bool,
    pub(crate) bump_stamp: i64,
    pub(crate) joined_count: Option<u64>,
    pub(crate) invited_count: Option<u64>,
    pub(crate) counts: Option<Counts>,
    pub(crate) required_state: Vec<Arc<RawValue>>,
    pub(crate) timeline: Option<Timeline>,
    pub(crate) stripped_state: Option<Vec<Arc<RawValue>>>,
}

/// The timeline of a room.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) events: Vec<Arc<RawValue>>,
    pub(crate) limited: bool,
    pub(crate) expanded: bool,
    pub(crate) prev_batch: TimelineToken,
    pub(crate) live: usize,
}

/// A member that stands for a room without a name.
#[derive(Debug, Serialize)]
pub(crate) struct Hero {
    pub(crate) user_id: OwnedUserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) displayname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) avatar_url: Option<String>,
}

/// What extensions tell.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Extensions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_device: Option<ToDevice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) e2ee: Option<Encryption>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account_data: Option<AccountData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipts: Option<OfRooms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) typing: Option<OfRooms>,
}

/// Messages to the device.
#[derive(Debug, Serialize)]
pub(crate) struct ToDevice {
    pub(crate) next_batch: String,
    pub(crate) events: Vec<Arc<RawValue>>,
}

/// Whose keys changed, and what the device has left.
#[derive(Debug, Serialize)]
pub(crate) struct Encryption {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_lists: Option<DeviceLists>,
    pub(crate) device_one_time_keys_count: BTreeMap<String, u64>,
    pub(crate) device_unused_fallback_key_types: Vec<String>,
    /// Whether what the device has left changed since the client was told.
    #[serde(skip)]
    pub(crate) has_new_key_counts: bool,
}

/// Account data.
#[derive(Debug, Default, Serialize)]
pub(crate) struct AccountData {
    pub(crate) global: Vec<Arc<RawValue>>,
    pub(crate) rooms: BTreeMap<OwnedRoomId, Vec<Arc<RawValue>>>,
}

/// One event of each room.
#[derive(Debug, Default, Serialize)]
pub(crate) struct OfRooms {
    pub(crate) rooms: BTreeMap<OwnedRoomId, Arc<RawValue>>,
}

impl Response {
    /// Whether it tells nothing, and there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        let Extensions { to_device, e2ee, account_data, receipts, typing } = &self.extensions;
        !self.is_partial
            && self.rooms.is_empty()
            && to_device.as_ref().is_none_or(|messages| messages.events.is_empty())
            && e2ee.as_ref().is_none_or(Encryption::is_empty)
            && account_data.as_ref().is_none_or(|data| data.global.is_empty() && data.rooms.is_empty())
            && [receipts, typing].into_iter().flatten().all(|of| of.rooms.is_empty())
    }

    /// The body.
    pub(crate) fn write(&self, dialect: Dialect) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Written { response: self, dialect })
    }
}

impl Encryption {
    /// Whether it tells nothing that the client does not know.
    fn is_empty(&self) -> bool {
        let lists = self.device_lists.as_ref();
        !self.has_new_key_counts
            && lists.is_none_or(|lists| lists.changed.is_empty() && lists.left.is_empty())
    }
}

struct Written<'a> {
    response: &'a Response,
    dialect: Dialect,
}

#[derive(Serialize)]
struct List {
    count: usize,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { response, dialect } = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("pos", &response.pos)?;
        if let Some(txn_id) = &response.txn_id {
            map.serialize_entry("txn_id", txn_id)?;
        }
        let lists: BTreeMap<&String, List> =
            response.lists.iter().map(|(name, count)| (name, List { count: *count })).collect();
        map.serialize_entry("lists", &lists)?;
        let rooms: BTreeMap<&OwnedRoomId, WrittenRoom<'_>> =
            response.rooms.iter().map(|(id, room)| (id, WrittenRoom { room, dialect })).collect();
        map.serialize_entry("rooms", &rooms)?;
        map.serialize_entry("extensions", &response.extensions)?;
        map.end()
    }
}

struct WrittenRoom<'a> {
    room: &'a Room,
    dialect: Dialect,
}

impl Serialize for WrittenRoom<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { room, dialect } = *self;
        let is_merged = dialect == Dialect::Merged;
        let mut map = serializer.serialize_map(None)?;
        if room.initial {
            map.serialize_entry("initial", &true)?;
        }
        // The deployed dialect has no word for what is gone.
        for (key, value) in [("name", &room.name), ("avatar", &room.avatar)] {
            match value {
                Some(Some(value)) => map.serialize_entry(key, value)?,
                Some(None) if is_merged && !room.initial => map.serialize_entry(key, &())?,
                Some(None) | None => {}
            }
        }
        if let Some(heroes) = &room.heroes {
            map.serialize_entry("heroes", heroes)?;
        }
        map.serialize_entry("is_dm", &room.is_dm)?;
        map.serialize_entry("bump_stamp", &room.bump_stamp)?;
        if let Some(count) = room.joined_count {
            map.serialize_entry("joined_count", &count)?;
        }
        if let Some(count) = room.invited_count {
            map.serialize_entry("invited_count", &count)?;
        }
        if let Some(counts) = room.counts.filter(|_| !is_merged) {
            map.serialize_entry("notification_count", &counts.notifications)?;
            map.serialize_entry("highlight_count", &counts.highlights)?;
        }
        if is_merged {
            map.serialize_entry("membership", room.membership.as_str())?;
            map.serialize_entry("lists", &room.lists)?;
        }
        if let Some(stripped) = &room.stripped_state {
            map.serialize_entry(if is_merged { "stripped_state" } else { "invite_state" }, stripped)?;
        }
        if !room.required_state.is_empty() || room.initial {
            map.serialize_entry("required_state", &room.required_state)?;
        }
        if let Some(timeline) = &room.timeline {
            map.serialize_entry("timeline", &timeline.events)?;
            map.serialize_entry("limited", &timeline.limited)?;
            map.serialize_entry("num_live", &timeline.live)?;
            map.serialize_entry("prev_batch", &timeline.prev_batch.to_string())?;
            if timeline.expanded {
                let key = if is_merged { "expanded_timeline" } else { "unstable_expanded_timeline" };
                map.serialize_entry(key, &true)?;
            }
        }
        map.end()
    }
}
