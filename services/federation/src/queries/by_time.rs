//! `OutboundQueryService.FindEventByTime`

use std::time::Duration;

use futures::{StreamExt as _, stream};
use plexus_proto::federation::v1::{FindEventByTimeRequest, FindEventByTimeResponse};
use plexus_s2s::encoded;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName};
use serde::Deserialize;
use tonic::Status;
use tracing::instrument;

use super::{ask, invalid};
use crate::{
    Federation,
    joins::{failure::nobody, known},
};

const KEPT: Duration = Duration::from_secs(10);
/// Servers that are asked, all at once.
const MAX_SERVERS: usize = 3;

#[derive(Deserialize)]
struct Answer {
    event_id: OwnedEventId,
    origin_server_ts: i64,
}

#[instrument(name = "rpc.outbound_query.find_event_by_time", skip_all, fields(room.id = %request.room_id))]
pub(super) async fn answer(
    federation: &Federation,
    request: FindEventByTimeRequest,
) -> Result<FindEventByTimeResponse, Status> {
    let room_id = OwnedRoomId::try_from(request.room_id).map_err(|error| invalid("room_id", error))?;
    let (ts, backward) = (request.ts, request.backward);
    let direction = if backward { "b" } else { "f" };
    let room = encoded(room_id.as_str());
    let path = format!("/_matrix/federation/v1/timestamp_to_event/{room}?ts={ts}&dir={direction}");
    let servers = known::servers(federation, &room_id).await.into_iter();
    let servers = servers.filter_map(|name| OwnedServerName::try_from(name).ok());
    let servers: Vec<_> = servers.filter(|server| server != federation.name()).take(MAX_SERVERS).collect();
    let question = async |server: OwnedServerName| {
        let answer: Result<Answer, Status> = ask(federation, &server, (path.clone(), None), KEPT).await;
        (server, answer)
    };
    let mut answers = stream::iter(servers).map(question).buffer_unordered(MAX_SERVERS);
    let (mut best, mut refused) = (None::<FindEventByTimeResponse>, None);
    while let Some((server, answer)) = answers.next().await {
        match answer {
            Ok(Answer { event_id, origin_server_ts }) => {
                // Of the answers in the right direction the closest one.
                let is_right = if backward { origin_server_ts <= ts } else { origin_server_ts >= ts };
                let is_closer = best
                    .as_ref()
                    .is_none_or(|best| best.origin_server_ts.abs_diff(ts) > origin_server_ts.abs_diff(ts));
                if is_right && is_closer {
                    let (event_id, server) = (event_id.to_string(), server.to_string());
                    best = Some(FindEventByTimeResponse { event_id, origin_server_ts, server });
                }
            }
            Err(status) => refused = Some(status),
        }
    }
    best.ok_or_else(|| refused.unwrap_or_else(nobody))
}
