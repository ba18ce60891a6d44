//! Tests explanations of forked rooms and refused events for operators.

use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::verdict::Outcome,
    log::v1::{FetchDone, InputRoomEvent, fetch_done, input_room_event::Body, output_room_event},
    operator::v1::{
        EventStanding, ExplainEventRequest, ExplainEventResponse, ListExtremitiesRequest,
        ListExtremitiesResponse, PurgeRoomRequest, PurgeRoomResponse, ReprocessRequest, ReprocessResponse,
        VerifyRoomRequest, VerifyRoomResponse, explain_service_client::ExplainServiceClient,
        reprocess_request::Target, room_admin_service_client::RoomAdminServiceClient,
    },
};
use plexus_service::{RpcChannel, refusal::reason_of};
use serde_json::{Value, json};

use crate::store::purge;

use super::{
    fixture::{ALICE, Server, World, intent, message, public_room, room_record},
    received::{BOB, record, related, remote_of},
};

async fn explain(server: &Server, event_id: &str) -> ExplainEventResponse {
    let channel = RpcChannel::in_process(server.server.operator_routes());
    let request = ExplainEventRequest { event_id: event_id.to_owned() };
    ExplainServiceClient::new(channel).explain_event(request).await.expect("is explained").into_inner()
}

async fn verify(server: &Server, room_id: &str) -> VerifyRoomResponse {
    let channel = RpcChannel::in_process(server.server.operator_routes());
    let request = VerifyRoomRequest { room_id: room_id.to_owned() };
    RoomAdminServiceClient::new(channel).verify_room(request).await.expect("is verified").into_inner()
}

async fn extremities(server: &Server, room_id: &str) -> ListExtremitiesResponse {
    let channel = RpcChannel::in_process(server.server.operator_routes());
    let request = ListExtremitiesRequest { room_id: room_id.to_owned() };
    RoomAdminServiceClient::new(channel).list_extremities(request).await.expect("are listed").into_inner()
}

/// A state event of Alice.
fn sets(room: &str, event_type: &str, state_key: &str, content: Value) -> InputRoomEvent {
    room_record(room, Body::Intent(intent(ALICE, event_type, Some(state_key), content)))
}

/// A room with a fork that was resolved, a rejected and a soft-failed event.
struct Story {
    world: World,
    server: Server,
    room: String,
    ours: String,
    theirs: String,
    merged: String,
    rejected: String,
    soft_failed: String,
}

async fn story() -> Story {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("operators");
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    let (_, join) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    server.accepted(&world.write_room(&record(&room, &join)).await).await;
    let levels = sets(&room, "m.room.power_levels", "", json!({"users": {BOB: 50}}));
    let levels = server.accepted(&world.write_room(&levels).await).await;
    let mut remote = remote_of(&world, &room, levels.seq).await;
    let mut late = remote.clone();
    // Alice and Bob set the topic, and neither has seen the other's.
    let ours = sets(&room, "m.room.topic", "", json!({"topic": "ours"}));
    let ours = server.accepted(&world.write_room(&ours).await).await.event_id;
    let (theirs, json) = remote.build(BOB, "m.room.topic", Some(""), json!({"topic": "theirs"}));
    server.accepted(&world.write_room(&record(&room, &json)).await).await;
    assert_eq!(extremities(&server, &room).await.forward.len(), 2);
    let merged = server.accepted(&world.write_room(&message(&room, ALICE, "merged")).await).await.event_id;
    // Carol never joined.
    let (rejected, json) = remote.build("@carol:b.example", "m.room.message", None, json!({"body": "hi"}));
    server.rejected(&world.write_room(&record(&room, &json)).await).await;
    // Bob is banned, and sends as if he did not know.
    let ban = sets(&room, "m.room.member", BOB, json!({"membership": "ban"}));
    server.accepted(&world.write_room(&ban).await).await;
    let (soft_failed, json) = late.build(BOB, "m.room.message", None, related("m.reference", &ours));
    let verdict = server.verdict(&world.write_room(&record(&room, &json)).await).await.expect("an answer");
    assert!(
        matches!(&verdict.outcome, Some(Outcome::Accepted(accepted)) if accepted.soft_failed),
        "{verdict:?}"
    );
    Story { world, server, room, ours, theirs, merged, rejected, soft_failed }
}

