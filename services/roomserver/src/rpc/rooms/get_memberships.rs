//! `RoomQueryService.GetMemberships`

use plexus_proto::room::v1::{GetMembershipsRequest, GetMembershipsResponse, Member, OutOfBandMember};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::LIMIT;
use crate::{
    app::App,
    rpc::check::{self, failed},
    store::{pool, reads, reads::members::MemberRow},
};

#[instrument(name = "rpc.room.get_memberships", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<GetMembershipsRequest>,
) -> Result<Response<GetMembershipsResponse>, Status> {
    let GetMembershipsRequest { room_id, user_ids } = request.into_inner();
    check::room_id("room_id", &room_id)?;
    check::storable("room_id", &room_id)?;
    check::at_most("user_ids", user_ids.len(), LIMIT)?;
    for user_id in &user_ids {
        check::user_id("user_ids", user_id)?;
        check::storable("user_ids", user_id)?;
    }
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let rows = reads::members::list(&conn, &app.config.server.name, &user_ids, &room_id)
        .await
        .map_err(|error| failed(&error))?;
    let out_of_band =
        reads::out_of_band::list(&conn, &room_id, &user_ids).await.map_err(|error| failed(&error))?;
    let room_exists = !rows.is_empty();
    let resident = rows.iter().any(|row| row.resident);
    Ok(Response::new(GetMembershipsResponse {
        members: rows.into_iter().filter_map(member).collect(),
        room_exists,
        resident,
        out_of_band: out_of_band.into_iter().map(out_of_band_member).collect(),
    }))
}

fn out_of_band_member(row: reads::out_of_band::MemberRow) -> OutOfBandMember {
    OutOfBandMember {
        user_id: row.user_id,
        membership: row.membership,
        event_id: row.event_id,
        sender: row.sender,
        origin: row.origin,
        room_version: row.room_version,
    }
}

fn member(row: MemberRow) -> Option<Member> {
    Some(Member {
        user_id: row.user_id?,
        membership: row.membership?,
        event_id: row.event_id?,
        forgotten: row.forgotten.unwrap_or(false),
    })
}
