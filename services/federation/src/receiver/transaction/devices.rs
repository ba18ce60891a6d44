//! EDUs that must not be lost: messages to devices, and changes of devices and keys. They are committed before the
//! transaction is answered; if that fails, it comes again, and what was committed is recognized.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging)

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use plexus_input::{SubmitError, derived_id, split_to_device};
use plexus_matrix_http::MatrixError;
use plexus_proto::{
    log::v1::{NoteRemoteKeys, SendToDevice, input_user_event::Command},
    user::v1::ListRoomMatesRequest,
};
use ruma::{OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Federation, metrics,
    upstream::{self, timed},
};

/// Most bytes of the content of a message, of a message ID, and of the name of a device.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
const MAX_NAME_BYTES: usize = 255;
/// Most users of an EDU that messages are for.
const MAX_RECIPIENTS: usize = 1_000;
/// Bytes after which what is for one user goes on in another record: logs take 256 KiB.
const PART_BYTES: usize = 128 * 1024;
/// Users whose records are under way at the same time.
const CONCURRENCY: usize = 32;

#[derive(Deserialize)]
struct Edu<'a> {
    edu_type: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct ToDevice {
    sender: OwnedUserId,
    #[serde(rename = "type")]
    kind: String,
    message_id: String,
    messages: BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>,
}

#[derive(Deserialize)]
struct ChangedKeys {
    user_id: OwnedUserId,
}

/// Records of one user, in order.
type Records = BTreeMap<OwnedUserId, Vec<(Bytes, SendToDevice)>>;

/// Whether EDUs of a type must not be lost.
pub(super) fn is_kept(edu_type: &str) -> bool {
    matches!(edu_type, "m.direct_to_device" | "m.device_list_update" | "m.signing_key_update")
}

/// Takes such EDUs in. Fails if some could not be committed.
pub(super) async fn take(
    federation: &Federation,
    origin: &ServerName,
    edus: &[Box<RawValue>],
) -> Result<(), MatrixError> {
    let (mut records, mut changed) = (Records::new(), BTreeSet::new());
    for edu in edus {
        // What cannot be read is counted among the others.
        let Ok(edu) = serde_json::from_str::<Edu<'_>>(edu.get()) else { continue };
        let outcome = match edu.edu_type.as_str() {
            "m.direct_to_device" => read_messages(federation.name(), origin, edu.content, &mut records),
            "m.device_list_update" | "m.signing_key_update" => read_change(origin, edu.content, &mut changed),
            _ => continue,
        };
        metrics::edu(outcome);
    }
    let (messages, keys) = tokio::join!(send(federation, records), note(federation, changed));
    messages.and(keys)
}

/// Reads messages to devices, and makes records of those to our users.
fn read_messages(
    own: &ServerName,
    origin: &ServerName,
    content: &RawValue,
    records: &mut Records,
) -> &'static str {
    let Ok(edu) = serde_json::from_str::<ToDevice>(content.get()) else { return "malformed" };
    let is_name = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0');
    if edu.sender.server_name() != origin || !is_name(&edu.kind) || !is_name(&edu.message_id) {
        return "refused";
    }
    if edu.messages.len() > MAX_RECIPIENTS {
        return "too many";
    }
    for (user, devices) in edu.messages {
        if user.server_name() != own || user.as_str().contains('\0') {
            continue;
        }
        let devices = devices.into_iter().filter(|(device, content)| {
            let content = content.get();
            is_name(device) && content.starts_with('{') && content.len() <= MAX_MESSAGE_BYTES
        });
        let devices =
            devices.map(|(device, content)| (device, Bytes::from(String::from(Box::<str>::from(content)))));
        let parts = split(&edu.sender, &edu.kind, devices.collect());
        let named = parts
            .into_iter()
            .enumerate()
            .map(|(part, command)| (input_id(origin, &edu.sender, &edu.message_id, &user, part), command));
        records.entry(user.clone()).or_default().extend(named.collect::<Vec<_>>());
    }
    "accepted"
}

/// Puts messages to devices of one user into records, unless there are none.
fn split(sender: &UserId, kind: &str, devices: BTreeMap<String, Bytes>) -> Vec<SendToDevice> {
    if devices.is_empty() { Vec::new() } else { split_to_device(sender, kind, devices, PART_BYTES) }
}

/// Names an input by what it is, so that a repeat of the EDU makes the same one, in whatever transaction it comes.
fn input_id(origin: &ServerName, sender: &UserId, message_id: &str, user: &UserId, part: usize) -> Bytes {
    let part = part.to_string();
    let parts = ["m.direct_to_device", origin.as_str(), sender.as_str(), message_id, user.as_str(), &part];
    derived_id(&parts.map(str::as_bytes))
}

