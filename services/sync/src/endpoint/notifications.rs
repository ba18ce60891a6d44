//! `GET /_matrix/client/*/notifications`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications)
//!
//! Nothing is kept for it: the push rules of the user are applied to the recent timelines of the rooms the user is in, and
//! to invites. So it reaches back as far as those are in memory.

mod collect;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use http::StatusCode;
use plexus_matrix_http::{AuthedUser, MatrixError, QueryArgs};
use plexus_proto::room::v1::EventsOfRoom;
use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tracing::{error, instrument};

use collect::{Found, Place, collect};

use super::{json, not_encoded, relations::Relations};
use crate::{
    SyncService,
    clock::now_ms,
    limits,
    view::{self, Reading, Viewer},
};

/// The query string.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    from: Option<String>,
    limit: Option<u64>,
    only: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    notifications: Vec<Notification>,
}

#[derive(Debug, Serialize)]
struct Notification {
    actions: Box<RawValue>,
    event: Arc<RawValue>,
    read: bool,
    room_id: OwnedRoomId,
    ts: i64,
}

#[instrument(name = "http.client.notifications", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(service): State<SyncService>,
    user: AuthedUser,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<Response, MatrixError> {
    let (default, most) = limits::NOTIFICATIONS;
    let limit = query.limit.map_or(default, |limit| usize::try_from(limit).unwrap_or(most)).clamp(1, most);
    let from = query.from.as_deref().map(read_token).transpose()?;
    let only_highlights = query.only.as_deref() == Some("highlight");
    let reading = read(&service, &user).await?;
    let mut found = collect(&service, &reading, &user.id, only_highlights).await?;
    found.retain(|found| from.as_ref().is_none_or(|from| found.place < *from));
    // Newest first, and no more than are asked for and the one that tells that there are more.
    found.sort_unstable_by(|a, b| Reverse(&a.place).cmp(&Reverse(&b.place)));
    let more = found.len() > limit;
    found.truncate(limit);
    let next_token = found.last().filter(|_| more).map(|last| write_token(&last.place));
    let viewer = Viewer {
        erased: &service.upstream.erased,
        user_id: &user.id,
        device_id: &user.device_id,
        now: now_ms(),
    };
    let relations = relations(&service, &reading, viewer, &found).await?;
    let show = |found: Found| {
        let room = &reading.candidates.get(found.room)?.room;
        let bundled = relations.get(&found.event);
        let event = found.event.show(&room.id, Some(found.membership), viewer, bundled);
        let event = event
            .inspect_err(|failure| error!(room.id = %room.id, error = %failure, "event cannot be shown"))
            .ok()?;
        Some(Notification {
            actions: to_raw_value(&found.actions).ok()?,
            event,
            read: found.read,
            room_id: room.id.clone(),
            ts: found.place.0,
        })
    };
    let answer = Answer { next_token, notifications: found.into_iter().filter_map(show).collect() };
    Ok(json(serde_json::to_vec(&answer).map_err(not_encoded)?))
}

/// The rooms of the user, as of now.
async fn read(service: &SyncService, user: &AuthedUser) -> Result<Reading, MatrixError> {
    for _ in 0..limits::ATTEMPTS {
        let known = service.view.user(&user.id).await?;
        let now = now_ms();
        let mut cut = service.positions.cut(0);
        let mut target = cut;
        let about = view::Request { since: None, all_joined: true, now };
        match known.read(about, &target.rooms, &mut cut) {
            None => continue,
            Some(Ok(reading)) => return Ok(reading),
            Some(Err(ahead)) => target.rooms = ahead,
        }
        service.positions.reach(&target, limits::CATCH_UP).await;
    }
    Err(MatrixError::unavailable())
}

/// What relations have made of the events of a page, which has no more of them than may be asked about at once.
async fn relations(
    service: &SyncService,
    reading: &Reading,
    viewer: Viewer<'_>,
    found: &[Found],
) -> Result<Relations, MatrixError> {
    let mut by_room: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for found in found.iter().filter(|found| found.related) {
        by_room.entry(found.room).or_default().push(found.event.id.to_string());
    }
    let of_room = |(index, event_ids): (usize, Vec<String>)| {
        let room_id = reading.candidates.get(index).map(|candidate| candidate.room.id.to_string())?;
        // As of now: a notification is nothing that a client goes on from.
        Some(EventsOfRoom { room_id, event_ids, up_to: None })
    };
    let rooms: Vec<_> = by_room.into_iter().filter_map(of_room).collect();
    Ok(Relations::of(service, viewer, &reading.attention.ignored, &rooms).await?)
}

/// A place as clients hand it back.
fn write_token((ts, event_id): &Place) -> String {
    format!("n1_{ts}_{event_id}")
}

fn read_token(token: &str) -> Result<Place, MatrixError> {
    let place = token.strip_prefix("n1_").and_then(|place| place.split_once('_'));
    let read = place.and_then(|(ts, event_id)| Some((ts.parse().ok()?, event_id.to_owned())));
    read.ok_or_else(|| {
        MatrixError::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", "The token is not one of this server's")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        let place = (-5, "$a_b".to_owned());
        assert_eq!(read_token(&write_token(&place)).unwrap(), place);
        for token in ["", "n1_", "n1_x_$a", "n1_5", "s2_AQAAAAA"] {
            assert!(read_token(token).is_err(), "{token}");
        }
    }
}
