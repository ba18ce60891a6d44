//! Loads what inputs request: one round.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use futures::{TryFutureExt as _, future::try_join_all};
use plexus_events::resolve::{Citing, Links};
use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId};

use super::InputBatch;
use crate::{
    rooms::{
        AliasCounts, AliasTarget, AnnotationKey, Arrival, EventNid, LoadRequest, LoadedData, MemberProfile,
        Node, NodeNid, ParkedEntries, ParkedNid, ReceiptKey, RoomNid, ServerKey, StoredEvent, Token,
    },
    store::{StoreError, loads},
};

impl InputBatch<'_> {
    /// Loads what the pure half asked for.
    pub(super) async fn load(&mut self, request: LoadRequest) -> Result<(), StoreError> {
        let conn = self.conn;
        let LoadRequest {
            nodes,
            events,
            event_ids,
            aliases,
            alias_counts,
            memberships,
            joined_local,
            receipts,
            profiles,
            annotations,
            servers,
            parked,
            parked_records,
            snapshots,
            arrivals,
            links,
            citing,
        } = request;
        let wanted_profiles: Vec<&str> = profiles.iter().map(|user| user.as_str()).collect();
        let annotations: Vec<_> = annotations.into_iter().collect();
        let servers: Vec<_> = servers.into_iter().collect();
        let links: Vec<_> = links.into_iter().collect();
        let citing: Vec<_> = citing.into_iter().collect();
        let parked_records: Vec<_> = parked_records.into_iter().collect();
        let arrivals: Vec<_> = arrivals.iter().map(AsRef::as_ref).collect();
        let nodes: Vec<(RoomNid, Vec<NodeNid>)> =
            nodes.into_iter().map(|(room, nids)| (room, nids.into_iter().collect())).collect();
        let events: Vec<_> = events.into_iter().collect();
        let ids: Vec<_> = event_ids.iter().map(AsRef::as_ref).collect();
        let wanted_aliases: Vec<_> = aliases.iter().collect();
        let wanted_counts: Vec<_> = alias_counts.into_iter().collect();
        let receipts: Vec<_> = receipts.into_iter().collect();
        let wanted_receipts: Vec<_> = receipts.iter().collect();
        let pairs: Vec<_> = memberships.iter().map(|(room, user)| (room.as_ref(), user.as_ref())).collect();
        let found_nodes = nodes.iter().map(|(room, nids)| loads::find_nodes(conn, *room, nids));
        let server_name = self.env.server_name.as_str();
        let joined = joined_local
            .iter()
            .map(|room| loads::find_joined_local(conn, *room, server_name).map_ok(|users| (*room, users)));
        let parked = parked
            .iter()
            .map(|room| loads::find_parked(conn, *room).map_ok(|entries| (*room, entries.into())));
        let snapshots =
            snapshots.iter().map(|name| loads::find_snapshot(conn, *name).map_ok(|chunks| (*name, chunks)));
        // All statements go out before the first answer comes.
        let (
            found,
            found_profiles,
            found_annotations,
            found_joined,
            found_parked,
            found_snapshots,
            found_counts,
            found_servers,
        ) = futures::try_join!(
            async {
                futures::try_join!(
                    try_join_all(found_nodes),
                    loads::find_events(conn, &events),
                    loads::find_events_by_id(conn, &ids),
                    loads::find_aliases(conn, &wanted_aliases),
                    loads::find_memberships(conn, &pairs),
                    loads::find_receipts(conn, &wanted_receipts),
                    loads::find_parked_records(conn, &parked_records),
                    loads::find_arrivals(conn, &arrivals),
                    loads::find_chains(conn, &links),
                    loads::find_citing(conn, &citing),
                )
            },
            loads::find_profiles(conn, &wanted_profiles),
            loads::find_annotations(conn, &annotations),
            try_join_all(joined),
            try_join_all(parked),
            try_join_all(snapshots),
            loads::count_aliases(conn, &wanted_counts),
            loads::find_servers(conn, &servers),
        )?;
        let (
            found_nodes,
            found_events,
            by_id,
            found_aliases,
            found_memberships,
            found_receipts,
            found_records,
            found_arrivals,
            found_links,
            found_citing,
        ) = found;
        if found_nodes.iter().zip(&nodes).any(|(found, (_, wanted))| found.len() != wanted.len()) {
            return Err(StoreError::Corrupt { what: "state trie: a node is missing".to_owned() });
        }
        if found_events.len() != events.len() {
            return Err(StoreError::Corrupt { what: "room: an event is missing".to_owned() });
        }
        let loaded = Loaded {
            nodes: found_nodes.into_iter().flatten().collect(),
            event_ids: event_ids.into_iter().collect(),
            events: found_events.into_iter().chain(by_id).collect(),
            aliases: aliases.into_iter().map(|alias| (alias, None)).collect(),
            found_aliases,
            alias_counts: found_counts,
            memberships: memberships.into_iter().map(|pair| (pair, None)).collect(),
            found_memberships,
            joined_local: found_joined,
            receipts: receipts.into_iter().zip(found_receipts).collect(),
            profiles: profiles.into_iter().map(|user| (user, MemberProfile::default())).collect(),
            found_profiles,
            annotations: annotations.into_iter().zip(found_annotations).collect(),
            servers: servers.into_iter().map(|(key, _)| key).zip(found_servers).collect(),
            parked: found_parked,
            parked_records: found_records,
            arrivals: found_arrivals,
            links: found_links,
            citing: found_citing,
            snapshots: found_snapshots,
        };
        if let Some(pristine) = &mut self.pristine {
            loaded.clone().add_to(pristine);
        }
        loaded.add_to(&mut self.loaded);
        Ok(())
    }
}