#[tokio::test]
async fn events_are_explained() {
    let Story { world: _world, server, room, ours, theirs, merged, rejected, soft_failed } = story().await;
    let found = explain(&server, &merged).await;
    assert_eq!((found.standing(), found.room_id.as_str()), (EventStanding::Accepted, room.as_str()));
    assert_eq!((found.room_version.as_str(), found.stage.as_str(), found.rule.as_str()), ("12", "", ""));
    let mut prevs = found.prev_event_ids.clone();
    prevs.sort_unstable();
    let mut topics = vec![ours.clone(), theirs.clone()];
    topics.sort_unstable();
    assert_eq!(prevs, topics);
    let types: Vec<_> = found.auth_events.iter().map(|event| event.r#type.as_str()).collect();
    assert!(types.contains(&"m.room.power_levels") && types.contains(&"m.room.member"), "{types:?}");
    let member =
        found.auth_events.iter().find(|event| event.r#type == "m.room.member").expect("there is one");
    let content: Value = serde_json::from_slice(&member.content).expect("JSON");
    assert_eq!(content["membership"], "join");
    // Both topics are in conflict, both are allowed by the power levels, and the later one of the order wins.
    let resolution = found.resolution.expect("two states were resolved");
    assert_eq!(resolution.states, 2);
    let [conflict] = resolution.conflicting.as_slice() else { panic!("{:?}", resolution.conflicting) };
    assert_eq!((conflict.r#type.as_str(), conflict.state_key.as_str()), ("m.room.topic", ""));
    let mut held = conflict.event_ids.clone();
    held.sort_unstable();
    assert_eq!(held, topics);
    let order: Vec<_> = resolution.steps.iter().map(|step| step.event_id.clone()).collect();
    let mut applied = order.clone();
    applied.sort_unstable();
    assert_eq!(applied, topics);
    assert!(resolution.steps.iter().all(|step| !step.power && step.refused.is_empty()));
    assert_eq!(Some(&conflict.resolved), order.last());
    // A topic that lost has another state after it than what it was resolved to.
    let after = found.state_after.expect("it has a place");
    let winner = explain(&server, &conflict.resolved).await.state_after.expect("it has a place");
    let loser = topics.iter().find(|id| **id != conflict.resolved).expect("there are two");
    let lost = explain(&server, loser).await;
    assert_eq!(after, winner);
    assert_ne!(Some(after), lost.state_after);
    assert!(lost.resolution.is_none());

    let found = explain(&server, &rejected).await;
    assert_eq!((found.standing(), found.stage.as_str()), (EventStanding::Rejected, "auth_events"));
    assert!(!found.rule.is_empty() && found.decided_ts > 0 && found.seq == 0, "{found:?}");
    let found = explain(&server, &soft_failed).await;
    assert_eq!((found.standing(), found.stage.as_str()), (EventStanding::SoftFailed, "current_state"));
    assert!(!found.rule.is_empty() && found.state_after.is_some(), "{found:?}");

    let mut client = ExplainServiceClient::new(RpcChannel::in_process(server.server.operator_routes()));
    let unknown = ExplainEventRequest { event_id: "$unknown".to_owned() };
    let unknown = client.explain_event(unknown).await.expect_err("nothing is known of it");
    assert_eq!(reason_of(&unknown), Some(ErrorReason::NotFound));
    let invalid = ExplainEventRequest { event_id: "unknown".to_owned() };
    let invalid = client.explain_event(invalid).await.expect_err("that is no event ID");
    assert_eq!(reason_of(&invalid), Some(ErrorReason::InvalidParam));
    server.stop().await;
}

#[tokio::test]
async fn parked_event_is_explained() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("explained");
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    let (join_id, _) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    let (id, json) = remote.build(BOB, "m.room.message", None, json!({"body": "early"}));
    server.verdict(&world.write_room(&record(&room, &json)).await).await.expect("an answer");
    let found = explain(&server, &id).await;
    assert_eq!((found.standing(), found.room_id), (EventStanding::Parked, room));
    assert!(found.json.is_empty());
    let missing: Vec<_> = found.missing.iter().map(|missing| missing.event_id.as_str()).collect();
    assert_eq!(missing, [join_id.as_str()]);
    server.stop().await;
}

#[tokio::test]
async fn good_room_is_verified_and_damage_is_found() {
    let Story { world, server, room, ours, merged, .. } = story().await;
    let found = verify(&server, &room).await;
    assert!(found.agrees && found.current_state_agrees, "{found:?}");
    let events = world.number("SELECT count(*) FROM events WHERE flags & 4 = 0").await;
    assert_eq!(i64::try_from(found.events).expect("small"), events);
    assert_eq!((found.taken_as_stored, found.outliers, found.differing), (0, 0, 0));
    assert_eq!(found.resolutions, 1);

    // The state after the merge becomes that after the first event.
    world
        .sql(&format!(
            "CREATE TABLE kept AS SELECT event_nid, other_root FROM events; \
             UPDATE events SET other_root = (SELECT other_root FROM events WHERE type = 'm.room.create') \
             WHERE event_id = '{merged}'"
        ))
        .await;
    let found = verify(&server, &room).await;
    assert!(!found.agrees);
    // The one after it, the ban, followed from what was there before.
    assert_eq!(found.differing, 2, "{found:?}");
    assert_eq!(found.differences[0].event_id, merged);
    assert!(found.differences.iter().all(|found| found.other && !found.members && found.damage.is_empty()));
    assert!(found.current_state_agrees);
    world
        .sql("UPDATE events e SET other_root = k.other_root FROM kept k WHERE k.event_nid = e.event_nid")
        .await;
    assert!(verify(&server, &room).await.agrees);

    // The current state loses its members.
    world.sql("CREATE TABLE held AS SELECT members_root FROM rooms; UPDATE rooms SET members_root = 0").await;
    let found = verify(&server, &room).await;
    assert!(!found.agrees && !found.current_state_agrees);
    assert_eq!(found.differing, 0);
    world.sql("UPDATE rooms SET members_root = (SELECT members_root FROM held)").await;

    // An event that resolution needs is lost.
    world
        .sql(&format!(
            "DELETE FROM event_json WHERE event_nid = (SELECT event_nid FROM events WHERE event_id = '{ours}')"
        ))
        .await;
    let found = verify(&server, &room).await;
    assert_eq!((found.agrees, found.differing), (false, 1), "{found:?}");
    assert_eq!(found.differences[0].event_id, merged);
    assert!(found.differences[0].damage.contains("lost"), "{found:?}");
    server.stop().await;
}

#[tokio::test]
async fn extremities_are_listed() {
    let Story { world, server, room, merged, .. } = story().await;
    let found = extremities(&server, &room).await;
    let [end] = found.forward.as_slice() else { panic!("{found:?}") };
    assert_eq!((end.r#type.as_str(), end.sender.as_str()), ("m.room.member", ALICE));
    assert!(end.depth > 1 && found.backward.is_empty());
    world
        .sql(&format!(
            "INSERT INTO backward_refs SELECT room_nid, '$gone', event_nid FROM events WHERE event_id = '{merged}'"
        ))
        .await;
    let found = extremities(&server, &room).await;
    let missing: Vec<_> =
        found.backward.iter().map(|end| (end.event_id.as_str(), end.cited_by.as_str())).collect();
    assert_eq!(missing, [("$gone", merged.as_str())]);
    let mut client = RoomAdminServiceClient::new(RpcChannel::in_process(server.server.operator_routes()));
    let unknown = "!unknown:example.org".to_owned();
    let refused = client.list_extremities(ListExtremitiesRequest { room_id: unknown.clone() }).await;
    assert_eq!(reason_of(&refused.expect_err("unknown")), Some(ErrorReason::RoomUnknown));
    let refused = client.verify_room(VerifyRoomRequest { room_id: unknown }).await;
    assert_eq!(reason_of(&refused.expect_err("unknown")), Some(ErrorReason::RoomUnknown));
    server.stop().await;
}

async fn reprocess(server: &Server, target: Target) -> Result<ReprocessResponse, tonic::Status> {
    let mut client = RoomAdminServiceClient::new(RpcChannel::in_process(server.server.operator_routes()));
    let answer = client.reprocess(ReprocessRequest { target: Some(target) }).await;
    answer.map(tonic::Response::into_inner)
}

async fn purge(server: &Server, room_id: &str, force: bool) -> Result<PurgeRoomResponse, tonic::Status> {
    let mut client = RoomAdminServiceClient::new(RpcChannel::in_process(server.server.operator_routes()));
    let request = PurgeRoomRequest { room_id: room_id.to_owned(), force };
    client.purge_room(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn soft_failed_message_is_shown_when_the_current_state_allows_it() {
    let Story { world, server, room, merged, rejected, soft_failed, .. } = story().await;
    let event = |id: &str| Target::EventId(id.to_owned());
    let refused = reprocess(&server, event(&soft_failed)).await.expect_err("Bob is still banned");
    assert_eq!(reason_of(&refused), Some(ErrorReason::Forbidden));
    let refused = reprocess(&server, event(&rejected)).await.expect_err("it would end the same way");
    assert_eq!(reason_of(&refused), Some(ErrorReason::BadState));
    let refused = reprocess(&server, event("$unknown")).await.expect_err("nothing is known of it");
    assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));
    let accepted = reprocess(&server, event(&merged)).await.expect("it is part of the timeline");
    assert!(accepted.seq > 0);

    let relations = "SELECT count(*) FROM event_relations WHERE rel_type = 'm.reference'";
    assert_eq!(world.number(relations).await, 0);
    let unban = sets(&room, "m.room.member", BOB, json!({"membership": "leave"}));
    let unban = server.accepted(&world.write_room(&unban).await).await;
    let mut remote = remote_of(&world, &room, unban.seq).await;
    let (_, join) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    let joined = server.accepted(&world.write_room(&record(&room, &join)).await).await;
    let shown = reprocess(&server, event(&soft_failed)).await.expect("Bob is back");
    assert_eq!(shown.seq, joined.seq + 1);
    let output = world.output_room(plexus_log::partition_of(&room), shown.seq).await;
    let Some(output_room_event::Body::NewEvent(new)) = &output[output.len() - 1].body else {
        panic!("{output:?}")
    };
    assert_eq!((new.event_id.as_str(), new.soft_failed), (soft_failed.as_str(), false));
    let found = explain(&server, &soft_failed).await;
    assert_eq!((found.standing(), found.rule.as_str()), (EventStanding::Accepted, ""));
    let again = reprocess(&server, event(&soft_failed)).await.expect("a repeat changes nothing");
    assert_eq!(again.seq, shown.seq);
    assert_eq!(world.number(relations).await, 1);
    // The front and the state are what they were.
    assert_eq!(extremities(&server, &room).await.forward.len(), 1);
    assert!(verify(&server, &room).await.agrees);
    server.accepted(&world.write_room(&message(&room, ALICE, "welcome back")).await).await;
    assert!(verify(&server, &room).await.agrees);
    server.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_asked_for_again() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("reprocessed");
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    let (_, join) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    let (id, json) = remote.build(BOB, "m.room.message", None, json!({"body": "early"}));
    server.verdict(&world.write_room(&record(&room, &json)).await).await.expect("an answer");
    let again = reprocess(&server, Target::RoomId(room.clone())).await.expect("it is parked");
    assert_eq!((again.asked_again, again.fetched_again, again.seq), (1, false, 0));
    let again = reprocess(&server, Target::EventId(id.clone())).await.expect("it is parked");
    assert_eq!(again.asked_again, 1);

    let done = FetchDone {
        event_id: id.clone(),
        outcome: fetch_done::Outcome::GaveUp.into(),
        ..FetchDone::default()
    };
    let done = room_record(&room, Body::FetchDone(done));
    server.accepted(&world.write_room(&done).await).await;
    assert_eq!(explain(&server, &id).await.standing(), EventStanding::Refused);
    let again = reprocess(&server, Target::EventId(id.clone())).await.expect("it was given up");
    assert!(again.fetched_again);
    assert_eq!(world.number("SELECT count(*) FROM decisions").await, 0);
    let last = world.number("SELECT last_seq FROM rooms").await;
    let output = world.output_room(plexus_log::partition_of(&room), last.cast_unsigned()).await;
    let fetches: Vec<_> = output
        .iter()
        .filter_map(|record| match &record.body {
            Some(output_room_event::Body::Fetch(fetch)) => Some(fetch),
            _ => None,
        })
        .collect();
    assert_eq!(fetches.len(), 4);
    assert_eq!((fetches[3].event_id.as_str(), &fetches[3].missing_prev_event_ids), ("", &vec![id.clone()]));
    // When both have come, the event is like any other.
    server.accepted(&world.write_room(&record(&room, &join)).await).await;
    let accepted = server.accepted(&world.write_room(&record(&room, &json)).await).await;
    assert!(accepted.seq > 0 && !accepted.soft_failed);
    let refused = reprocess(&server, Target::RoomId("!unknown:example.org".to_owned())).await;
    assert_eq!(reason_of(&refused.expect_err("unknown")), Some(ErrorReason::RoomUnknown));
    server.stop().await;
}

#[tokio::test]
async fn room_is_deleted_with_everything_of_it() {
    let Story { world, server, room, .. } = story().await;
    let (other, create) = public_room("kept");
    server.accepted(&world.write_room(&create).await).await;
    let kept = world.number("SELECT count(*) FROM events e JOIN rooms r USING (room_nid)").await
        - world
            .number(&format!(
                "SELECT count(*) FROM events e JOIN rooms r USING (room_nid) WHERE room_id = '{room}'"
            ))
            .await;
    let refused = purge(&server, &room, false).await.expect_err("Alice is joined");
    assert_eq!(reason_of(&refused), Some(ErrorReason::BadState));
    assert_eq!(purge(&server, &room, true).await.expect("she leaves first").left, 1);
    let refused = server.rejected(&world.write_room(&message(&room, ALICE, "anybody?")).await).await;
    assert_eq!(refused.reason(), ErrorReason::RoomUnknown);
    assert_eq!(
        reason_of(&purge(&server, &room, true).await.expect_err("gone")),
        Some(ErrorReason::RoomUnknown)
    );

    all_gone(&world).await;
    assert_eq!(world.number("SELECT count(*) FROM events").await, kept);
    assert_eq!(world.number("SELECT count(*) FROM event_json").await, kept);
    let tables = [
        "rooms",
        "events",
        "state_node",
        "room_members",
        "room_servers",
        "room_facts",
        "redactions",
        "room_states",
        "parked",
        "backward_refs",
        "decisions",
        "event_relations",
        "threads",
        "receipts",
        "state_resets",
    ];
    for table in tables {
        let of_others = format!(
            "SELECT count(*) FROM {table} WHERE room_nid <> (SELECT room_nid FROM rooms WHERE room_id = '{other}')"
        );
        assert_eq!(world.number(&of_others).await, 0, "{table}");
    }
    assert!(verify(&server, &other).await.agrees);
    // Readers are told, also those who begin at the beginning.
    let mut client = plexus_proto::room::v1::room_stream_service_client::RoomStreamServiceClient::new(
        server.channel.clone(),
    );
    let partition = plexus_log::partition_of(&room);
    let request = plexus_proto::room::v1::StreamRangeRequest { partition, after_seq: 0, to_seq: 0 };
    let mut chunks = client.stream_range(request).await.expect("answers").into_inner();
    let mut bodies = Vec::new();
    while let Some(chunk) = chunks.message().await.expect("a chunk") {
        bodies.extend(chunk.records.into_iter().filter(|record| record.room_id == room));
    }
    assert!(!bodies.is_empty());
    for record in &bodies {
        assert!(!matches!(record.body, Some(output_room_event::Body::NewEvent(_))), "{record:?}");
    }
    assert!(matches!(bodies[bodies.len() - 1].body, Some(output_room_event::Body::Purged(_))));
    // The same room may begin anew.
    let (same, create) = public_room("operators");
    assert_eq!(same, room);
    server.accepted(&world.write_room(&create).await).await;
    assert!(verify(&server, &room).await.agrees);
    server.stop().await;
}

/// Waits until nothing is left of rooms that were deleted.
async fn all_gone(world: &World) {
    world.until("SELECT count(*) FROM purged_rooms", 0).await;
}

/// Whatever is left when a process dies in the middle, the next one deletes.
#[tokio::test]
async fn deletion_that_was_cut_off_is_gone_on_with() {
    const LEFT: &str = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM event_json) \
         + (SELECT count(*) FROM state_node) + (SELECT count(*) FROM room_facts) \
         + (SELECT count(*) FROM redactions) + (SELECT count(*) FROM decisions)";
    let Story { world, server, room, .. } = story().await;
    for n in 0..20 {
        server.accepted(&world.write_room(&message(&room, ALICE, &n.to_string())).await).await;
    }
    let room_nid = world.number("SELECT room_nid FROM rooms").await;
    let partition = plexus_log::partition_of(&room);
    server.stop().await;
    // What makes the room known goes with the commit, the rest bit by bit.
    let purged = format!(
        "DELETE FROM rooms; DELETE FROM room_members; INSERT INTO purged_rooms VALUES ({room_nid}, '{room}', {partition}, 0)"
    );
    world.sql(&purged).await;
    let mut left = world.number(LEFT).await;
    assert!(left > 60, "{left}");
    for steps in 1..40_usize {
        let so_many = std::sync::atomic::AtomicUsize::new(0);
        let cut_off = || so_many.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= steps;
        let mut conn = world.connect().await;
        let finished = purge::finish(&mut conn, room_nid, 3, cut_off).await.expect("deletes");
        assert_eq!(finished, purge::Finished::No);
        let now = world.number(LEFT).await;
        assert!(now <= left);
        left = now;
        assert_eq!(world.number("SELECT count(*) FROM purged_rooms").await, 1, "it is the last to go");
        if left < 30 {
            break;
        }
    }
    assert!(left > 0);
    let server = world.start().await;
    all_gone(&world).await;
    assert_eq!(world.number(LEFT).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn room_begins_anew_only_when_all_of_it_is_gone() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("half");
    let partition = plexus_log::partition_of(&room);
    world.sql(&format!("INSERT INTO purged_rooms VALUES (7, '{room}', {partition}, 0)")).await;
    let refused = server.rejected(&world.write_room(&create).await).await;
    assert_eq!(refused.reason(), ErrorReason::BadState);
    server.stop().await;
    world.sql("DELETE FROM purged_rooms").await;
    let server = world.start().await;
    let again = InputRoomEvent { input_id: super::fixture::input_id(), ..create };
    server.accepted(&world.write_room(&again).await).await;
    server.stop().await;
}
