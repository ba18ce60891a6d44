//! Answers of the played room server.

use std::collections::HashMap;

use futures::{StreamExt as _, stream::BoxStream};
use plexus_log::{PARTITIONS, partition_of};
use plexus_proto::{
    common::v1::{AsOf, ErrorReason, PartitionHead},
    log::v1::HistoryVisibility,
    room::v1::{
        self as room, RoomEvent, RoomInfo, RoomReceipt, StateKey, TimelineEvent, UserRoom,
        room_history_service_server::{RoomHistoryService, RoomHistoryServiceServer},
        room_query_service_server::{RoomQueryService, RoomQueryServiceServer},
        room_stream_service_server::{RoomStreamService, RoomStreamServiceServer},
        state_point::Point,
    },
    user::v1::{
        self as user,
        inbox_service_server::{InboxService, InboxServiceServer},
        key_query_service_server::{KeyQueryService, KeyQueryServiceServer},
        user_query_service_server::{UserQueryService, UserQueryServiceServer},
        user_stream_service_server::{UserStreamService, UserStreamServiceServer},
    },
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status};

use super::{Facts, Key, Stored, World};

type Answer<T> = Result<Response<T>, Status>;
type Chunks<T> = BoxStream<'static, Result<T, Status>>;

fn one<T: Send + 'static>(chunk: T) -> Answer<Chunks<T>> {
    Ok(Response::new(futures::stream::iter([Ok(chunk)]).boxed()))
}

fn unasked<T>() -> Answer<T> {
    Err(Status::unimplemented("this service does not ask"))
}

fn heads(seqs: &HashMap<u32, u64>) -> Vec<PartitionHead> {
    let seq = |partition| seqs.get(&partition).copied().unwrap_or_default();
    (0..PARTITIONS).map(|partition| PartitionHead { partition, seq: seq(partition) }).collect()
}

fn check_floor(floors: &HashMap<u32, u64>, partition: u32, after: u64) -> Result<(), Status> {
    if floors.get(&partition).is_some_and(|floor| *floor > after) {
        return Err(refusal(Code::OutOfRange, ErrorReason::OutOfRange, "records of the range are gone"));
    }
    Ok(())
}

impl World {
    pub(super) fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(RoomQueryServiceServer::new(self.clone()))
            .add_service(RoomStreamServiceServer::new(self.clone()))
            .add_service(RoomHistoryServiceServer::new(self.clone()))
            .add_service(UserQueryServiceServer::new(self.clone()))
            .add_service(UserStreamServiceServer::new(self.clone()))
            .add_service(InboxServiceServer::new(self.clone()))
            .add_service(KeyQueryServiceServer::new(self.clone()))
    }
}

impl Facts {
    pub(in crate::tests) fn state_at(&self, room: &str, seq: u64) -> HashMap<Key, Stored> {
        let before =
            self.events.iter().filter(|stored| stored.event.room_id == room && stored.event.seq <= seq);
        before.filter_map(|stored| Some((stored.key.clone()?, stored.clone()))).collect()
    }

    fn membership(&self, room: &str, user: &str, seq: u64) -> Option<Stored> {
        self.state_at(room, seq).remove(&("m.room.member".to_owned(), user.to_owned()))
    }

    /// The specification's rules, word by word.
    pub(in crate::tests) fn sees(&self, user: &str, stored: &Stored) -> bool {
        let (room, seq) = (&stored.event.room_id, stored.event.seq);
        let membership = |seq| {
            let member = self.membership(room, user, seq);
            let membership =
                member.and_then(|member| Some(member.content["membership"].as_str()?.to_owned()));
            membership.unwrap_or_else(|| "leave".to_owned())
        };
        let joins_later = || {
            (seq + 1..=self.last(room)).any(|seq| membership(seq) == "join" && membership(seq - 1) != "join")
        };
        let allowed = |membership: &str| match stored.visibility {
            HistoryVisibility::WorldReadable => true,
            _ if membership == "join" => true,
            HistoryVisibility::Shared => joins_later(),
            HistoryVisibility::Invited => membership == "invite",
            HistoryVisibility::Joined | HistoryVisibility::Unspecified => false,
        };
        let own = stored.key.as_ref().is_some_and(|(kind, key)| kind == "m.room.member" && key == user);
        let (before, after) = (membership(seq - 1), membership(seq));
        // Who is removed is told so.
        let removed = own && ["leave", "ban"].contains(&&*after) && ["invite", "knock"].contains(&&*before);
        removed || allowed(&before) || own && allowed(&after)
    }

