//! Messages to devices of one user, as records that fit into the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use plexus_proto::log::v1::{SendToDevice, ToDeviceMessage};
use ruma::UserId;

/// Stands for all devices of a user.
pub const ALL_DEVICES: &str = "*";

/// Puts messages to devices of one user into as few records of `part_bytes` as they fit into. Of the devices that are
/// named beside all of them the first record notes as many as fit into it.
#[must_use]
pub fn split_to_device(
    sender: &UserId,
    event_type: &str,
    mut messages: BTreeMap<String, Bytes>,
    part_bytes: usize,
) -> Vec<SendToDevice> {
    let part =
        || SendToDevice { sender: sender.to_string(), r#type: event_type.to_owned(), ..Default::default() };
    let mut current = part();
    if let Some(to_all) = messages.remove(ALL_DEVICES) {
        current.to_all = to_all;
        let mut left = part_bytes;
        let named = messages.keys().take_while(|device_id| {
            left = left.saturating_sub(device_id.len() + 8);
            left > 0
        });
        current.but = named.cloned().collect();
    }
    let mut bytes = current.to_all.len() + current.but.iter().map(|id| id.len() + 8).sum::<usize>();
    let mut parts = Vec::new();
    for (device_id, content) in messages {
        let more = device_id.len() + content.len() + 16;
        if bytes > 0 && bytes + more > part_bytes {
            parts.push(std::mem::replace(&mut current, part()));
            bytes = 0;
        }
        bytes += more;
        current.messages.push(ToDeviceMessage { device_id, content });
    }
    parts.push(current);
    parts
}
