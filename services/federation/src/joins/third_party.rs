//! A user of ours has proved that a third-party identifier is theirs, to which somebody of another server has sent an
//! invite: that server makes an invite of it, by which the user may come in.

use bytes::Bytes;
use plexus_proto::common::v1::ErrorReason;
use plexus_service::refusal::refusal;
use ruma::{RoomId, UserId};
use serde_json::{json, value::RawValue};
use tonic::{Code, Status};
use tracing::instrument;

use super::{failure::Failure, handshake};
use crate::{Federation, front::MEMBER};

/// Asks for the invite. When this returns, the other server has sent it here, as any other.
#[instrument(name = "federation.exchange", skip_all, fields(room.id = %room_id, user.id = %user_id))]
pub(crate) async fn exchange(
    federation: &Federation,
    room_id: &RoomId,
    (sender, user_id): (&UserId, &UserId),
    signed: &[u8],
) -> Result<(), Status> {
    let signed: Box<RawValue> = serde_json::from_slice(signed)
        .map_err(|error| refusal(Code::InvalidArgument, ErrorReason::BadJson, error.to_string()))?;
    // The name that hides the identifier is in the room, and the other server knows it.
    let body = json!({
        "type": MEMBER, "room_id": room_id, "sender": sender, "state_key": user_id,
        "content": {
            "membership": "invite", "third_party_invite": { "display_name": "", "signed": signed },
        },
    });
    let body = Bytes::from(body.to_string());
    let asked = handshake::exchange_third_party_invite(federation, sender.server_name(), room_id, body).await;
    asked.map(drop).map_err(|error| Failure::from(error).to_status())
}