    /// When a user who was in a room and is no more left it last.
    pub(in crate::tests) fn departure(&self, room: &str, user: &str) -> Option<u64> {
        let is_in = |seq| {
            self.membership(room, user, seq).is_some_and(|stored| stored.content["membership"] == "join")
        };
        let last = self.last(room);
        let last_in = (1..=last).rev().find(|seq| is_in(*seq))?;
        (last_in < last).then_some(last_in + 1)
    }

    /// Type of a relation to an event, and who relates.
    fn relations(&self, event_id: &str) -> Vec<(&Stored, String, String)> {
        let relation = |stored: &Stored| {
            let relation = &stored.content["m.relates_to"];
            let json: serde_json::Value = serde_json::from_slice(&stored.event.json).unwrap();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            (relation["event_id"] == event_id).then(|| (text(&relation["rel_type"]), text(&json["sender"])))
        };
        let related = |stored| relation(stored).map(|(rel_type, sender)| (stored, rel_type, sender));
        self.events.iter().filter_map(related).collect()
    }

    fn inboxes(&self, user: &str) -> Vec<user::Inbox> {
        let own = self.messages.iter().filter(|message| message.user == user);
        let last: HashMap<&str, u64> = own.map(|message| (message.device.as_str(), message.seq)).collect();
        let inbox = |(device, last_seq): (&str, u64)| user::Inbox { device_id: device.to_owned(), last_seq };
        last.into_iter().map(inbox).collect()
    }

    fn receipts(&self, room: &str) -> Vec<RoomReceipt> {
        let of_room = self.receipts.iter().filter(|((of, ..), _)| of == room);
        of_room.map(|(_, (seq, receipt))| RoomReceipt { receipt: Some(receipt.clone()), seq: *seq }).collect()
    }

    fn last(&self, room: &str) -> u64 {
        self.room_seqs.get(&partition_of(room)).copied().unwrap_or_default()
    }
}

#[tonic::async_trait]
impl RoomQueryService for World {
    async fn get_rooms(&self, request: Request<room::GetRoomsRequest>) -> Answer<room::GetRoomsResponse> {
        let facts = self.facts.lock();
        let info = |room_id: String| {
            let of_room = || facts.events.iter().rev().filter(|stored| stored.event.room_id == room_id);
            let bumps = |stored: &&Stored| {
                let json: serde_json::Value = serde_json::from_slice(&stored.event.json).unwrap();
                ["m.room.create", "m.room.message"].iter().any(|kind| json["type"] == *kind)
            };
            let ts = |stored: Option<&Stored>| stored.map_or(0, Stored::committed_ts);
            let state = facts.state_at(&room_id, u64::MAX);
            let of = |kind: &str| state.get(&(kind.to_owned(), String::new()));
            RoomInfo {
                last_seq: facts.last_seqs.get(&room_id).copied().unwrap_or_default(),
                partition: partition_of(&room_id),
                last_event_ts: ts(of_room().next()),
                bump_ts: ts(of_room().find(bumps)),
                encrypted: of("m.room.encryption").is_some(),
                room_type: of("m.room.create")
                    .and_then(|create| create.content["type"].as_str())
                    .unwrap_or_default()
                    .to_owned(),
                room_id,
                ..RoomInfo::default()
            }
        };
        let rooms = request.into_inner().room_ids.into_iter().map(info).collect();
        Ok(Response::new(room::GetRoomsResponse { rooms }))
    }

