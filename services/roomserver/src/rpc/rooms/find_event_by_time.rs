//! `RoomHistoryService.FindEventByTime`

use plexus_proto::room::v1::{Direction, FindEventByTimeRequest, FindEventByTimeResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::access::{Facts, view};
use crate::{
    app::App,
    rpc::check::{failed, invalid, not_found},
    store::{pool, reads},
};

/// Events looked at in one step.
const STEP: i64 = 200;
/// Steps after which the search ends: so far off, the event would be of no use.
const STEPS: usize = 10;

#[instrument(name = "rpc.room.find_event_by_time", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(in crate::rpc) async fn answer(
    app: &App,
    request: Request<FindEventByTimeRequest>,
) -> Result<Response<FindEventByTimeResponse>, Status> {
    let request = request.into_inner();
    let forward = match request.direction() {
        Direction::Forward => true,
        Direction::Backward => false,
        Direction::Unspecified => return Err(invalid("direction", "must be backward or forward")),
    };
    let FindEventByTimeRequest { room_id, viewer, ts, direction: _ } = request;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = view(app, &conn, &room_id, &viewer).await?;
    let end = view.end().unwrap_or(i64::MAX);
    // The event at the very time counts in both directions.
    let (mut ts, mut seq) = (ts, if forward { i64::MIN } else { i64::MAX });
    for _ in 0..STEPS {
        let rows = if forward {
            reads::relations::scan_later(&conn, &view.room.room_nid, &ts, &seq, &STEP).await
        } else {
            reads::relations::scan_earlier(&conn, &view.room.room_nid, &ts, &seq, &STEP).await
        };
        let rows = rows.map_err(|error| failed(&error))?;
        let Some(last) = rows.last() else { break };
        (ts, seq) = (last.origin_server_ts, last.seq.unwrap_or(seq));
        let found = rows.into_iter().find(|row| {
            let facts = Facts {
                seq: row.seq,
                event_type: &row.event_type,
                state_key: row.state_key.as_deref(),
                flags: row.flags,
                visibility: row.visibility,
            };
            row.seq.is_some_and(|seq| seq <= end) && view.may_see(&facts)
        });
        if let Some(row) = found {
            return Ok(Response::new(FindEventByTimeResponse {
                event_id: row.event_id,
                origin_server_ts: row.origin_server_ts,
            }));
        }
    }
    Err(not_found("there is no event in this direction"))
}
