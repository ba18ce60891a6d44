//! Messages to devices: into their inboxes, and out of them once they have arrived.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        AckToDevice, OutgoingPending, QueueToDevice, SendToDevice, ToDevicePending, output_user_event::Fact,
    },
};
use ruma::{ServerName, UserId};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    data::check_object,
    state::{Change, InboxMessage},
};

/// Most bytes of the content of one message: with what is around it, it fits into an EDU.
const MAX_TO_DEVICE_BYTES: usize = 64 * 1024;
/// Most bytes of the content of an EDU with messages: one of the greatest size, and what is around it.
const MAX_QUEUED_BYTES: usize = 72 * 1024;
/// Requests for room keys, and what takes them back.
const ROOM_KEY_REQUEST: &str = "m.room_key_request";

/// Puts messages into inboxes. Whoever or whatever does not exist is skipped.
pub(super) fn send(work: &mut Work<'_>, command: &SendToDevice) -> Result<(), Stop> {
    let SendToDevice { sender, r#type, messages, to_all, but } = command;
    if <&UserId>::try_from(sender.as_str()).is_err() {
        return refuse(ErrorReason::InvalidParam, "sender is not a user ID");
    }
    check_name("sender", sender, MAX_NAME_BYTES)?;
    check_name("the type", r#type, MAX_NAME_BYTES)?;
    let contents = messages.iter().map(|message| &message.content);
    for content in contents.chain(Some(to_all).filter(|content| !content.is_empty())) {
        check_object("the content", content, MAX_TO_DEVICE_BYTES)?;
    }
    if work.user.account.as_ref().is_none_or(|account| account.deactivated) {
        return Ok(());
    }
    let mut found: BTreeMap<&str, &Bytes> = BTreeMap::new();
    if !to_all.is_empty() {
        let but: BTreeSet<&str> = but.iter().map(String::as_str).collect();
        let devices = work.user.devices.keys().map(String::as_str).filter(|id| !but.contains(id));
        found.extend(devices.map(|id| (id, to_all)));
    }
    let known = messages.iter().filter(|message| work.user.devices.contains_key(&message.device_id));
    found.extend(known.map(|message| (message.device_id.as_str(), &message.content)));
    if found.is_empty() {
        return Ok(());
    }
    let seq = work.next_seq();
    let pending = ToDevicePending { device_ids: found.keys().map(|id| (*id).to_owned()).collect() };
    let messages = found.into_iter().map(|(device_id, content)| {
        Change::ToDevice(InboxMessage {
            device_id: device_id.to_owned(),
            seq,
            sender: sender.clone(),
            kind: r#type.clone(),
            content: content.clone(),
            request_key: request_key(sender, r#type, content),
            created_ts: work.record.produced_ts,
        })
    });
    let messages: Vec<Change> = messages.collect();
    work.changes.extend(messages);
    work.put_out(Fact::ToDevicePending(pending));
    Ok(())
}

/// Puts messages aside for another server.
pub(super) fn queue(work: &mut Work<'_>, command: &QueueToDevice, own: &ServerName) -> Result<(), Stop> {
    work.active_account()?;
    if <&ServerName>::try_from(command.server.as_str()).is_err() || command.server == own.as_str() {
        return refuse(ErrorReason::InvalidParam, "server is not the name of another server");
    }
    check_name("server", &command.server, MAX_NAME_BYTES)?;
    check_object("the content", &command.content, MAX_QUEUED_BYTES)?;
    work.changes.push(Change::Outgoing {
        server: command.server.clone(),
        content: command.content.clone(),
        created_ts: work.record.produced_ts,
    });
    work.put_out(Fact::OutgoingPending(OutgoingPending {}));
    Ok(())
}

/// Takes out of an inbox what has arrived. A position beyond all there ever was is nobody's: nothing goes.
pub(super) fn acknowledge(work: &mut Work<'_>, command: &AckToDevice) -> Result<(), Stop> {
    let Some(upto) = i64::try_from(command.seq).ok().filter(|seq| *seq < work.next_seq()) else {
        return Ok(());
    };
    if work.user.devices.contains_key(&command.device_id) {
        work.changes.push(Change::TrimInbox(command.device_id.clone(), upto));
    }
    Ok(())
}

/// Empties the inbox of a device that goes: another one of the same name finds nothing in it.
pub(super) fn drop_inbox(work: &mut Work<'_>, device_id: &str) {
    let upto = work.next_seq() - 1;
    work.changes.push(Change::TrimInbox(device_id.to_owned(), upto));
}

#[derive(Deserialize)]
struct KeyRequest<'a> {
    #[serde(borrow)]
    requesting_device_id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    request_id: std::borrow::Cow<'a, str>,
}

/// What a request for room keys, or what takes it back, is about: of several that wait, the last one counts.
fn request_key(sender: &str, kind: &str, content: &[u8]) -> Option<[u8; 16]> {
    if kind != ROOM_KEY_REQUEST {
        return None;
    }
    let request: KeyRequest<'_> = serde_json::from_slice(content).ok()?;
    let mut hash = Sha256::new();
    for part in [sender, &request.requesting_device_id, &request.request_id] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().first_chunk().copied()
}
