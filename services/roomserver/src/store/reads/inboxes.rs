//! Messages to devices.

use diesel::{
    Queryable,
    sql_types::{Binary, Int8, Text},
};

use super::query::query;

/// A message to a device.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct MessageRow {
    pub(crate) seq: i64,
    pub(crate) sender: String,
    pub(crate) kind: String,
    pub(crate) content: Vec<u8>,
}

query! {
    /// Lists messages to a device after a position, in order: as many as asked, but none that begins beyond so many
    /// bytes of content.
    fn list_messages<'a>(
        user_id: str as Text,
        device_id: str as Text,
        after_seq: i64 as Int8,
        limit: i64 as Int8,
        bytes: i64 as Int8,
    ) -> MessageRow as (Int8, Text, Text, Binary) =
        "SELECT m.seq, m.sender, m.type, m.content FROM ( \
           SELECT seq, sender, type, content, \
             sum(octet_length(content)) OVER (ORDER BY seq) - octet_length(content) AS before \
           FROM to_device WHERE user_id = ? AND device_id = ? AND seq > ? ORDER BY seq LIMIT ? \
         ) m WHERE m.before < ? ORDER BY m.seq";
}

query! {
    /// Tells the last message of each inbox of a user in which some wait.
    fn list_inboxes<'a>(user_id: str as Text) -> (String, i64) as (Text, Int8) =
        "SELECT d.device_id, m.seq FROM devices d CROSS JOIN LATERAL ( \
           SELECT t.seq FROM to_device t WHERE t.user_id = d.user_id AND t.device_id = d.device_id \
           ORDER BY t.seq DESC LIMIT 1 \
         ) m WHERE d.user_id = ?";
}
