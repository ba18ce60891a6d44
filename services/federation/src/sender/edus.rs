//! Ephemeral data for one server: who types, and receipts. Only the newest counts, and none of it is kept.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#edus)

use std::collections::BTreeMap;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::{Value, json};

/// Most of each kind that wait for one server; further ones are dropped.
const MAX_WAITING: usize = 1_000;
/// Most users or rooms in one EDU, so that it stays below 64 KiB.
const MAX_IN_ONE: usize = 100;

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) room_id: OwnedRoomId,
    pub(super) user_id: OwnedUserId,
    /// Thread root or `main`; empty for none.
    pub(super) thread_id: String,
    pub(super) event_id: OwnedEventId,
    pub(super) ts: i64,
}

/// What waits for one server.
#[derive(Debug, Default)]
pub(super) struct Edus {
    typing: BTreeMap<(OwnedRoomId, OwnedUserId), bool>,
    receipts: BTreeMap<(OwnedRoomId, OwnedUserId, String), (OwnedEventId, i64)>,
    /// When the receipts are to be sent.
    receipts_due: i64,
}

impl Edus {
    pub(super) fn add_typing(&mut self, room_id: OwnedRoomId, user_id: OwnedUserId, is_typing: bool) {
        if self.typing.len() < MAX_WAITING {
            self.typing.insert((room_id, user_id), is_typing);
        }
    }

    /// Adds a receipt that may wait for others until some time.
    pub(super) fn add_receipt(&mut self, receipt: Receipt, until: i64) {
        if self.receipts.len() < MAX_WAITING {
            self.receipts_due = if self.receipts.is_empty() { until } else { self.receipts_due.min(until) };
            let Receipt { room_id, user_id, thread_id, event_id, ts } = receipt;
            self.receipts.insert((room_id, user_id, thread_id), (event_id, ts));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When something is to be sent: 0 for at once.
    pub(super) fn due(&self) -> Option<i64> {
        if !self.typing.is_empty() {
            return Some(0);
        }
        (!self.receipts.is_empty()).then_some(self.receipts_due)
    }

    /// Takes what is to be sent, at most so many EDUs. Receipts go with whatever is sent, whether or not they are due.
    pub(super) fn take(&mut self, max: usize) -> Vec<Value> {
        let mut edus = Vec::new();
        while edus.len() < max
            && let Some(((room_id, user_id), typing)) = self.typing.pop_first()
        {
            edus.push(json!({
                "edu_type": "m.typing",
                "content": { "room_id": room_id, "user_id": user_id, "typing": typing },
            }));
        }
        while edus.len() < max && !self.receipts.is_empty() {
            edus.push(self.take_receipts());
        }
        edus
    }

    /// An EDU of receipts. One user has at most one in a room in each: threads come one after the other.
    fn take_receipts(&mut self) -> Value {
        let mut content: BTreeMap<OwnedRoomId, BTreeMap<OwnedUserId, Value>> = BTreeMap::new();
        let mut taken = Vec::new();
        for (key, (event_id, ts)) in &self.receipts {
            let (room_id, user_id, thread_id) = key;
            let users = content.entry(room_id.clone()).or_default();
            if taken.len() >= MAX_IN_ONE || users.contains_key(user_id) {
                continue;
            }
            let mut data = json!({ "ts": ts });
            if !thread_id.is_empty() {
                data["thread_id"] = thread_id.as_str().into();
            }
            users.insert(user_id.clone(), json!({ "data": data, "event_ids": [event_id] }));
            taken.push(key.clone());
        }
        for key in taken {
            self.receipts.remove(&key);
        }
        let rooms = content.into_iter().filter(|(_, users)| !users.is_empty());
        let rooms: BTreeMap<OwnedRoomId, Value> =
            rooms.map(|(room_id, users)| (room_id, json!({ "m.read": users }))).collect();
        json!({ "edu_type": "m.receipt", "content": rooms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(thread: &str, event: &str) -> Receipt {
        Receipt {
            room_id: "!r:a.test".try_into().unwrap(),
            user_id: "@u:a.test".try_into().unwrap(),
            thread_id: thread.to_owned(),
            event_id: event.try_into().unwrap(),
            ts: 5,
        }
    }

    #[test]
    fn receipts_are_merged_and_threads_of_a_user_are_told_one_by_one() {
        let mut edus = Edus::default();
        assert_eq!(edus.due(), None);
        edus.add_receipt(receipt("", "$a:a"), 100);
        edus.add_receipt(receipt("", "$b:a"), 200);
        edus.add_receipt(receipt("main", "$c:a"), 50);
        assert_eq!(edus.due(), Some(50));
        let told = edus.take(100);
        let one = |event: &str, data: Value| {
            json!({
                "edu_type": "m.receipt",
                "content": { "!r:a.test": { "m.read": { "@u:a.test": { "data": data, "event_ids": [event] } } } },
            })
        };
        assert_eq!(
            told,
            [one("$b:a", json!({ "ts": 5 })), one("$c:a", json!({ "ts": 5, "thread_id": "main" }))]
        );
        assert_eq!((edus.due(), edus.take(100)), (None, vec![]));
    }

    #[test]
    fn only_the_last_word_about_typing_is_told() {
        let mut edus = Edus::default();
        let (room, user): (OwnedRoomId, OwnedUserId) =
            ("!r:a.test".try_into().unwrap(), "@u:a.test".try_into().unwrap());
        edus.add_typing(room.clone(), user.clone(), true);
        edus.add_typing(room, user, false);
        assert_eq!(edus.due(), Some(0));
        let content = json!({ "room_id": "!r:a.test", "user_id": "@u:a.test", "typing": false });
        assert_eq!(edus.take(0), Vec::<Value>::new());
        assert_eq!(edus.take(9), [json!({ "edu_type": "m.typing", "content": content })]);
    }

    #[test]
    fn what_waits_is_bounded_and_so_is_one_edu() {
        let mut edus = Edus::default();
        for number in 0..2_000 {
            let user_id = format!("@u{number}:a.test").try_into().unwrap();
            edus.add_receipt(Receipt { user_id, ..receipt("", "$a:a") }, 0);
        }
        let told = edus.take(100);
        assert_eq!(told.len(), 10);
        assert!(told.iter().all(|edu| edu.to_string().len() < 64 * 1024));
    }
}
