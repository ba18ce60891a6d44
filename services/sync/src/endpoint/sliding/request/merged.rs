//! The request as the merged text of MSC4186 has it.

use std::{collections::BTreeMap, time::Duration};

use ruma::OwnedRoomId;
use serde::Deserialize;

use super::{
    List, Request, RequiredState, Wish,
    deployed::{ExtensionsBody, FilterBody, index, limit},
};
use crate::limits;

/// The body. What is not known is passed over.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Body {
    #[serde(default)]
    pos: Option<String>,
    #[serde(default)]
    timeout: Option<u64>,
    #[serde(default)]
    conn_id: Option<String>,
    #[serde(default)]
    lists: BTreeMap<String, ListBody>,
    #[serde(default)]
    room_subscriptions: BTreeMap<OwnedRoomId, WishBody>,
    #[serde(default)]
    extensions: ExtensionsBody,
}

#[derive(Debug, Default, Deserialize)]
struct ListBody {
    range: Option<(u64, u64)>,
    #[serde(flatten)]
    wish: WishBody,
    #[serde(default)]
    filters: Option<FilterBody>,
}

#[derive(Debug, Default, Deserialize)]
struct WishBody {
    #[serde(default)]
    required_state: StateBody,
    #[serde(default)]
    timeline_limit: u64,
}

#[derive(Debug, Default, Deserialize)]
struct StateBody {
    #[serde(default)]
    include: Vec<EntryBody>,
    #[serde(default)]
    exclude: Vec<EntryBody>,
    #[serde(default)]
    lazy_members: bool,
}

/// What is absent stands for any.
#[derive(Debug, Default, Deserialize)]
struct EntryBody {
    r#type: Option<String>,
    state_key: Option<String>,
}

impl Body {
    pub(crate) fn request(self) -> Request {
        Request {
            pos: self.pos,
            timeout: Duration::from_millis(self.timeout.unwrap_or(0)).min(limits::MAX_POLL),
            conn_id: self.conn_id.unwrap_or_default(),
            txn_id: None,
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
        let range = self.range.map_or((0, usize::MAX), |(from, to)| (index(from), index(to)));
        List { ranges: vec![range], wish: self.wish.read(), filter: self.filters.unwrap_or_default().read() }
    }
}

impl WishBody {
    fn read(self) -> Wish {
        let any = || "*".to_owned();
        let entry =
            |entry: EntryBody| (entry.r#type.unwrap_or_else(any), entry.state_key.unwrap_or_else(any));
        let state = RequiredState {
            include: self.required_state.include.into_iter().map(entry).collect(),
            exclude: self.required_state.exclude.into_iter().map(entry).collect(),
            lazy_members: self.required_state.lazy_members,
        };
        Wish { limit: limit(self.timeline_limit), state, scopes: 0 }
    }
}
