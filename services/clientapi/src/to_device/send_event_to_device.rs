//! `PUT /_matrix/client/*/sendToDevice/{eventType}/{txnId}`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid)

mod remote;

use std::collections::BTreeMap;

use axum::extract::State;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use plexus_input::{ALL_DEVICES, derived_id, split_to_device};
use plexus_matrix_http::{AuthedUser, Json, JsonObject, MatrixError, PathArgs};
use plexus_proto::log::v1::input_user_event::Command;
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::instrument;

use crate::App;

/// Most bytes of the content of one message: with what is around it, it fits into an EDU.
const MAX_TO_DEVICE_BYTES: usize = 64 * 1024;
/// Most users that one request may send to.
const MAX_RECIPIENTS: usize = 1_000;
/// Most bytes of the names of devices of one user beside `*`.
const MAX_NAMED_BYTES: usize = 32 * 1024;
/// Most bytes of a transaction ID, and of an event type.
const MAX_TO_DEVICE_NAME: usize = 255;
/// Bytes after which what is for one user goes on in another record: logs take 256 KiB.
const PART_BYTES: usize = 200 * 1024;
/// Recipients that cost as much as a request.
const RECIPIENTS_OF_A_REQUEST: usize = 25;
/// Records that are under way at the same time.
const CONCURRENCY: usize = 32;

#[derive(Deserialize)]
pub(crate) struct Body {
    messages: BTreeMap<String, BTreeMap<String, Box<RawValue>>>,
}

#[instrument(name = "http.client.send_event_to_device", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((event_type, txn_id)): PathArgs<(String, String)>,
    Json(body): Json<Body>,
) -> Result<JsonObject, MatrixError> {
    check_name("event type", &event_type)?;
    check_name("transaction ID", &txn_id)?;
    let (ours, others) = check(body)?.into_iter().partition(|(id, _)| id.server_name() == app.server_name);
    let ours: Vec<(OwnedUserId, Messages)> = ours;
    let mut parts: Vec<(Bytes, OwnedUserId, Command)> = ours
        .into_iter()
        .flat_map(|(recipient, messages)| {
            let parts = split_to_device(&user.id, &event_type, messages, PART_BYTES);
            let name = |part: usize| input_id(&user, &event_type, &txn_id, recipient.as_str(), part);
            let named = parts.into_iter().enumerate().map(|(part, command)| (name(part), command));
            named
                .map(|(id, command)| (id, recipient.clone(), Command::SendToDevice(command)))
                .collect::<Vec<_>>()
        })
        .collect();
    if app.outbound.is_some() {
        parts.extend(remote::queue(&user, &event_type, &txn_id, others));
    }
    let more = parts.len().saturating_sub(1) / RECIPIENTS_OF_A_REQUEST;
    app.limits.check_to_device(&user.id, u32::try_from(more).unwrap_or(u32::MAX))?;
    // What was written before a failure stays: a repeat of the request makes the same inputs.
    futures::stream::iter(parts)
        .map(|(id, recipient, command)| {
            let app = &app;
            async move { app.input.submit_user_as(id, &recipient, command).await }
        })
        .buffer_unordered(CONCURRENCY)
        .try_for_each(|_accepted| async { Ok(()) })
        .await?;
    Ok(JsonObject::empty())
}

/// Messages by device.
type Messages = BTreeMap<String, Bytes>;

/// Checks all there is before any of it is sent.
fn check(body: Body) -> Result<Vec<(OwnedUserId, Messages)>, MatrixError> {
    if body.messages.len() > MAX_RECIPIENTS {
        return Err(MatrixError::too_large(format!("A request may send to {MAX_RECIPIENTS} users at most")));
    }
    let mut recipients = Vec::with_capacity(body.messages.len());
    for (user_id, messages) in body.messages {
        let recipient = UserId::parse(&user_id)
            .map_err(|_| MatrixError::invalid_param("`messages` names somebody who is no user ID"))?;
        let messages = check_messages(messages)?;
        if !messages.is_empty() {
            recipients.push((recipient, messages));
        }
    }
    Ok(recipients)
}

