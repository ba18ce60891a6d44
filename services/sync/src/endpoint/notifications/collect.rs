//! Collecting the notifications of a user.

use std::sync::Arc;

use plexus_matrix_http::MatrixError;
use plexus_proto::room::v1::StateKey;
use plexus_push::{Budget, Spent};
use ruma::{UserId, push::Action};
use serde::Deserialize;

use crate::{
    SyncService,
    endpoint::{
        effort::{AtOnce, Work},
        erasure, state,
    },
    limits,
    view::{Candidate, Event, Heard, Listing, MEMBER, Membership, Reading},
};

/// Where a notification lies among all: by time, then by event.
pub(super) type Place = (i64, String);

/// A notification.
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) event: Arc<Event>,
    /// Index of the room among those of the user.
    pub(super) room: usize,
    /// What the user was in the room.
    pub(super) membership: Membership,
    pub(super) read: bool,
    /// Whether other events may have made something of it that is told with it.
    pub(super) related: bool,
    pub(super) highlights: bool,
    pub(super) actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Sent {
    origin_server_ts: Option<i64>,
}

impl Work for Listing {
    fn run(&mut self, budget: &mut Budget) -> Result<(), Spent> {
        Self::run(self, budget)
    }
}

/// Collects the notifications of the rooms that the user is in, and of invites; in no order.
pub(super) async fn collect(
    service: &SyncService,
    reading: &Reading,
    user: &UserId,
    only_highlights: bool,
) -> Result<Vec<Found>, MatrixError> {
    let at_once = AtOnce::new();
    let mut found = Vec::new();
    let mut pins = Vec::new();
    for (index, candidate) in reading.candidates.iter().enumerate() {
        if candidate.now.membership != Membership::Join {
            continue;
        }
        pins.push(candidate.room.pin());
        match service.view.load(&candidate.room).await {
            Ok(()) => {}
            Err(refused) if refused.is_refusal() => continue,
            Err(failure) => return Err(failure.into()),
        }
        let member = reading.attention.member(user, candidate);
        let Some((listing, related)) = candidate.room.listing(member) else { continue };
        let heard = hear(service, user, &at_once, listing).await;
        let is_related = |event: &Event| event.state_key.is_none() && related.contains(&event.id);
        found.extend(heard.into_iter().map(|heard| Found::of((index, candidate), heard, is_related)));
    }
    for (index, candidate) in invites(reading) {
        let key = StateKey { r#type: MEMBER.to_owned(), state_key: user.to_string() };
        let seq = Some(candidate.now.seq);
        let event = match service.upstream.state_entries(&candidate.room.id, vec![key], seq).await {
            Ok(mut told) => {
                erasure::copy_stored(&service.upstream, user, &mut told).await?;
                state::read(&candidate.room, told).into_iter().next()
            }
            Err(refused) if refused.is_refusal() => None,
            Err(failure) => return Err(failure.into()),
        };
        if let Some(event) = event {
            let listing = Listing::of_one(reading.attention.member(user, candidate), event);
            let heard = hear(service, user, &at_once, listing).await;
            found.extend(heard.into_iter().map(|heard| Found::of((index, candidate), heard, |_| false)));
        }
    }
    found.retain(|found| found.highlights || !only_highlights);
    Ok(found)
}

/// Tells notifications from other events. Where that is too much work, the rest is left out.
async fn hear(service: &SyncService, user: &UserId, at_once: &AtOnce, listing: Listing) -> Vec<Heard> {
    let heard = service.effort.spend(user, at_once, listing).await;
    heard.map(|(listing, _)| listing.finish()).unwrap_or_default()
}

impl Found {
    fn of((room, candidate): (usize, &Candidate), heard: Heard, is_related: impl Fn(&Event) -> bool) -> Self {
        let sent = serde_json::from_slice::<Sent>(&heard.event.json).ok();
        let ts = sent.and_then(|sent| sent.origin_server_ts).unwrap_or_default();
        Self {
            place: (ts, heard.event.id.to_string()),
            room,
            membership: candidate.now.membership,
            read: heard.read,
            related: is_related(&heard.event),
            highlights: heard.highlights,
            actions: heard.actions,
            event: heard.event,
        }
    }
}

/// The newest invites that the user is shown.
fn invites(reading: &Reading) -> Vec<(usize, &Candidate)> {
    let all = reading.candidates.iter().enumerate();
    let mut invites: Vec<_> = all.filter(|(_, candidate)| reading.shows_invite(candidate)).collect();
    invites.sort_unstable_by_key(|(_, candidate)| std::cmp::Reverse(candidate.now.seq));
    invites.truncate(limits::NOTIFIED_INVITES);
    invites
}
