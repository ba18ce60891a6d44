//! Auth chains, streamed to other servers.

use std::collections::{BTreeMap, BTreeSet};

use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::output_room_event,
    room::v1::{GraphEvent, StreamAuthChainRequest, room_graph_service_client::RoomGraphServiceClient},
};
use plexus_service::refusal::reason_of;
use serde_json::{Value, json};
use tonic::Status;

use super::{
    fixture::{ALICE, Server, World, message, public_room},
    received::{BOB, record, remote_of},
};

async fn chain(server: &Server, request: StreamAuthChainRequest) -> Result<Vec<GraphEvent>, Status> {
    let mut client = RoomGraphServiceClient::new(server.channel.clone());
    let mut chunks = client.stream_auth_chain(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        assert!(!chunk.events.is_empty(), "a chunk says something");
        events.extend(chunk.events);
    }
    Ok(events)
}

/// What `given` rests on, found by following `auth_events` from one to the next.
fn naive_chain(events: &BTreeMap<String, Value>, given: &[String]) -> BTreeSet<String> {
    let cited = |id: &String| {
        let cited = events[id]["auth_events"].as_array().expect("a list").iter();
        cited.map(|id| id.as_str().expect("an ID").to_owned()).collect::<Vec<_>>()
    };
    let mut found = BTreeSet::new();
    let mut to_do: Vec<String> = given.iter().flat_map(cited).collect();
    while let Some(id) = to_do.pop() {
        if found.insert(id.clone()) {
            to_do.extend(cited(&id));
        }
    }
    found
}

#[tokio::test]
async fn auth_chains_are_streamed() {
    let world = World::new().await;
    let server = world.start().await;
    let (room, create) = public_room("chains");
    let created = server.accepted(&world.write_room(&create).await).await;
    let mut remote = remote_of(&world, &room, created.seq).await;
    // A chain that is longer than what an event cites itself: names change over and over, on a fork that Alice has not
    // seen, while she goes on.
    let (_, join) = remote.build(BOB, "m.room.member", Some(BOB), json!({"membership": "join"}));
    server.accepted(&world.write_room(&record(&room, &join)).await).await;
    server.accepted(&world.write_room(&message(&room, ALICE, "meanwhile")).await).await;
    for n in 0..20 {
        let content = json!({"membership": "join", "displayname": format!("Bob the {n}th")});
        let (_, renamed) = remote.build(BOB, "m.room.member", Some(BOB), content);
        server.accepted(&world.write_room(&record(&room, &renamed)).await).await;
    }
    let (said, text) = remote.build(BOB, "m.room.message", None, json!({"body": "hello"}));
    server.accepted(&world.write_room(&record(&room, &text)).await).await;
    let healed = server.accepted(&world.write_room(&message(&room, ALICE, "healed")).await).await;

    let mut events = BTreeMap::new();
    for record in world.output_room(partition_of(&room), healed.seq).await {
        if let Some(output_room_event::Body::NewEvent(event)) = record.body {
            events.insert(event.event_id, serde_json::from_slice::<Value>(&event.json).expect("JSON"));
        }
    }
    let of = |given: &[&String]| StreamAuthChainRequest {
        room_id: room.clone(),
        event_ids: given.iter().map(|id| (*id).clone()).collect(),
        ..StreamAuthChainRequest::default()
    };
    for given in [vec![&said], vec![&healed.event_id], vec![&said, &healed.event_id]] {
        let ids: Vec<String> = given.iter().map(|id| (*id).clone()).collect();
        let mut expected = naive_chain(&events, &ids);
        let told = chain(&server, of(&given)).await.expect("answers");
        for event in &told {
            let json: Value = serde_json::from_slice(&event.json).expect("JSON");
            assert_eq!(json, events[&event.event_id]);
            assert_eq!(Some(event.depth), json["depth"].as_u64());
        }
        let told: BTreeSet<String> = told.into_iter().map(|event| event.event_id).collect();
        assert_eq!(told, expected);
        let bare = StreamAuthChainRequest { include_given: true, ids_only: true, ..of(&given) };
        let bare = chain(&server, bare).await.expect("answers");
        assert!(bare.iter().all(|event| event.json.is_empty()));
        expected.extend(ids);
        assert_eq!(bare.into_iter().map(|event| event.event_id).collect::<BTreeSet<_>>(), expected);
    }
    assert!(naive_chain(&events, std::slice::from_ref(&said)).len() > 20, "the chain is long");

    let refused = async |request| reason_of(&chain(&server, request).await.expect_err("refused"));
    let unknown = "$unknown".to_owned();
    assert_eq!(refused(of(&[&said, &unknown])).await, Some(ErrorReason::NotFound));
    let elsewhere = StreamAuthChainRequest { room_id: "!none:b.example".to_owned(), ..of(&[&said]) };
    assert_eq!(refused(elsewhere).await, Some(ErrorReason::RoomUnknown));
    let nothing = chain(&server, of(&[])).await.expect("answers");
    assert!(nothing.is_empty());
    chain(&server, of(&vec![&said; 1001])).await.expect_err("that is too much at once");
    server.stop().await;
}