    async fn get_state(&self, request: Request<room::GetStateRequest>) -> Answer<room::GetStateResponse> {
        let request = request.into_inner();
        let at = match request.at.and_then(|at| at.point) {
            Some(Point::AtSeq(seq)) => seq.cast_unsigned(),
            _ => u64::MAX,
        };
        let mut state = self.facts.lock().state_at(&request.room_id, at);
        let events = request.keys.into_iter().filter_map(|key| state.remove(&(key.r#type, key.state_key)));
        let events = events.map(|stored| stored.event).collect();
        Ok(Response::new(room::GetStateResponse { events, as_of: None }))
    }

    type StreamStateStream = Chunks<room::StreamStateResponse>;

    async fn stream_state(
        &self,
        request: Request<room::StreamStateRequest>,
    ) -> Answer<Self::StreamStateStream> {
        let request = request.into_inner();
        let Some(Point::AtSeq(at)) = request.at.and_then(|at| at.point) else {
            return unasked();
        };
        let state = self.facts.lock().state_at(&request.room_id, at.cast_unsigned());
        let events = state.into_values().map(|stored| stored.event).collect();
        one(room::StreamStateResponse { events, as_of: None })
    }

    async fn get_events(&self, _: Request<room::GetEventsRequest>) -> Answer<room::GetEventsResponse> {
        unasked()
    }

    async fn list_timeline(
        &self,
        request: Request<room::ListTimelineRequest>,
    ) -> Answer<room::ListTimelineResponse> {
        let request = request.into_inner();
        let mut facts = self.facts.lock();
        facts.timelines += 1;
        let position = |position: i64| u64::try_from(position).expect("sync asks for the timeline");
        let from = request.from.map_or(u64::MAX, position);
        let to = request.to.map_or(0, position);
        let filter = request.filter.unwrap_or_default();
        let matching: Vec<&Stored> = facts
            .events
            .iter()
            .rev()
            .filter(|stored| stored.event.room_id == request.room_id)
            .filter(|stored| stored.event.seq <= from && stored.event.seq > to)
            .filter(|stored| facts.sees(&request.viewer, stored))
            .filter(|stored| {
                facts.departure(&request.room_id, &request.viewer).is_none_or(|end| stored.event.seq <= end)
            })
            .filter(|stored| {
                let json: serde_json::Value = serde_json::from_slice(&stored.event.json).unwrap();
                !filter.has_types || filter.types.iter().any(|kind| json["type"] == kind.as_str())
            })
            .filter(|stored| {
                let (types, senders) = (&filter.related_by_rel_types, &filter.related_by_senders);
                let related = facts.relations(&stored.event.event_id);
                types.is_empty() && senders.is_empty()
                    || related
                        .iter()
                        .any(|(_, kind, sender)| types.contains(kind) && senders.contains(sender))
            })
            .collect();
        let limit = request.limit as usize;
        let page = matching.iter().take(limit).map(|stored| {
            let membership = facts.membership(&request.room_id, &request.viewer, stored.event.seq);
            let membership =
                membership.and_then(|stored| stored.content["membership"].as_str().map(str::to_owned));
            RoomEvent { viewer_membership: membership.unwrap_or("leave".to_owned()), ..stored.event.clone() }
        });
        let events: Vec<RoomEvent> = page.collect();
        let next =
            (matching.len() > limit).then(|| events.last().map_or(0, |last| last.seq.cast_signed() - 1));
        Ok(Response::new(room::ListTimelineResponse { events, next, start: from.cast_signed() }))
    }

    async fn list_rooms_for_user(
        &self,
        request: Request<room::ListRoomsForUserRequest>,
    ) -> Answer<room::ListRoomsForUserResponse> {
        let user_id = request.into_inner().user_id;
        let facts = self.facts.lock();
        let mut rooms: HashMap<String, UserRoom> = HashMap::new();
        let own = ("m.room.member".to_owned(), user_id.clone());
        for stored in facts.events.iter().filter(|stored| stored.key.as_ref() == Some(&own)) {
            let room_id = stored.event.room_id.clone();
            let json: serde_json::Value = serde_json::from_slice(&stored.event.json).unwrap();
            let entry = UserRoom {
                partition: partition_of(&room_id),
                forgotten: facts.forgotten.contains(&(room_id.clone(), user_id.clone())),
                membership: stored.content["membership"].as_str().unwrap().to_owned(),
                event_id: stored.event.event_id.clone(),
                seq: stored.event.seq,
                sender: json["sender"].as_str().unwrap().to_owned(),
                first_seq: rooms.get(&room_id).map_or(stored.event.seq, |before| before.first_seq),
                member_ts: stored.committed_ts(),
                since_seq: match rooms.get(&room_id) {
                    Some(before) if before.membership == stored.content["membership"] => before.since_seq,
                    _ => stored.event.seq,
                },
                room_id,
            };
            rooms.insert(entry.room_id.clone(), entry);
        }
        let rooms = rooms.into_values().collect();
        let heads = heads(facts.heads_before.as_ref().unwrap_or(&facts.room_seqs));
        Ok(Response::new(room::ListRoomsForUserResponse { rooms, heads }))
    }

    async fn list_copies(
        &self,
        request: Request<room::ListCopiesRequest>,
    ) -> Answer<room::ListCopiesResponse> {
        let room::ListCopiesRequest { viewer, event_ids } = request.into_inner();
        let facts = self.facts.lock();
        let joined = |stored: &Stored| {
            let member = facts.membership(&stored.event.room_id, &viewer, stored.event.seq);
            member.is_some_and(|member| member.content["membership"] == "join")
        };
        let copies = facts.events.iter().filter(|stored| {
            let erased = !stored.event.erased_sender.is_empty();
            erased && event_ids.contains(&stored.event.event_id) && !joined(stored)
        });
        let copies = copies.map(|stored| {
            let mut json: serde_json::Value = serde_json::from_slice(&stored.event.json).unwrap();
            json["content"] = serde_json::json!({});
            RoomEvent { json: json.to_string().into(), ..stored.event.clone() }
        });
        Ok(Response::new(room::ListCopiesResponse { copies: copies.collect() }))
    }

    async fn get_memberships(
        &self,
        _: Request<room::GetMembershipsRequest>,
    ) -> Answer<room::GetMembershipsResponse> {
        unasked()
    }
}

#[tonic::async_trait]
impl RoomHistoryService for World {
    async fn get_aggregations_in_rooms(
        &self,
        request: Request<room::GetAggregationsInRoomsRequest>,
    ) -> Answer<room::GetAggregationsInRoomsResponse> {
        let mut facts = self.facts.lock();
        facts.aggregations += 1;
        let ids = request.into_inner().rooms.into_iter().flat_map(|room| room.event_ids);
        let edited = ids.filter_map(|event_id| {
            let (edit, ..) = facts.relations(&event_id).into_iter().next_back()?;
            let replacement = Some(edit.event.clone());
            Some(room::Aggregations { event_id, replacement, ..Default::default() })
        });
        Ok(Response::new(room::GetAggregationsInRoomsResponse { aggregations: edited.collect() }))
    }

    async fn list_relations(
        &self,
        _: Request<room::ListRelationsRequest>,
    ) -> Answer<room::ListRelationsResponse> {
        unasked()
    }

    async fn list_threads(&self, _: Request<room::ListThreadsRequest>) -> Answer<room::ListThreadsResponse> {
        unasked()
    }

    async fn get_aggregations(
        &self,
        _: Request<room::GetAggregationsRequest>,
    ) -> Answer<room::GetAggregationsResponse> {
        unasked()
    }

    async fn find_event_by_time(
        &self,
        _: Request<room::FindEventByTimeRequest>,
    ) -> Answer<room::FindEventByTimeResponse> {
        unasked()
    }
}

#[tonic::async_trait]
impl RoomStreamService for World {
    async fn get_heads(&self, _: Request<room::GetHeadsRequest>) -> Answer<room::GetHeadsResponse> {
        let facts = self.facts.lock();
        let heads = heads(&facts.room_seqs);
        Ok(Response::new(room::GetHeadsResponse { heads, generation: facts.generation }))
    }

    type StreamRangeStream = Chunks<room::StreamRangeResponse>;

    async fn stream_range(
        &self,
        request: Request<room::StreamRangeRequest>,
    ) -> Answer<Self::StreamRangeStream> {
        let request = request.into_inner();
        let to = if request.to_seq == 0 { u64::MAX } else { request.to_seq };
        let facts = self.facts.lock();
        check_floor(&facts.room_floors, request.partition, request.after_seq)?;
        let records = facts.room_records.iter().filter(|record| {
            record.partition == request.partition && record.seq > request.after_seq && record.seq <= to
        });
        one(room::StreamRangeResponse { records: records.cloned().collect() })
    }

    type StreamRoomSnapshotStream = Chunks<room::StreamRoomSnapshotResponse>;

    async fn stream_room_snapshot(
        &self,
        request: Request<room::StreamRoomSnapshotRequest>,
    ) -> Answer<Self::StreamRoomSnapshotStream> {
        let request = request.into_inner();
        let mut facts = self.facts.lock();
        facts.snapshots += 1;
        let of_room: Vec<&Stored> =
            facts.events.iter().filter(|stored| stored.event.room_id == request.room_id).collect();
        if of_room.is_empty() {
            return Err(refusal(Code::NotFound, ErrorReason::RoomUnknown, "no such room"));
        }
        let skipped = of_room.len().saturating_sub(request.timeline_limit as usize);
        let timeline = of_room[skipped..].iter().map(|stored| TimelineEvent {
            event: Some(stored.event.clone()),
            visibility: stored.visibility.into(),
        });
        let state = facts.state_at(&request.room_id, u64::MAX);
        let seq = facts.last(&request.room_id);
        one(room::StreamRoomSnapshotResponse {
            info: Some(RoomInfo {
                room_id: request.room_id.clone(),
                room_version: "11".to_owned(),
                last_seq: seq,
                ..RoomInfo::default()
            }),
            as_of: Some(AsOf { partition: partition_of(&request.room_id), seq, epoch: 1 }),
            state: state.into_values().map(|stored| stored.event).collect(),
            timeline: timeline.collect(),
            more_before: skipped > 0,
            receipts: facts.receipts(&request.room_id),
        })
    }

    type StreamStateDeltaStream = Chunks<room::StreamStateDeltaResponse>;

    async fn stream_state_delta(
        &self,
        request: Request<room::StreamStateDeltaRequest>,
    ) -> Answer<Self::StreamStateDeltaStream> {
        let request = request.into_inner();
        let is_hanging = self.facts.lock().hanging.contains(&request.room_id);
        if is_hanging {
            std::future::pending::<()>().await;
        }
        let mut facts = self.facts.lock();
        facts.deltas += 1;
        if facts.broken.contains(&request.room_id) {
            return Err(Status::internal("the room is damaged"));
        }
        let from = facts.state_at(&request.room_id, request.from_seq);
        let to = facts.state_at(&request.room_id, request.to_seq);
        let is_new = |(key, stored): &(&Key, &Stored)| {
            from.get(*key).is_none_or(|old| old.event.event_id != stored.event.event_id)
        };
        let changed = to.iter().filter(is_new).map(|(_, stored)| stored.event.clone()).collect();
        let removed = from.keys().filter(|key| !to.contains_key(*key));
        let removed = removed.map(|(kind, key)| StateKey { r#type: kind.clone(), state_key: key.clone() });
        one(room::StreamStateDeltaResponse { changed, removed: removed.collect() })
    }
}

#[tonic::async_trait]
impl KeyQueryService for World {
    async fn list_room_mates(
        &self,
        _: Request<user::ListRoomMatesRequest>,
    ) -> Answer<user::ListRoomMatesResponse> {
        unasked()
    }

    async fn query_keys(&self, _: Request<user::QueryKeysRequest>) -> Answer<user::QueryKeysResponse> {
        unasked()
    }

    async fn get_key_counts(
        &self,
        request: Request<user::GetKeyCountsRequest>,
    ) -> Answer<user::GetKeyCountsResponse> {
        let user::GetKeyCountsRequest { user_id, device_id } = request.into_inner();
        let counts = self.facts.lock().key_counts.get(&(user_id, device_id.clone())).cloned();
        let devices = counts.into_iter().map(|counts| (device_id.clone(), counts)).collect();
        Ok(Response::new(user::GetKeyCountsResponse { devices }))
    }

    async fn list_device_list_changes(
        &self,
        request: Request<user::ListDeviceListChangesRequest>,
    ) -> Answer<user::ListDeviceListChangesResponse> {
        let user::ListDeviceListChangesRequest { from_users, to_users, .. } = request.into_inner();
        let mut facts = self.facts.lock();
        facts.compared += 1;
        let is_new = |partition: u32, seq: u64| {
            let at = |vector: &[u64]| vector[usize::try_from(partition).unwrap()];
            seq > at(&from_users) && seq <= at(&to_users)
        };
        let changed = facts.keys_changed.iter().filter(|(partition, seq, _)| is_new(*partition, *seq));
        let changed = changed.map(|(.., user)| user.clone()).collect();
        Ok(Response::new(user::ListDeviceListChangesResponse { changed, left: Vec::new() }))
    }
}

#[tonic::async_trait]
impl UserQueryService for World {
    async fn authenticate(
        &self,
        request: Request<user::AuthenticateRequest>,
    ) -> Answer<user::AuthenticateResponse> {
        let hash = request.into_inner().access_token_hash.to_vec();
        let Some((user_id, device_id)) = self.facts.lock().tokens.get(&hash).cloned() else {
            return Err(refusal(Code::Unauthenticated, ErrorReason::UnknownToken, "unknown token"));
        };
        let session =
            user::AuthenticateResponse { user_id, device_id, ..user::AuthenticateResponse::default() };
        Ok(Response::new(session))
    }

    async fn get_filter(&self, request: Request<user::GetFilterRequest>) -> Answer<user::GetFilterResponse> {
        let request = request.into_inner();
        let filter = self.facts.lock().filters.get(&(request.user_id, request.filter_id)).cloned();
        let filter =
            filter.ok_or_else(|| refusal(Code::NotFound, ErrorReason::NotFound, "no such filter"))?;
        Ok(Response::new(user::GetFilterResponse { filter: filter.to_string().into() }))
    }

    async fn get_account(&self, _: Request<user::GetAccountRequest>) -> Answer<user::GetAccountResponse> {
        unasked()
    }

    async fn find_refresh_token(
        &self,
        _: Request<user::FindRefreshTokenRequest>,
    ) -> Answer<user::FindRefreshTokenResponse> {
        unasked()
    }

    async fn list_devices(&self, _: Request<user::ListDevicesRequest>) -> Answer<user::ListDevicesResponse> {
        unasked()
    }

    async fn get_profile(&self, _: Request<user::GetProfileRequest>) -> Answer<user::GetProfileResponse> {
        unasked()
    }

    async fn get_account_data(
        &self,
        _: Request<user::GetAccountDataRequest>,
    ) -> Answer<user::GetAccountDataResponse> {
        unasked()
    }

    async fn await_member_jobs(
        &self,
        _: Request<user::AwaitMemberJobsRequest>,
    ) -> Answer<user::AwaitMemberJobsResponse> {
        Err(Status::unimplemented("nobody here asks"))
    }
}

#[tonic::async_trait]
impl UserStreamService for World {
    async fn get_heads(&self, _: Request<user::GetHeadsRequest>) -> Answer<user::GetHeadsResponse> {
        Ok(Response::new(user::GetHeadsResponse { heads: heads(&self.facts.lock().user_seqs) }))
    }

    type StreamRangeStream = Chunks<user::StreamRangeResponse>;

    async fn stream_range(
        &self,
        request: Request<user::StreamRangeRequest>,
    ) -> Answer<Self::StreamRangeStream> {
        let request = request.into_inner();
        let to = if request.to_seq == 0 { u64::MAX } else { request.to_seq };
        let facts = self.facts.lock();
        check_floor(&facts.user_floors, request.partition, request.after_seq)?;
        let records = facts.user_records.iter().filter(|record| {
            record.partition == request.partition && record.seq > request.after_seq && record.seq <= to
        });
        one(user::StreamRangeResponse { records: records.cloned().collect() })
    }

    async fn get_user_snapshot(
        &self,
        request: Request<user::GetUserSnapshotRequest>,
    ) -> Answer<user::GetUserSnapshotResponse> {
        let user_id = request.into_inner().user_id;
        let facts = self.facts.lock();
        let own = facts.account_data.iter().filter(|((user, _, _), _)| *user == user_id);
        let account_data = own.map(|((_, room_id, kind), (seq, content))| user::AccountData {
            room_id: room_id.clone(),
            r#type: kind.clone(),
            content: content.to_string().into(),
            seq: *seq,
        });
        let partition = partition_of(&user_id);
        let seq = facts.user_seqs.get(&partition).copied().unwrap_or_default();
        Ok(Response::new(user::GetUserSnapshotResponse {
            account_data: account_data.collect(),
            as_of: Some(AsOf { partition, seq, epoch: 1 }),
            inboxes: facts.inboxes(&user_id),
            out_of_band: facts.out_of_band.get(&user_id).cloned().unwrap_or_default(),
        }))
    }
}

#[tonic::async_trait]
impl InboxService for World {
    async fn list_inbox(&self, request: Request<user::ListInboxRequest>) -> Answer<user::ListInboxResponse> {
        let user::ListInboxRequest { user_id, device_id, after_seq, limit } = request.into_inner();
        let mut facts = self.facts.lock();
        facts.listed += 1;
        let waiting: Vec<_> = facts
            .messages
            .iter()
            .filter(|message| message.user == user_id && message.device == device_id)
            .filter(|message| message.seq > after_seq)
            .collect();
        let limit = usize::try_from(limit).unwrap();
        let messages = waiting.iter().take(limit).map(|message| user::InboxMessage {
            seq: message.seq,
            sender: "@sender:test".to_owned(),
            r#type: "m.test".to_owned(),
            content: message.content.to_string().into(),
        });
        Ok(Response::new(user::ListInboxResponse {
            messages: messages.collect(),
            more: waiting.len() > limit,
        }))
    }
}
