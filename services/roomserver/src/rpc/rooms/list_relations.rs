//! `RoomHistoryService.ListRelations`

use plexus_proto::room::v1::{Direction, ListRelationsRequest, ListRelationsResponse};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{
    LIMIT,
    access::{Facts, view},
    filter::Filter,
    page::{self, Related, Source, Span},
};
use crate::{
    app::App,
    rpc::check::{self, failed, invalid, not_found},
    store::{pool, reads, reads::relations::MAX_DEPTH},
};

#[instrument(name = "rpc.room.list_relations", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(in crate::rpc) async fn answer(
    app: &App,
    request: Request<ListRelationsRequest>,
) -> Result<Response<ListRelationsResponse>, Status> {
    let request = request.into_inner();
    let backward = match request.direction() {
        Direction::Backward => true,
        Direction::Forward => false,
        Direction::Unspecified => return Err(invalid("direction", "must be backward or forward")),
    };
    let ListRelationsRequest { room_id, viewer, event_id, rel_type, event_type, limit, recurse, .. } =
        request;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=LIMIT).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {LIMIT}")));
    }
    check::event_id("event_id", &event_id)?;
    check::storable("rel_type", &rel_type)?;
    check::storable("event_type", &event_type)?;
    let filter = Filter::ignoring(request.ignored_users)?;
    let pool = if recurse { &app.search_pool } else { &app.pool };
    let conn = pool::get(pool).await.map_err(|error| failed(&error))?;
    let mut view = view(app, &conn, &room_id, &viewer).await?;
    let found = reads::timeline::find_point(&conn, &event_id).await.map_err(|error| failed(&error))?;
    let parent = found.into_iter().find(|point| {
        let facts = Facts {
            seq: point.seq,
            event_type: &point.event_type,
            state_key: point.state_key.as_deref(),
            flags: point.flags,
            visibility: point.visibility,
        };
        point.room_nid == view.room.room_nid && view.may_see(&facts)
    });
    if parent.is_none() {
        return Err(not_found("the room has no such event"));
    }
    let related = Related {
        event_id,
        rel_type: pattern(&rel_type),
        event_type: pattern(&event_type),
        depth: if recurse { i32::try_from(MAX_DEPTH).unwrap_or(1) } else { 1 },
    };
    let (earlier, later) = if backward { (request.to, request.from) } else { (request.from, request.to) };
    let span = Span { after: earlier.unwrap_or(i64::MIN), up_to: later.unwrap_or(i64::MAX), backward };
    let span = Span { up_to: view.end().map_or(span.up_to, |end| end.min(span.up_to)), ..span };
    let page = page::read(app, &conn, &mut view, Source::Related(&related), &filter, span, limit)
        .await
        .map_err(|error| failed(&error))?;
    Ok(Response::new(ListRelationsResponse {
        events: page.events,
        next: page.next,
        depth: if recurse { MAX_DEPTH } else { 1 },
    }))
}

/// A pattern of `LIKE` that matches a text and nothing else, or everything if there is no text.
fn pattern(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn patterns_match_literally() {
        assert_eq!(pattern("m.thread"), "m.thread");
        assert_eq!(pattern(r"a%b_c\"), r"a\%b\_c\\");
        assert_eq!(pattern(""), "%");
    }
}
