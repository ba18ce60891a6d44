//! A room as its saga sees it: what the room server knows of it, and the way of what was fetched into it.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use plexus_events::RoomRules;
use plexus_input::{Lane, Outcome, SubmitError};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::input_room_event::Body,
    room::v1::{
        FindEventsRequest, GetForwardExtremitiesRequest, KnownEvent, ListJoinedServersRequest,
        ListOpenFetchesRequest, ListOpenFetchesResponse,
    },
};
use plexus_service::refusal::reason_of;
use ruma::{EventId, OwnedEventId, OwnedServerName, RoomId, ServerName};
use tonic::Status;
use tracing::debug;

use super::{
    Failure,
    ask::{Peer, Raw},
};
use crate::{
    Federation,
    checked::{self, CheckedPdu, ReadPdu},
    upstream::{self, timed},
};

/// How long keys may take that have to be fetched.
const KEY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Events that a server is asked for at the same time.
const AT_ONCE: usize = 3;
/// Most IDs that the room server is asked about at once.
const IDS: usize = 1_000;

/// A room, and the service that works on it.
pub(super) struct Room<'a> {
    pub(super) federation: &'a Federation,
    pub(super) room_id: &'a RoomId,
    pub(super) rules: &'static RoomRules,
    /// Its forward extremities.
    pub(super) latest: Vec<OwnedEventId>,
    /// Servers in it, with the number of their members.
    pub(super) servers: Vec<(OwnedServerName, u64)>,
}

impl<'a> Room<'a> {
    /// Loads a room. `None` if it is not known here any more.
    pub(super) async fn load(
        federation: &'a Federation,
        room_id: &'a RoomId,
    ) -> Result<Option<Self>, Failure> {
        let (mut graph, mut other) = (upstream::graph(&federation.rooms), upstream::graph(&federation.rooms));
        let front = graph.get_forward_extremities(timed(GetForwardExtremitiesRequest {
            room_id: room_id.to_string(),
            keys: Vec::new(),
        }));
        let servers = other.list_joined_servers(timed(ListJoinedServersRequest {
            room_id: room_id.to_string(),
            server: String::new(),
        }));
        let (front, servers) = match tokio::try_join!(front, servers) {
            Ok((front, servers)) => (front.into_inner(), servers.into_inner()),
            Err(status) if reason_of(&status) == Some(ErrorReason::RoomUnknown) => return Ok(None),
            Err(status) => return Err(unreachable(&status)),
        };
        let Ok(rules) = RoomRules::of(&front.room_version) else { return Ok(None) };
        let latest = front.forward_extremities.into_iter();
        let latest = latest.filter_map(|event| event.event_id.try_into().ok()).collect();
        let servers = servers.servers.into_iter();
        let servers =
            servers.filter_map(|server| Some((ServerName::parse(server.name).ok()?, server.members)));
        Ok(Some(Self { federation, room_id, rules, latest, servers: servers.collect() }))
    }

    /// A page of the room's parked events that lack something.
    pub(super) async fn open_fetches(&self, after: i64) -> Result<ListOpenFetchesResponse, Failure> {
        let request = ListOpenFetchesRequest {
            room_id: self.room_id.to_string(),
            partition: 0,
            after,
            limit: u32::MAX,
        };
        let answer = upstream::graph(&self.federation.rooms).list_open_fetches(timed(request)).await;
        Ok(answer.map_err(|status| unreachable(&status))?.into_inner())
    }

    /// A server that is asked about the room.
    pub(super) fn peer<'p>(&'p self, server: &'p ServerName) -> Peer<'p> {
        Peer { peers: &self.federation.peers, server, room_id: self.room_id }
    }

