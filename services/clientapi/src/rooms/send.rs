//! Sending message events and redactions.

use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::{
    input::v1::FindTransactionRequest,
    log::v1::{ClientTransaction, Intent},
};
use ruma::{EventId, OwnedEventId, RoomId, TransactionId};
use serde_json::{Map, Value};

use super::{
    Rooms, ask,
    content::{self, ContentError},
    event_id,
};
use crate::clock::now_ms;

/// Longest transaction ID in bytes.
const MAX_TXN_ID_BYTES: usize = 255;

impl Rooms {
    /// Sends a message event; a repeat of the transaction gets the same event back.
    pub(crate) async fn send_message(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        event_type: &str,
        content: &str,
        txn_id: &TransactionId,
    ) -> Result<OwnedEventId, MatrixError> {
        content::check_key(event_type, None)?;
        content::check(content)?;
        let (content, redacts) = match event_type {
            "m.room.redaction" => take_redacts(content)?,
            _ => (content.to_owned(), String::new()),
        };
        let scope = message_scope(room_id, event_type);
        let intent = Intent {
            sender: user.id.to_string(),
            r#type: event_type.to_owned(),
            content: content.into_bytes().into(),
            origin_server_ts: now_ms(),
            txn: Some(transaction(user, txn_id, scope)?),
            redacts,
            ..Intent::default()
        };
        self.send_intent(room_id, intent).await
    }

    /// Redacts an event; a repeat of the transaction gets the same redaction back.
    pub(crate) async fn redact(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        event_id: &EventId,
        reason: Option<&str>,
        txn_id: &TransactionId,
    ) -> Result<OwnedEventId, MatrixError> {
        let mut redaction = Map::new();
        if let Some(reason) = reason {
            redaction.insert("reason".to_owned(), Value::from(reason));
        }
        let redaction = Value::Object(redaction).to_string();
        content::check(&redaction)?;
        let intent = Intent {
            sender: user.id.to_string(),
            r#type: "m.room.redaction".to_owned(),
            content: redaction.into_bytes().into(),
            origin_server_ts: now_ms(),
            txn: Some(transaction(user, txn_id, redaction_scope(room_id, event_id))?),
            redacts: event_id.to_string(),
            ..Intent::default()
        };
        self.send_intent(room_id, intent).await
    }

    /// Answers a request that came too soon: it may repeat a transaction, which then has its answer.
    pub(crate) async fn answer_limited(
        &self,
        limited: MatrixError,
        user: &AuthedUser,
        txn_id: &TransactionId,
        scope: String,
    ) -> Result<OwnedEventId, MatrixError> {
        let request = FindTransactionRequest { transaction: Some(transaction(user, txn_id, scope)?) };
        match ask(self.transactions.clone().find_transaction(request)).await?.accepted {
            Some(accepted) => event_id(&accepted.event_id),
            None => Err(limited),
        }
    }
}

/// What the transaction ID of a message is scoped to.
pub(crate) fn message_scope(room_id: &RoomId, event_type: &str) -> String {
    format!("send/{room_id}/{event_type}")
}

/// What the transaction ID of a redaction is scoped to.
pub(crate) fn redaction_scope(room_id: &RoomId, event_id: &EventId) -> String {
    format!("redact/{room_id}/{event_id}")
}

/// Names the transaction of a client: scoped to its device, the endpoint and the rest of the path.
fn transaction(
    user: &AuthedUser,
    txn_id: &TransactionId,
    scope: String,
) -> Result<ClientTransaction, MatrixError> {
    let txn_id = txn_id.to_string();
    if txn_id.is_empty() || txn_id.len() > MAX_TXN_ID_BYTES {
        return Err(MatrixError::invalid_param(format!(
            "The transaction ID must have 1 to {MAX_TXN_ID_BYTES} bytes"
        )));
    }
    Ok(ClientTransaction {
        user_id: user.id.to_string(),
        device_id: user.device_id.to_string(),
        txn_id,
        scope,
    })
}

/// Takes `redacts` out of the content: the room server puts it where the room version wants it.
fn take_redacts(content: &str) -> Result<(String, String), MatrixError> {
    let mut content: Map<String, Value> =
        serde_json::from_str(content).map_err(|error| MatrixError::bad_json(error.to_string()))?;
    let redacts = content.remove("redacts");
    let redacts = redacts.as_ref().and_then(Value::as_str).and_then(|id| <&EventId>::try_from(id).ok());
    // An event ID with a NUL leads to no event, and cannot be stored.
    let redacts = redacts.filter(|id| !id.as_str().contains('\0'));
    let redacts = redacts.ok_or_else(|| MatrixError::bad_json("`redacts` must be an event ID"))?.to_string();
    Ok((Value::Object(content).to_string(), redacts))
}

impl From<ContentError> for MatrixError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::NotCanonical(_) => Self::bad_json(error.to_string()),
            ContentError::TooLarge { .. } => Self::too_large(error.to_string()),
            ContentError::Nul { .. } => Self::invalid_param(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacts_leaves_the_content() {
        let (content, redacts) = take_redacts(r#"{"reason":"spam","redacts":"$event"}"#).unwrap();
        assert_eq!((content.as_str(), redacts.as_str()), (r#"{"reason":"spam"}"#, "$event"));
        for content in ["{}", r#"{"redacts":1}"#, r#"{"redacts":"event"}"#, r#"{"redacts":"$\u0000"}"#] {
            assert!(take_redacts(content).unwrap_err().is("M_BAD_JSON"), "{content}");
        }
    }
}
