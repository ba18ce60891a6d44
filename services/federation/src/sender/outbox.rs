//! Looks for what waits for other servers that is not of rooms, and puts it into EDUs.
//!
//! The room server keeps it until it is acknowledged: a record of users only says that it is time to look, and it is looked
//! every few seconds without one, too.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#edus)

use std::{collections::BTreeMap, time::Duration};

use plexus_log::{Entry, Log, LogError, OutputUser, PARTITIONS, StartAt};
use plexus_proto::{
    log::v1::{OutputUserEvent, output_user_event::Fact},
    room::v1::{AckOutgoingEdusRequest, DeviceListChange, ListOutgoingEdusResponse, OutgoingKeys, TakenKeys},
};
use plexus_service::Shutdown;
use ruma::{OwnedServerName, ServerName};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::Status;
use tracing::{debug, warn};

use super::{route::Item, transaction::OUTBOX_EDUS, upstream::Upstream};
use crate::shown_keys::ShownKeys;

/// Records read at once.
const BATCH: usize = 256;
/// How often it is looked without a word, and not more often than this.
const IDLE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// The pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Most bytes of EDUs of a transaction.
const MAX_BYTES: usize = 2 << 20;

/// Looks for what waits, and tells the hub for whom; it runs until shutdown.
pub(super) async fn watch(log: Log, upstream: Upstream, items: mpsc::Sender<Item>, shutdown: Shutdown) {
    loop {
        let watched = follow(&log, &upstream, &items);
        tokio::select! {
            watched = watched => match watched {
                Ok(()) | Err(LogError::Closed) => return,
                Err(error) => warn!(%error, "the sender cannot follow the log of users, trying again"),
            },
            () = shutdown.requested() => return,
        }
        tokio::select! {
            () = sleep(AFTER_FAILURE) => {}
            () = shutdown.requested() => return,
        }
    }
}