/// What was loaded, and that the rest of what was asked for is not there.
#[derive(Clone)]
struct Loaded {
    nodes: Vec<(NodeNid, Arc<Node>)>,
    event_ids: Vec<OwnedEventId>,
    events: Vec<Arc<StoredEvent>>,
    aliases: Vec<(OwnedRoomAliasId, Option<AliasTarget>)>,
    found_aliases: Vec<(OwnedRoomAliasId, AliasTarget)>,
    alias_counts: Vec<((OwnedRoomId, OwnedUserId), AliasCounts)>,
    memberships: Vec<((OwnedRoomId, OwnedUserId), Option<String>)>,
    found_memberships: Vec<((OwnedRoomId, OwnedUserId), String)>,
    joined_local: Vec<(RoomNid, Vec<OwnedUserId>)>,
    receipts: Vec<(ReceiptKey, Option<i64>)>,
    profiles: Vec<(OwnedUserId, MemberProfile)>,
    found_profiles: Vec<(OwnedUserId, MemberProfile)>,
    annotations: Vec<(AnnotationKey, Vec<EventNid>)>,
    servers: Vec<(ServerKey, i64)>,
    parked: Vec<(RoomNid, Arc<ParkedEntries>)>,
    parked_records: Vec<(ParkedNid, Bytes)>,
    arrivals: HashMap<OwnedEventId, Arrival>,
    links: Vec<(EventNid, Links<EventNid>)>,
    citing: Vec<(EventNid, Citing<EventNid>)>,
    snapshots: Vec<((RoomNid, Token), BTreeMap<i32, Bytes>)>,
}

impl Loaded {
    /// Adds it to what was loaded before.
    fn add_to(self, loaded: &mut LoadedData) {
        loaded.nodes.extend(self.nodes);
        loaded.events_by_id.extend(self.event_ids.into_iter().map(|id| (id, None)));
        for event in self.events {
            loaded.add_event(event);
        }
        loaded.aliases.extend(self.aliases);
        loaded.aliases.extend(self.found_aliases.into_iter().map(|(alias, target)| (alias, Some(target))));
        loaded.alias_counts.extend(self.alias_counts);
        loaded.memberships.extend(self.memberships);
        let found = self.found_memberships.into_iter().map(|(pair, membership)| (pair, Some(membership)));
        loaded.memberships.extend(found);
        loaded.joined_local.extend(self.joined_local);
        loaded.receipts.extend(self.receipts);
        loaded.profiles.extend(self.profiles);
        loaded.profiles.extend(self.found_profiles);
        loaded.annotations.extend(self.annotations);
        loaded.servers.extend(self.servers);
        loaded.parked.extend(self.parked);
        loaded.parked_records.extend(self.parked_records);
        loaded.arrivals.extend(self.arrivals);
        loaded.links.extend(self.links);
        loaded.citing.extend(self.citing);
        for (name, chunks) in self.snapshots {
            loaded.add_snapshot(name, chunks);
        }
    }
}
