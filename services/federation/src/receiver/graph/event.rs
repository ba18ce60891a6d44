//! `GET /_matrix/federation/v1/event/{eventId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid)

use axum::{extract::State, response::Response};
use plexus_events::canonical;
use plexus_matrix_http::{MatrixError, PathArgs};
use plexus_proto::room::v1::{
    CheckVisibilityRequest, GetEventsRequest, GraphEvent, check_visibility_request::Reader,
};
use ruma::{OwnedEventId, RoomId};
use tracing::instrument;

use super::pdus;
use crate::{
    Federation,
    receiver::{Graph, Signed},
    upstream::{self, check_in_room, timed},
};

#[instrument(name = "http.server.get_event", skip_all)]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((event_id,)): PathArgs<(OwnedEventId,)>,
    signed: Signed<Graph>,
) -> Result<Response, MatrixError> {
    let not_found = || MatrixError::not_found("There is no such event");
    let event_ids = vec![event_id.to_string()];
    let request = GetEventsRequest { event_ids: event_ids.clone(), ..GetEventsRequest::default() };
    let found = upstream::queries(&federation.rooms).get_events(timed(request)).await?.into_inner().events;
    let event = found.into_iter().next().ok_or_else(not_found)?;
    let room_id = <&RoomId>::try_from(event.room_id.as_str()).map_err(|_| MatrixError::internal())?;
    check_in_room(&federation.rooms, room_id, &signed.origin).await?;
    // It leaves out what is rejected, and what we know without having been there.
    let reader = Some(Reader::Server(signed.origin.to_string()));
    let request = CheckVisibilityRequest { room_id: event.room_id.clone(), event_ids, reader };
    let seen = upstream::graph(&federation.rooms).check_visibility(timed(request)).await?.into_inner().events;
    match seen.first() {
        None => return Err(not_found()),
        Some(event) if !event.visible => {
            return Err(MatrixError::forbidden("The server may not see the event"));
        }
        Some(_) => {}
    }
    // What we say beside the event is for our clients.
    let json = match canonical::parse_object(&event.json) {
        Ok(mut object) => {
            object.remove("unsigned");
            canonical::object_to_vec(&object).into()
        }
        Err(_) => event.json,
    };
    let event = GraphEvent { event_id: event.event_id, json, ..GraphEvent::default() };
    Ok(pdus::transaction(&federation, &[event]))
}
