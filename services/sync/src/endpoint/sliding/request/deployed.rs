//! The request as clients in use write it: `org.matrix.simplified_msc3575`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ruma::OwnedRoomId;
use serde::Deserialize;

use super::{Extensions, Filter, List, Request, RequiredState, Scope, WantedInbox, Wish};
use crate::limits;

const MEMBER: &str = "m.room.member";
const LAZY: &str = "$LAZY";

/// The query string.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Query {
    pos: Option<String>,
    timeout: Option<u64>,
    /// Accepted, and without effect: there is no presence yet.
    #[serde(rename = "set_presence")]
    _set_presence: Option<String>,
}

/// The body. What is not known is passed over.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Body {
    #[serde(default)]
    conn_id: Option<String>,
    #[serde(default)]
    txn_id: Option<String>,
    #[serde(default)]
    lists: BTreeMap<String, ListBody>,
    #[serde(default)]
    room_subscriptions: BTreeMap<OwnedRoomId, WishBody>,
    #[serde(default)]
    extensions: ExtensionsBody,
}

#[derive(Debug, Default, Deserialize)]
struct ListBody {
    #[serde(default)]
    ranges: Vec<(u64, u64)>,
    #[serde(flatten)]
    wish: WishBody,
    #[serde(default)]
    filters: Option<FilterBody>,
}

#[derive(Debug, Default, Deserialize)]
struct WishBody {
    #[serde(default)]
    required_state: Vec<(String, String)>,
    #[serde(default)]
    timeline_limit: u64,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct FilterBody {
    is_dm: Option<bool>,
    is_encrypted: Option<bool>,
    #[serde(alias = "is_invited")]
    is_invite: Option<bool>,
    spaces: Option<Vec<OwnedRoomId>>,
    room_types: Option<Vec<Option<String>>>,
    #[serde(default)]
    not_room_types: Option<Vec<Option<String>>>,
    tags: Option<Vec<String>>,
    #[serde(default)]
    not_tags: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ExtensionsBody {
    #[serde(default)]
    to_device: InboxBody,
    #[serde(default)]
    e2ee: ScopeBody,
    #[serde(default)]
    account_data: ScopeBody,
    #[serde(default)]
    receipts: ScopeBody,
    #[serde(default)]
    typing: ScopeBody,
}

#[derive(Debug, Default, Deserialize)]
struct ScopeBody {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    lists: Option<BTreeSet<String>>,
    #[serde(default)]
    rooms: Option<BTreeSet<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct InboxBody {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    limit: Option<u64>,
}

impl Body {
    pub(crate) fn request(self, query: Query) -> Request {
        Request {
            pos: query.pos.filter(|pos| !pos.is_empty()),
            timeout: Duration::from_millis(query.timeout.unwrap_or(0)).min(limits::MAX_POLL),
            conn_id: self.conn_id.unwrap_or_default(),
            txn_id: self.txn_id,
            lists: self.lists.into_iter().map(|(name, list)| (name, list.read())).collect(),
            subscriptions: self
                .room_subscriptions
                .into_iter()
                .map(|(room, wish)| (room, wish.read()))
                .collect(),
            extensions: self.extensions.read(),
        }
    }
}

impl ListBody {
    fn read(self) -> List {
        let ranges = self.ranges.into_iter().map(|(from, to)| (index(from), index(to))).collect();
        List { ranges, wish: self.wish.read(), filter: self.filters.unwrap_or_default().read() }
    }
}

impl WishBody {
    fn read(self) -> Wish {
        let mut state = RequiredState::default();
        for (kind, key) in self.required_state {
            if kind == MEMBER && key == LAZY {
                state.lazy_members = true;
            } else if key != LAZY {
                state.include.insert((kind, key));
            }
        }
        // All members are more than some.
        if state.wants_all_members() {
            state.lazy_members = false;
        }
        Wish { limit: limit(self.timeline_limit), state, scopes: 0 }
    }
}

impl FilterBody {
    pub(super) fn read(self) -> Filter {
        Filter {
            is_dm: self.is_dm,
            is_encrypted: self.is_encrypted,
            is_invite: self.is_invite,
            spaces: self.spaces,
            room_types: self.room_types,
            not_room_types: self.not_room_types.unwrap_or_default(),
            tags: self.tags,
            not_tags: self.not_tags.unwrap_or_default(),
        }
    }
}

impl ExtensionsBody {
    pub(super) fn read(self) -> Extensions {
        let read = |body: ScopeBody| {
            body.enabled.unwrap_or_default().then_some(Scope { lists: body.lists, rooms: body.rooms })
        };
        let is_on = self.to_device.enabled.unwrap_or_default();
        Extensions {
            to_device: is_on.then(|| self.to_device.read()),
            e2ee: self.e2ee.enabled.unwrap_or_default(),
            account_data: read(self.account_data),
            receipts: read(self.receipts),
            typing: read(self.typing),
        }
    }
}

impl InboxBody {
    /// More than fit are told by the next answer.
    fn read(self) -> WantedInbox {
        let most = limits::INBOX_PAGE;
        let limit = self.limit.map_or(most, |limit| u32::try_from(limit).unwrap_or(most).clamp(1, most));
        WantedInbox { since: self.since.filter(|since| !since.is_empty()), limit }
    }
}

pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// One that is too large stays so, to be refused.
pub(super) fn limit(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
