//! `GET /_matrix/federation/v1/make_join/{roomId}/{userId}`, `make_leave` and `make_knock`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_joinroomiduserid)

use axum::extract::State;
use http::StatusCode;
use plexus_events::{Object, Value};
use plexus_matrix_http::{JsonObject, MatrixError, PathArgs, QueryArgs};
use plexus_proto::room::v1::{CheckRestrictedJoinRequest, CheckRestrictedJoinResponse};
use plexus_s2s::now_ms;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde_json::json;
use tracing::instrument;

use super::check::{check_resident, refused_by_rules};
use crate::{
    Federation,
    front::Front,
    receiver::{Membership, Signed},
    upstream::{self, timed},
};

const VOUCHER: &str = "join_authorised_via_users_server";

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    /// Room versions that the server knows; if it names none, the first.
    #[serde(default)]
    ver: Vec<String>,
}

#[instrument(name = "http.server.make_join", skip_all, fields(room.id = %room_id))]
pub(crate) async fn join_handler(
    State(federation): State<Federation>,
    PathArgs((room_id, user_id)): PathArgs<(OwnedRoomId, OwnedUserId)>,
    QueryArgs(args): QueryArgs<Args>,
    signed: Signed<Membership>,
) -> Result<JsonObject, MatrixError> {
    template(&federation, &signed.origin, &room_id, &user_id, "join", Some(args.ver)).await
}

#[instrument(name = "http.server.make_knock", skip_all, fields(room.id = %room_id))]
pub(crate) async fn knock_handler(
    State(federation): State<Federation>,
    PathArgs((room_id, user_id)): PathArgs<(OwnedRoomId, OwnedUserId)>,
    QueryArgs(args): QueryArgs<Args>,
    signed: Signed<Membership>,
) -> Result<JsonObject, MatrixError> {
    template(&federation, &signed.origin, &room_id, &user_id, "knock", Some(args.ver)).await
}

#[instrument(name = "http.server.make_leave", skip_all, fields(room.id = %room_id))]
pub(crate) async fn leave_handler(
    State(federation): State<Federation>,
    PathArgs((room_id, user_id)): PathArgs<(OwnedRoomId, OwnedUserId)>,
    signed: Signed<Membership>,
) -> Result<JsonObject, MatrixError> {
    template(&federation, &signed.origin, &room_id, &user_id, "leave", None).await
}

/// Makes a template; `versions` that the server knows, if it matters.
async fn template(
    federation: &Federation,
    origin: &ServerName,
    room_id: &RoomId,
    user_id: &UserId,
    membership: &str,
    versions: Option<Vec<String>>,
) -> Result<JsonObject, MatrixError> {
    if user_id.server_name() != origin {
        return Err(MatrixError::forbidden("The user is not one of the server"));
    }
    if membership != "leave" {
        federation.blocks.check(room_id, user_id)?;
    }
    check_resident(federation, room_id).await?;
    let mut front = Front::read(&federation.rooms, room_id, &[user_id], &[]).await?;
    if !front.allows(origin) {
        return Err(MatrixError::forbidden("The server is denied by the ACL of the room"));
    }
    let version = front.rules.id.as_str();
    if let Some(versions) = versions {
        let knows = versions.iter().any(|known| known == version) || (versions.is_empty() && version == "1");
        if !knows {
            return Err(MatrixError::incompatible_room_version(version));
        }
    }
    let mut content = Object::from([("membership".to_owned(), Value::String(membership.to_owned()))]);
    if membership == "join"
        && let Some(voucher) = find_voucher(federation, &front, room_id, user_id).await?
    {
        let voucher_id = <&UserId>::try_from(voucher.as_str()).map_err(|_| MatrixError::internal())?;
        front = Front::read(&federation.rooms, room_id, &[user_id, voucher_id], &[]).await?;
        content.insert(VOUCHER.to_owned(), Value::String(voucher));
    }
    let prepared = front.prepare(user_id, user_id, content, now_ms()).map_err(refused_by_rules)?;
    JsonObject::of(&json!({ "event": prepared.template(federation.name()), "room_version": version }))
}

/// Who of us vouches for a join, if it needs that.
async fn find_voucher(
    federation: &Federation,
    front: &Front,
    room_id: &RoomId,
    user_id: &UserId,
) -> Result<Option<String>, MatrixError> {
    if matches!(front.membership_of(user_id).as_deref(), Some("join" | "invite" | "ban")) {
        return Ok(None);
    }
    let answer = check_restricted(federation, room_id, user_id).await?;
    if !answer.restricted {
        return Ok(None);
    }
    let bad = |errcode, error: &'static str| Err(MatrixError::new(StatusCode::BAD_REQUEST, errcode, error));
    if answer.via_room_ids.is_empty() {
        if answer.complete {
            return Err(MatrixError::forbidden("The user is in none of the rooms that let users join"));
        }
        return bad("M_UNABLE_TO_AUTHORISE_JOIN", "This server is not in all rooms that let users join");
    }
    if answer.authorising_user_id.is_empty() {
        return bad("M_UNABLE_TO_GRANT_JOIN", "No user of this server may invite");
    }
    Ok(Some(answer.authorising_user_id))
}

/// Asks whether the user may join a restricted room, and who of us may vouch for that.
pub(super) async fn check_restricted(
    federation: &Federation,
    room_id: &RoomId,
    user_id: &UserId,
) -> Result<CheckRestrictedJoinResponse, MatrixError> {
    let request = CheckRestrictedJoinRequest { room_id: room_id.to_string(), user_id: user_id.to_string() };
    Ok(upstream::graph(&federation.rooms).check_restricted_join(timed(request)).await?.into_inner())
}
