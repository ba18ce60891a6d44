//! `RoomQueryService.ListTimeline`

use plexus_proto::room::v1::{Direction, ListTimelineRequest, ListTimelineResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    LIMIT,
    access::{Access, nothing_to_see, view},
    filter::Filter,
    page::{self, Source, Span},
};
use crate::{
    app::App,
    rpc::check::{failed, invalid},
    store::pool,
};

#[instrument(name = "rpc.room.list_timeline", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<ListTimelineRequest>,
) -> Result<Response<ListTimelineResponse>, Status> {
    let ListTimelineRequest { room_id, viewer, direction, from, to, limit, filter } = request.into_inner();
    let backward = match Direction::try_from(direction) {
        Ok(Direction::Backward) => true,
        Ok(Direction::Forward) => false,
        Ok(Direction::Unspecified) | Err(_) => {
            return Err(invalid("direction", "must be backward or forward"));
        }
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=LIMIT).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {LIMIT}")));
    }
    let filter = Filter::new(filter)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let mut view = view(app, &conn, &room_id, &viewer).await?;
    let end = view.end();
    let start = match (from, backward) {
        (Some(from), _) => from,
        // Just before the oldest event, which may lie before the timeline.
        (None, false) if view.room.oldest_position < 0 => view.room.oldest_position - 1,
        (None, false) => 0,
        (None, true) => match view.viewer.as_ref().map(|viewer| viewer.access) {
            Some(Access::Departed { seq, open: true }) => seq,
            Some(
                Access::Departed { open: false, .. } | Access::Member | Access::Anyone | Access::Stranger,
            )
            | None => end.unwrap_or(view.room.last_seq),
        },
    };
    // Who may only read what was said in the open is not kept waiting for more.
    let is_stranger = view.viewer.as_ref().is_some_and(|viewer| viewer.access == Access::Stranger);
    if is_stranger && !backward && end.is_some_and(|end| start > end) {
        return Err(nothing_to_see());
    }
    let span = if backward {
        Span { after: to.unwrap_or(i64::MIN), up_to: end.map_or(start, |end| end.min(start)), backward }
    } else {
        let to = to.unwrap_or(i64::MAX);
        Span { after: start, up_to: end.map_or(to, |end| end.min(to)), backward }
    };
    let page = page::read(app, &conn, &mut view, Source::Timeline, &filter, span, limit)
        .await
        .map_err(|error| failed(&error))?;
    Ok(Response::new(ListTimelineResponse { events: page.events, next: page.next, start }))
}
