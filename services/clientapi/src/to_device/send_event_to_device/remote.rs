//! Messages to devices of users of other servers: put aside for the sender, as EDUs that fit.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging)

use std::collections::BTreeMap;

use bytes::Bytes;
use plexus_matrix_http::AuthedUser;
use plexus_proto::log::v1::{QueueToDevice, input_user_event::Command};
use ruma::{OwnedServerName, OwnedUserId};
use serde_json::{json, value::RawValue};

use super::{Messages, input_id};

/// Bytes of messages after which what is for one server goes on in another EDU: all of it is below 64 KiB, unless a single
/// message is not.
const EDU_BYTES: usize = 60 * 1024;

/// By user and device.
type Content<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a RawValue>>;

/// Makes the commands: of the sender, one for each EDU, so that their order is that in which they were accepted.
pub(super) fn queue(
    user: &AuthedUser,
    event_type: &str,
    txn_id: &str,
    recipients: Vec<(OwnedUserId, Messages)>,
) -> Vec<(Bytes, OwnedUserId, Command)> {
    let mut servers: BTreeMap<OwnedServerName, Vec<(OwnedUserId, Messages)>> = BTreeMap::new();
    for (recipient, messages) in recipients {
        servers.entry(recipient.server_name().to_owned()).or_default().push((recipient, messages));
    }
    let mut commands = Vec::new();
    for (server, recipients) in &servers {
        for (part, messages) in split(recipients).into_iter().enumerate() {
            let id = input_id(user, event_type, txn_id, &format!("server {server}"), part);
            let message_id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            let content = json!({
                "sender": user.id, "type": event_type, "message_id": message_id, "messages": messages,
            });
            let content = Bytes::from(content.to_string());
            let command = QueueToDevice { server: server.to_string(), content };
            commands.push((id, user.id.clone(), Command::QueueToDevice(command)));
        }
    }
    commands
}

fn split(recipients: &[(OwnedUserId, Messages)]) -> Vec<Content<'_>> {
    let (mut parts, mut bytes) = (vec![Content::new()], 0);
    for (user, messages) in recipients {
        for (device, content) in messages {
            // It was JSON when it came.
            let Ok(content) = serde_json::from_slice::<&RawValue>(content) else { continue };
            let more = user.as_str().len() + device.len() + content.get().len() + 16;
            if bytes > 0 && bytes + more > EDU_BYTES {
                parts.push(Content::new());
                bytes = 0;
            }
            bytes += more;
            if let Some(part) = parts.last_mut() {
                part.entry(user.as_str()).or_default().insert(device, content);
            }
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_in_one_edu_that_fits() {
        let content = Bytes::from(format!("{{\"a\":\"{}\"}}", "x".repeat(20_000)));
        let messages: Messages = (0..7).map(|number| (format!("D{number}"), content.clone())).collect();
        let recipients = vec![
            ("@a:a.test".try_into().unwrap(), messages.clone()),
            ("@b:a.test".try_into().unwrap(), messages),
        ];
        let parts = split(&recipients);
        let devices: usize = parts.iter().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
        assert_eq!((parts.len(), devices), (5, 14));
        assert!(parts.iter().all(|part| json!(part).to_string().len() < 64 * 1024));
        assert!(split(&[]).is_empty());
    }
}
