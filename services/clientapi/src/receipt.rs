//! Receipts.

pub(crate) mod create_receipt;

use plexus_matrix_http::MatrixError;
use plexus_proto::log::v1::SetReceipt;
use ruma::{EventId, RoomId, UserId};

use crate::App;

/// Moves a receipt forward.
pub(crate) async fn set(
    app: &App,
    user: &UserId,
    room_id: &RoomId,
    kind: &str,
    event_id: &EventId,
    thread_id: String,
) -> Result<(), MatrixError> {
    let receipt = SetReceipt {
        user_id: user.to_string(),
        r#type: kind.to_owned(),
        event_id: event_id.to_string(),
        thread_id,
    };
    app.rooms.set_receipt(room_id, receipt).await
}