    /// Which of these events are known here.
    pub(super) async fn known(
        &self,
        ids: impl IntoIterator<Item = &OwnedEventId>,
    ) -> Result<HashMap<OwnedEventId, KnownEvent>, Failure> {
        let ids: Vec<String> = ids.into_iter().map(ToString::to_string).collect();
        let mut known = HashMap::new();
        for ids in ids.chunks(IDS) {
            let request = FindEventsRequest { room_id: self.room_id.to_string(), event_ids: ids.to_vec() };
            let answer = upstream::graph(&self.federation.rooms).find_events(timed(request)).await;
            let events = answer.map_err(|status| unreachable(&status))?.into_inner().events;
            let events = events.into_iter();
            known.extend(events.filter_map(|event| Some((event.event_id.as_str().try_into().ok()?, event))));
        }
        Ok(known)
    }

    /// Reads events. Those that are malformed, or of another room, are left out.
    pub(super) fn read(&self, events: &[Raw]) -> Vec<ReadPdu> {
        let read = events.iter().map(|event| checked::read(event.get().as_bytes(), self.room_id, self.rules));
        let read = read.filter_map(|read| {
            read.inspect_err(|error| debug!(%error, "an event that was fetched is left out")).ok()
        });
        read.collect()
    }

    /// Checks events. Those that do not pass are left out.
    pub(super) async fn check(&self, events: Vec<ReadPdu>) -> Vec<CheckedPdu> {
        let checked = checked::verify(&self.federation.keys, events, KEY_PATIENCE).await;
        let passed = checked.into_iter().filter_map(|(event_id, checked)| {
            let checked = checked
                .inspect_err(|error| debug!(event.id = %event_id, %error, "a fetched event is left out"));
            checked.ok()
        });
        passed.collect()
    }

    /// Fetches events one by one: all of them, or none.
    pub(super) async fn fetch_each(
        &self,
        peer: Peer<'_>,
        ids: impl IntoIterator<Item = OwnedEventId>,
    ) -> Result<Vec<CheckedPdu>, Failure> {
        let fetched = stream::iter(ids).map(async |id| self.fetch_one(peer, &id).await);
        fetched.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Fetches an event.
    pub(super) async fn fetch_one(&self, peer: Peer<'_>, id: &EventId) -> Result<CheckedPdu, Failure> {
        let raw = peer.event(id).await?;
        let invalid =
            |why: &dyn std::fmt::Display| Failure::Invalid(format!("{} tells {id}: {why}", peer.server));
        let read = checked::read(raw.get().as_bytes(), self.room_id, self.rules);
        let read = read.map_err(|error| invalid(&error))?;
        if read.event_id() != id {
            return Err(invalid(&checked::CheckError::OtherEvent));
        }
        let mut checked = checked::verify(&self.federation.keys, vec![read], KEY_PATIENCE).await;
        match checked.pop() {
            Some((_, Ok(event))) => Ok(event),
            Some((_, Err(error @ checked::CheckError::NoKey(_)))) => {
                Err(Failure::Unreachable(format!("{id}: {error}")))
            }
            Some((_, Err(error))) => Err(invalid(&error)),
            None => Err(Failure::Unreachable("this server is stopping".to_owned())),
        }
    }

    /// Writes something to the room and waits until it is decided. A refusal of the whole is a failure.
    pub(super) async fn submit(&self, lane: Lane, body: Body) -> Result<(), Failure> {
        let inputs = &self.federation.input;
        let failed = |error: SubmitError| Failure::Unreachable(error.to_string());
        let written = inputs.append_room(self.room_id, lane, body).await.map_err(failed)?;
        match inputs.verdict_on(written).await.map_err(failed)? {
            Outcome::Accepted(_) | Outcome::Parked(_) => Ok(()),
            Outcome::Rejected(rejected) => Err(Failure::Refused(rejected.message)),
            Outcome::Unknown(_) => Err(Failure::Unreachable("the input was lost".to_owned())),
        }
    }
}

/// IDs that are neither known here nor among those at hand.
pub(super) fn lacking<'i>(
    ids: impl IntoIterator<Item = &'i OwnedEventId>,
    known: &HashMap<OwnedEventId, KnownEvent>,
) -> BTreeSet<OwnedEventId> {
    ids.into_iter().filter(|id| !known.contains_key(*id)).cloned().collect()
}

fn unreachable(status: &Status) -> Failure {
    Failure::Unreachable(format!("the room server does not answer: {}", status.message()))
}
