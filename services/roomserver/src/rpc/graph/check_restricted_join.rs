//! `RoomGraphService.CheckRestrictedJoin`

use std::collections::HashMap;

use plexus_events::{Pdu, Power, RoomRules};
use plexus_proto::room::v1::{CheckRestrictedJoinRequest, CheckRestrictedJoinResponse};
use ruma::{OwnedEventId, UserId};
use serde::Deserialize;
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::{chunks, room};
use crate::{
    app::App,
    rpc::{
        check::{self, failed},
        rooms::current_state,
    },
    store::{pool, reads},
};

/// Most allow rules that are looked at.
const MAX_ALLOW: usize = 64;
/// Most users who are asked whether they can vouch.
const MAX_VOUCHERS: i64 = 1000;

#[derive(Deserialize)]
struct JoinRules {
    join_rule: Option<String>,
    #[serde(default)]
    allow: Vec<Allow>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Allow {
    Room {
        #[serde(rename = "type")]
        kind: String,
        room_id: String,
    },
    Other(serde::de::IgnoredAny),
}

#[instrument(name = "rpc.graph.check_restricted_join", skip_all, fields(room.id = %request.get_ref().room_id))]
pub(super) async fn answer(
    app: &App,
    request: Request<CheckRestrictedJoinRequest>,
) -> Result<Response<CheckRestrictedJoinResponse>, Status> {
    let CheckRestrictedJoinRequest { room_id, user_id } = request.into_inner();
    check::user_id("user_id", &user_id)?;
    check::storable("user_id", &user_id)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let view = room(app, &conn, &room_id).await?;
    let front = reads::graph::list_forward_extremities(&conn, &view.room.room_nid)
        .await
        .map_err(|error| failed(&error))?;
    let mut answer = CheckRestrictedJoinResponse { complete: true, ..CheckRestrictedJoinResponse::default() };
    let Some(rules) = front.first().and_then(|row| RoomRules::of(&row.version).ok()) else {
        return Ok(Response::new(answer));
    };
    let keys = [("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.join_rules", "")];
    let state = current_state(&view).find(app, &conn, &keys).await.map_err(|error| failed(&error))?;
    let nids: Vec<i64> = state.iter().flatten().copied().collect();
    let events = chunks::read(app, &nids, false).await.map_err(|error| failed(&error))?;
    let parsed: HashMap<i64, Pdu> = nids
        .iter()
        .zip(events)
        .filter_map(|(nid, event)| {
            let id = OwnedEventId::try_from(event.event_id).ok()?;
            Some((*nid, Pdu::from_checked(id, &event.json, false).ok()?))
        })
        .collect();
    let held = |index: usize| state.get(index).copied().flatten().and_then(|nid| parsed.get(&nid));
    let [create, levels, join_rules] = [held(0), held(1), held(2)];
    let Some(rule) = join_rules.and_then(|event| event.content_as::<JoinRules>().ok()) else {
        return Ok(Response::new(answer));
    };
    answer.restricted = match rule.join_rule.as_deref() {
        Some("restricted") => rules.rules.authorization.restricted_join_rule,
        Some("knock_restricted") => rules.rules.authorization.knock_restricted_join_rule,
        Some(_) | None => false,
    };
    if !answer.restricted {
        return Ok(Response::new(answer));
    }
    let allow = rule.allow.into_iter().take(MAX_ALLOW).filter_map(|allow| match allow {
        Allow::Room { kind, room_id } if kind == "m.room_membership" => Some(room_id),
        Allow::Room { .. } | Allow::Other(_) => None,
    });
    let allow: Vec<String> = allow.filter(|room_id| !room_id.contains('\0')).collect();
    let known = reads::graph::list_joined(&conn, &user_id, &app.config.server.name, &allow)
        .await
        .map_err(|error| failed(&error))?;
    answer.complete = allow.iter().all(|room_id| known.iter().any(|(known, _)| known == room_id));
    answer.via_room_ids =
        known.into_iter().filter(|(_, joined)| *joined).map(|(room_id, _)| room_id).collect();
    if let Some(create) = create
        && let Ok(power) = Power::new(create, levels, rules)
    {
        let server = &app.config.server.name;
        let local = reads::graph::list_joined_of_server(&conn, server, &view.room.room_nid, &MAX_VOUCHERS)
            .await
            .map_err(|error| failed(&error))?;
        let can_invite = |user: &str| {
            let Ok(user) = <&UserId>::try_from(user) else { return false };
            match (power.of_user(user), power.to_invite()) {
                (Ok(level), Ok(needed)) => level >= needed,
                _ => false,
            }
        };
        answer.authorising_user_id =
            local.into_iter().map(|(user,)| user).find(|user| can_invite(user)).unwrap_or_default();
    }
    Ok(Response::new(answer))
}