async fn follow(log: &Log, upstream: &Upstream, items: &mpsc::Sender<Item>) -> Result<(), LogError> {
    let mut reader = log.reader::<OutputUser>()?;
    for partition in 0..PARTITIONS {
        reader.assign(partition, StartAt::End).await?;
    }
    let mut idle = interval(IDLE);
    idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_time = tokio::select! {
            _ = idle.tick() => true,
            batch = reader.next_batch(BATCH) => {
                let batch: Vec<Entry<OutputUserEvent>> = batch?;
                batch.iter().any(|entry| entry.record.as_ref().map_or(true, concerns))
            }
        };
        if !is_time {
            continue;
        }
        match look(upstream, items).await {
            Ok(true) => sleep(PAUSE).await,
            Ok(false) => return Ok(()),
            Err(status) => {
                debug!(%status, "what waits for other servers cannot be looked for");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Tells for whom something waits. False if nobody listens any more.
async fn look(upstream: &Upstream, items: &mpsc::Sender<Item>) -> Result<bool, Status> {
    let mut after = String::new();
    loop {
        let page = upstream.waiting(after).await?;
        after = page.servers.last().cloned().unwrap_or_default();
        for server in page.servers {
            let Ok(server) = OwnedServerName::try_from(server) else { continue };
            if items.send(Item::Outbox(server)).await.is_err() {
                return Ok(false);
            }
        }
        if !page.more {
            return Ok(true);
        }
    }
}

fn concerns(record: &OutputUserEvent) -> bool {
    match &record.fact {
        Some(Fact::OutgoingPending(_)) => true,
        Some(Fact::KeysChanged(changed)) => !changed.own,
        Some(Fact::DevicesChanged(devices)) => !devices.changed.is_empty() || !devices.removed.is_empty(),
        Some(_) | None => false,
    }
}

/// EDUs of a transaction, and what is acknowledged once they were taken.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) edus: Vec<Value>,
    pub(super) acknowledges: AckOutgoingEdusRequest,
    /// Whether there may be more.
    pub(super) more: bool,
}

/// Puts into EDUs what waits for a server, as far as it fits; at least one message or user.
pub(super) fn compose(server: &ServerName, waiting: ListOutgoingEdusResponse, tells_names: bool) -> Waiting {
    let mut composed = Waiting { more: waiting.more, ..Waiting::default() };
    composed.acknowledges.server = server.to_string();
    let mut bytes = 0;
    for message in waiting.to_device {
        bytes += message.content.len();
        if bytes > MAX_BYTES && !composed.edus.is_empty() {
            composed.more = true;
            return composed;
        }
        composed.acknowledges.to_device.push(message.number);
        match serde_json::from_slice::<Value>(&message.content) {
            Ok(content) => {
                composed.edus.push(json!({ "edu_type": "m.direct_to_device", "content": content }))
            }
            Err(error) => tracing::error!(%error, "a message to another server is no JSON"),
        }
    }
    for keys in waiting.keys {
        let taken = TakenKeys {
            user_id: keys.user.as_ref().map(|user| user.user_id.clone()).unwrap_or_default(),
            stream_id: keys.user.as_ref().map(|user| user.stream_id).unwrap_or_default(),
            keys_seq: keys.keys_seq,
        };
        let edus = of_user(keys, tells_names);
        if composed.edus.len() + edus.len() > OUTBOX_EDUS && !composed.edus.is_empty() {
            composed.more = true;
            return composed;
        }
        composed.edus.extend(edus);
        composed.acknowledges.keys.push(taken);
    }
    composed
}

/// The EDUs about a user: each change of a device follows on the one before it.
fn of_user(keys: OutgoingKeys, tells_names: bool) -> Vec<Value> {
    let OutgoingKeys { user, changes, previous_stream_id, signing_keys, .. } = keys;
    let user = user.unwrap_or_default();
    let user_id = user.user_id.clone();
    let shown = ShownKeys::new(user, tells_names);
    let mut devices: BTreeMap<String, _> =
        shown.devices.into_iter().map(|device| (device.device_id, (device.keys, device.name))).collect();
    let mut edus = Vec::new();
    if signing_keys {
        let mut content = json!({ "user_id": user_id });
        for (field, key) in [("master_key", shown.master), ("self_signing_key", shown.self_signing)] {
            if let Some(key) = key {
                content[field] = json!(key);
            }
        }
        edus.push(json!({ "edu_type": "m.signing_key_update", "content": content }));
    }
    let mut previous = previous_stream_id;
    for DeviceListChange { device_id, stream_id, deleted } in changes {
        let prev_id = if previous == 0 { Vec::new() } else { vec![previous] };
        let mut content = json!({
            "user_id": user_id, "device_id": device_id, "stream_id": stream_id, "prev_id": prev_id,
        });
        if deleted {
            content["deleted"] = json!(true);
        }
        if let Some((keys, name)) = devices.remove(&device_id).filter(|_| !deleted) {
            content["keys"] = json!(keys);
            if let Some(name) = name {
                content["device_display_name"] = json!(name);
            }
        }
        edus.push(json!({ "edu_type": "m.device_list_update", "content": content }));
        previous = stream_id;
    }
    edus
}

#[cfg(test)]
mod tests {
    use plexus_proto::{
        room::v1::OutgoingToDevice,
        user::v1::{DeviceKeys, UserKeys},
    };

    use super::*;

    fn keys(previous: u64) -> OutgoingKeys {
        let device = DeviceKeys {
            device_id: "B".to_owned(),
            keys: "{\"user_id\":\"@a:us.test\"}".into(),
            display_name: Some("phone".to_owned()),
        };
        let user = UserKeys {
            user_id: "@a:us.test".to_owned(),
            devices: vec![device],
            master_key: "{\"keys\":{}}".into(),
            stream_id: 9,
            ..UserKeys::default()
        };
        let change =
            |id: &str, stream_id, deleted| DeviceListChange { device_id: id.to_owned(), stream_id, deleted };
        OutgoingKeys {
            user: Some(user),
            changes: vec![change("A", 7, true), change("B", 9, false)],
            previous_stream_id: previous,
            signing_keys: true,
            keys_seq: 3,
        }
    }

    #[test]
    fn changes_of_devices_are_a_chain() {
        let edus = of_user(keys(5), false);
        let content = |index: usize| &edus[index]["content"];
        assert_eq!(edus[0]["edu_type"], "m.signing_key_update");
        assert_eq!(content(0)["master_key"], json!({ "keys": {} }));
        assert_eq!((&content(1)["prev_id"], &content(1)["deleted"]), (&json!([5]), &json!(true)));
        assert_eq!((&content(2)["prev_id"], &content(2)["stream_id"]), (&json!([7]), &json!(9)));
        assert_eq!(content(2)["keys"]["user_id"], "@a:us.test");
        assert_eq!(content(2).get("device_display_name"), None);
        let first = of_user(keys(0), true);
        assert_eq!(
            (&first[1]["content"]["prev_id"], &first[2]["content"]["device_display_name"]),
            (&json!([]), &json!("phone"))
        );
    }

    #[test]
    fn what_is_composed_is_acknowledged_and_no_more() {
        let message = |number| OutgoingToDevice { number, content: format!("{{\"n\":{number}}}").into() };
        let waiting = ListOutgoingEdusResponse {
            to_device: (1..=49).map(message).collect(),
            keys: vec![keys(5)],
            more: false,
        };
        let composed = compose("b.test".try_into().unwrap(), waiting, false);
        assert_eq!((composed.edus.len(), composed.more), (49, true));
        assert_eq!((composed.acknowledges.to_device.len(), composed.acknowledges.keys.len()), (49, 0));
        let waiting =
            ListOutgoingEdusResponse { to_device: vec![message(1)], keys: vec![keys(5)], more: false };
        let composed = compose("b.test".try_into().unwrap(), waiting, false);
        assert_eq!((composed.edus.len(), composed.more), (4, false));
        assert_eq!(composed.acknowledges.keys[0].stream_id, 9);
    }
}
