//! The body of a transaction, and its ID.

use std::sync::Arc;

use bytes::Bytes;
use ruma::ServerName;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Pdu;

/// Bounds of the specification.
pub(super) const MAX_PDUS: usize = 50;
pub(super) const MAX_EDUS: usize = 100;
/// EDUs of a transaction that are not of rooms and must not be lost.
pub(super) const OUTBOX_EDUS: usize = 50;

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Its ID: what is the same is sent under the same one, so that a server which took it is not made to work on it again.
    /// Ephemeral data repeat without being repeats.
    pub(super) id: String,
    pub(super) body: Bytes,
}

/// Puts a transaction together.
pub(super) fn compose(
    origin: &ServerName,
    destination: &ServerName,
    pdus: &[Arc<Pdu>],
    edus: &[Value],
    now: i64,
) -> Transaction {
    let mut hash = Sha256::new();
    hash.update(destination.as_bytes());
    let bytes: usize = pdus.iter().map(|pdu| pdu.json.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 1_024);
    body.extend_from_slice(b"{\"origin\":\"");
    body.extend_from_slice(origin.as_bytes());
    body.extend_from_slice(format!("\",\"origin_server_ts\":{now},\"pdus\":[").as_bytes());
    for (index, pdu) in pdus.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&pdu.json);
        hash.update(b"\n");
        hash.update(pdu.event_id.as_bytes());
    }
    body.push(b']');
    if !edus.is_empty() {
        body.extend_from_slice(b",\"edus\":");
        let edus = Value::from(edus.to_vec()).to_string();
        body.extend_from_slice(edus.as_bytes());
        hash.update(edus.as_bytes());
        hash.update(now.to_be_bytes());
    }
    body.push(b'}');
    let id = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Transaction { id, body: body.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pdu(id: &str) -> Arc<Pdu> {
        Arc::new(Pdu {
            room_id: "!r:a.test".try_into().unwrap(),
            event_id: id.try_into().unwrap(),
            partition: 0,
            seq: 1,
            json: Bytes::from(format!("{{\"id\":\"{id}\"}}")),
        })
    }

    #[test]
    fn the_same_content_has_the_same_id() {
        let (us, a, b): (&ServerName, &ServerName, &ServerName) =
            ("us.test".try_into().unwrap(), "a.test".try_into().unwrap(), "b.test".try_into().unwrap());
        let one = compose(us, a, &[pdu("$1:a"), pdu("$2:a")], &[], 7);
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        let expected = json!({
            "origin": "us.test", "origin_server_ts": 7, "pdus": [{ "id": "$1:a" }, { "id": "$2:a" }],
        });
        assert_eq!((body, one.id.len()), (expected, 32));
        assert_eq!(compose(us, a, &[pdu("$1:a"), pdu("$2:a")], &[], 8).id, one.id);
        let edu = json!({ "edu_type": "m.typing", "content": {} });
        let with_edu = compose(us, a, &[], std::slice::from_ref(&edu), 7);
        for other in [
            compose(us, b, &[pdu("$1:a"), pdu("$2:a")], &[], 7),
            compose(us, a, &[pdu("$2:a"), pdu("$1:a")], &[], 7),
            compose(us, a, &[pdu("$1:a")], &[], 7),
            compose(us, a, &[], std::slice::from_ref(&edu), 8),
            compose(us, a, &[pdu("$1:a"), pdu("$2:a")], &[edu], 7),
        ] {
            assert!(other.id != one.id && other.id != with_edu.id);
        }
        let body: Value = serde_json::from_slice(&with_edu.body).unwrap();
        assert_eq!(body["edus"][0]["edu_type"], "m.typing");
    }
}