/// Reads whose keys have changed.
fn read_change(origin: &ServerName, content: &RawValue, changed: &mut BTreeSet<OwnedUserId>) -> &'static str {
    let Ok(edu) = serde_json::from_str::<ChangedKeys>(content.get()) else { return "malformed" };
    if edu.user_id.server_name() != origin || edu.user_id.as_str().contains('\0') {
        return "refused";
    }
    changed.insert(edu.user_id);
    "accepted"
}

/// Writes messages, those to one user one after the other, and waits for all.
async fn send(federation: &Federation, records: Records) -> Result<(), MatrixError> {
    futures::stream::iter(records)
        .map(|(user, records)| async move {
            for (id, command) in records {
                let sent = federation.input.submit_user_as(id, &user, Command::SendToDevice(command)).await;
                check(sent.map(drop))?;
            }
            Ok(())
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// Notes changes of those who share a room with somebody here: nobody follows the others.
async fn note(federation: &Federation, changed: BTreeSet<OwnedUserId>) -> Result<(), MatrixError> {
    if changed.is_empty() {
        return Ok(());
    }
    let user_ids = changed.iter().map(ToString::to_string).collect();
    let mut keys = upstream::keys(&federation.rooms);
    let mates = keys.list_room_mates(timed(ListRoomMatesRequest { user_ids })).await?.into_inner().user_ids;
    let mates = mates.into_iter().filter_map(|user| OwnedUserId::try_from(user).ok());
    futures::stream::iter(mates)
        .map(|user| async move {
            let command = Command::NoteRemoteKeys(NoteRemoteKeys {});
            check(federation.input.submit_user(&user, command).await.map(drop))
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// What is refused would be refused again.
fn check(submitted: Result<(), SubmitError>) -> Result<(), MatrixError> {
    match submitted {
        Err(SubmitError::Rejected { reason, message }) => {
            tracing::debug!(?reason, message, "an EDU is refused");
            metrics::edu("refused");
            Ok(())
        }
        submitted => submitted.map_err(MatrixError::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn read(content: &Value) -> (&'static str, Records) {
        let (own, origin) = ("us.test".try_into().unwrap(), "a.test".try_into().unwrap());
        let mut records = Records::new();
        let content = to_raw_value(content).unwrap();
        (read_messages(own, origin, &content, &mut records), records)
    }

    #[test]
    fn messages_to_our_users_become_records_that_have_names() {
        let edu = |id: &str| {
            json!({ "sender": "@a:a.test", "type": "m.x", "message_id": id, "messages": {
                "@u:us.test": { "*": { "n": 1 }, "D": { "n": 2 }, "E": [] },
                "@u:b.test": { "D": {} },
            } })
        };
        let (outcome, records) = read(&edu("1"));
        assert_eq!(outcome, "accepted");
        let user: &UserId = "@u:us.test".try_into().unwrap();
        assert_eq!(records.keys().collect::<Vec<_>>(), [user]);
        let (id, command) = &records[user][0];
        assert_eq!((&command.to_all[..], &command.but), (&b"{\"n\":1}"[..], &vec!["D".to_owned()]));
        assert_eq!(command.messages.len(), 1);
        assert_eq!((id.len(), &read(&edu("1")).1[user][0].0), (16, id));
        assert!(read(&edu("2")).1[user][0].0 != *id);
    }

    #[test]
    fn who_sends_for_others_is_refused() {
        let edu = json!({ "sender": "@a:b.test", "type": "m.x", "message_id": "1", "messages": {} });
        assert_eq!(read(&edu).0, "refused");
        assert_eq!(read(&json!({ "sender": "@a:a.test" })).0, "malformed");
        let origin = "a.test".try_into().unwrap();
        let mut changed = BTreeSet::new();
        let change = |user: &str| to_raw_value(&json!({ "user_id": user })).unwrap();
        assert_eq!(read_change(origin, &change("@a:b.test"), &mut changed), "refused");
        assert_eq!(read_change(origin, &change("@a:a.test"), &mut changed), "accepted");
        assert_eq!(changed.len(), 1);
    }

    #[test]
    fn many_messages_go_in_records_that_fit() {
        let content = Bytes::from(to_raw_value(&"x".repeat(60_000)).unwrap().get().to_owned());
        let devices = (0..10).map(|number| (format!("D{number}"), content.clone())).collect();
        let parts = split("@a:a.test".try_into().unwrap(), "m.x", devices);
        assert_eq!(parts.len(), 5);
        assert!(parts.iter().all(|part| prost::Message::encoded_len(part) < 256 * 1024));
    }
}