fn check_messages(messages: BTreeMap<String, Box<RawValue>>) -> Result<Messages, MatrixError> {
    let named: usize = messages.keys().map(String::len).sum();
    if messages.contains_key(ALL_DEVICES) && named > MAX_NAMED_BYTES {
        return Err(MatrixError::too_large("Too many devices are named beside all of them"));
    }
    let mut checked = BTreeMap::new();
    for (device_id, content) in messages {
        if !content.get().starts_with('{') {
            return Err(MatrixError::bad_json("The content of a message must be a JSON object"));
        }
        if content.get().len() > MAX_TO_DEVICE_BYTES {
            return Err(MatrixError::too_large(format!(
                "The content of a message may have {MAX_TO_DEVICE_BYTES} bytes at most"
            )));
        }
        // There is no device of a longer name.
        if device_id.len() <= MAX_TO_DEVICE_NAME {
            checked.insert(device_id, Bytes::from(String::from(Box::<str>::from(content))));
        }
    }
    Ok(checked)
}

/// Names an input by what it is, so that a repeat of the request makes the same one: the transaction is one of the device
/// and the path.
fn input_id(user: &AuthedUser, event_type: &str, txn_id: &str, recipient: &str, part: usize) -> Bytes {
    let part = part.to_string();
    let (user_id, device_id) = (user.id.as_str(), user.device_id.as_str());
    let parts = ["sendToDevice", user_id, device_id, event_type, txn_id, recipient, &part];
    derived_id(&parts.map(str::as_bytes))
}

fn check_name(what: &str, name: &str) -> Result<(), MatrixError> {
    if name.is_empty() || name.len() > MAX_TO_DEVICE_NAME {
        return Err(MatrixError::invalid_param(format!(
            "The {what} must have 1 to {MAX_TO_DEVICE_NAME} bytes"
        )));
    }
    if name.contains('\0') {
        return Err(MatrixError::invalid_param(format!("The {what} contains a NUL character")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use plexus_proto::log::v1::SendToDevice;
    use ruma::user_id;
    use serde_json::{json, value::to_raw_value};

    use super::*;

    fn content(bytes: usize) -> Box<RawValue> {
        to_raw_value(&json!({ "a": "x".repeat(bytes - 8) })).unwrap()
    }

    fn parts(messages: &[(&str, usize)]) -> Vec<SendToDevice> {
        let messages = messages.iter().map(|(id, bytes)| ((*id).to_owned(), content(*bytes))).collect();
        split_to_device(user_id!("@a:x"), "m.x", check_messages(messages).unwrap(), PART_BYTES)
    }

    #[test]
    fn every_device_gets_its_message_once_in_records_that_fit() {
        let ids: Vec<String> = (0..20).map(|number| format!("D{number:02}")).collect();
        let messages: Vec<(&str, usize)> = ids.iter().map(|id| (id.as_str(), 60 * 1024)).collect();
        let parts = parts(&messages);
        assert_eq!(parts.len(), 7);
        let told: Vec<&str> =
            parts.iter().flat_map(|part| &part.messages).map(|message| message.device_id.as_str()).collect();
        assert_eq!(told, ids);
        for part in &parts {
            assert!(prost::Message::encoded_len(part) < 256 * 1024);
        }
    }

    #[test]
    fn who_is_named_beside_all_gets_no_more() {
        let parts = parts(&[("*", 64 * 1024), ("A", 64 * 1024), ("B", 64 * 1024), ("C", 64 * 1024)]);
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (parts[0].to_all.len(), parts[0].but.clone()),
            (64 * 1024, vec!["A".into(), "B".into(), "C".into()])
        );
        assert!(parts[1].to_all.is_empty() && parts[1].but.is_empty());
    }

    #[test]
    fn contents_are_objects_of_a_bounded_size() {
        let refused = |content: Box<RawValue>| check_messages(BTreeMap::from([("A".to_owned(), content)]));
        assert!(refused(content(64 * 1024)).is_ok());
        assert!(refused(content(64 * 1024 + 1)).unwrap_err().is("M_TOO_LARGE"));
        for json in ["[]", "1", "null", "\"{\""] {
            assert!(refused(serde_json::from_str(json).unwrap()).unwrap_err().is("M_BAD_JSON"), "{json}");
        }
        let many = (0..200).map(|number| (format!("{number:0255}"), content(10)));
        let many: BTreeMap<_, _> = many.chain([("*".to_owned(), content(10))]).collect();
        assert!(check_messages(many).unwrap_err().is("M_TOO_LARGE"));
    }
}
