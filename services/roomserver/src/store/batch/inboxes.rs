//! Messages to devices.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int8, Nullable, Text};
use indexmap::IndexMap;

use super::Pipeline;
use crate::{store::statement::statement, users::InboxMessage};

/// What a batch puts into inboxes and takes out of them. What goes lies before a `seq`, so it may go after all else was
/// put in.
#[derive(Default)]
pub(super) struct Inboxes {
    added: Vec<(String, InboxMessage)>,
    trimmed: IndexMap<(String, String), i64>,
}

impl Inboxes {
    /// Adds a message.
    pub(super) fn add(&mut self, user_id: &str, message: InboxMessage) {
        self.added.push((user_id.to_owned(), message));
    }

    /// Takes out messages up to a `seq`.
    pub(super) fn trim(&mut self, user_id: &str, device_id: String, upto: i64) {
        let known = self.trimmed.entry((user_id.to_owned(), device_id)).or_insert(upto);
        *known = (*known).max(upto);
    }

    /// Writes it.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        let is_kept = |user_id: &String, message: &InboxMessage| {
            let trimmed = self.trimmed.get(&(user_id.clone(), message.device_id.clone()));
            trimmed.is_none_or(|upto| message.seq > *upto)
        };
        let rows: Vec<_> = self.added.iter().filter(|(user_id, message)| is_kept(user_id, message)).collect();
        if !rows.is_empty() {
            pipeline.add(
                InsertMessages::NAME,
                InsertMessages {
                    user_id: rows.iter().map(|(user_id, _)| user_id.as_str()).collect(),
                    device_id: rows.iter().map(|(_, row)| row.device_id.as_str()).collect(),
                    seq: rows.iter().map(|(_, row)| row.seq).collect(),
                    sender: rows.iter().map(|(_, row)| row.sender.as_str()).collect(),
                    kind: rows.iter().map(|(_, row)| row.kind.as_str()).collect(),
                    content: rows.iter().map(|(_, row)| row.content.as_ref()).collect(),
                    request_key: rows
                        .iter()
                        .map(|(_, row)| row.request_key.as_ref().map(|key| key.as_slice()))
                        .collect(),
                    created_ts: rows.iter().map(|(_, row)| row.created_ts).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let requests: Vec<_> = rows
            .iter()
            .filter_map(|(user_id, row)| Some((user_id, row, row.request_key.as_ref()?.as_slice())))
            .collect();
        if !requests.is_empty() {
            pipeline.add(
                DeleteReplaced::NAME,
                DeleteReplaced {
                    user_id: requests.iter().map(|(user_id, ..)| user_id.as_str()).collect(),
                    device_id: requests.iter().map(|(_, row, _)| row.device_id.as_str()).collect(),
                    request_key: requests.iter().map(|(.., key)| *key).collect(),
                    seq: requests.iter().map(|(_, row, _)| row.seq).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.trimmed.is_empty() {
            pipeline.add(
                TrimInboxes::NAME,
                TrimInboxes {
                    user_id: self.trimmed.keys().map(|(user_id, _)| user_id.as_str()).collect(),
                    device_id: self.trimmed.keys().map(|(_, device_id)| device_id.as_str()).collect(),
                    upto: self.trimmed.values().copied().collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Adds messages.
    InsertMessages {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        seq: Array<Int8> => Vec<i64>,
        sender: Array<Text> => Vec<&'a str>,
        kind: Array<Text> => Vec<&'a str>,
        content: Array<Binary> => Vec<&'a [u8]>,
        request_key: Array<Nullable<Binary>> => Vec<Option<&'a [u8]>>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO to_device (user_id, device_id, seq, sender, type, content, request_key, created_ts) \
     SELECT * FROM unnest(",
    ")"
}

statement! {
    /// Takes out what newer messages of the same key replace.
    DeleteReplaced {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        request_key: Array<Binary> => Vec<&'a [u8]>,
        seq: Array<Int8> => Vec<i64>,
    }
    "DELETE FROM to_device AS d USING unnest(",
    ") AS v(user_id, device_id, request_key, seq) WHERE d.user_id = v.user_id AND d.device_id = v.device_id \
     AND d.request_key = v.request_key AND d.seq < v.seq"
}

statement! {
    /// Takes messages out.
    TrimInboxes {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        upto: Array<Int8> => Vec<i64>,
    }
    "DELETE FROM to_device AS d USING unnest(",
    ") AS v(user_id, device_id, upto) WHERE d.user_id = v.user_id AND d.device_id = v.device_id \
     AND d.seq <= v.upto"
}
