//! Sessions that other services hold in memory.

use std::time::Duration;

use bytes::Bytes;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{DeleteDevices, SetAccountData, input_user_event::Command},
    user::v1::{
        AuthenticateRequest, LeaseSessionsRequest, LeaseSessionsResponse,
        session_service_client::SessionServiceClient, user_query_service_client::UserQueryServiceClient,
    },
};
use plexus_service::{RpcChannel, refusal::reason_of};
use tonic::Status;

use super::{
    fixture::{ALICE, Server, World, user_record},
    users::register,
};

/// The access token of [`register`], hashed.
const TOKEN: [u8; 32] = [1; 32];

fn log_out() -> Command {
    Command::DeleteDevices(DeleteDevices { device_ids: vec!["PHONE".to_owned()], all: false })
}

async fn hold(channel: &RpcChannel, dropped: u64, leaving: bool) -> Result<LeaseSessionsResponse, Status> {
    let holder_id = Bytes::from_static(&[7; 16]);
    let request = LeaseSessionsRequest { holder_id, dropped, leaving };
    let answer = SessionServiceClient::new(channel.clone()).lease_sessions(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn registered(world: &World, server: &Server) {
    let written = world.write_user(&user_record(ALICE, register())).await;
    server.accepted(&written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_of_a_logout_before_the_session_is_dropped_everywhere() {
    let world = World::new().await;
    let server = world.start().await;
    let lease = hold(&server.channel, 0, false).await.unwrap();
    assert!(lease.all);
    assert_eq!(lease.partitions, (0..plexus_log::PARTITIONS).collect::<Vec<_>>());
    assert_eq!(lease.lease_ms, 5_000);
    registered(&world, &server).await;
    let request = AuthenticateRequest {
        access_token_hash: Bytes::from_static(&TOKEN),
        fresh: true,
        ..Default::default()
    };
    let mut users = UserQueryServiceClient::new(server.channel.clone());
    assert!(users.authenticate(request.clone()).await.unwrap().into_inner().may_hold);

    // What ends no session waits for nobody.
    let content = Bytes::from_static(b"{}");
    let data = SetAccountData {
        room_id: String::new(),
        r#type: "m.direct".to_owned(),
        content,
        position: None,
        replaces: None,
    };
    let written = world.write_user(&user_record(ALICE, Command::SetAccountData(data))).await;
    server.accepted(&written).await;

    let written = world.write_user(&user_record(ALICE, log_out())).await;
    let told = hold(&server.channel, lease.number, false).await.unwrap();
    assert_eq!((told.all, told.user_ids), (false, vec![ALICE.to_owned()]));
    let refused = users.authenticate(request).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::UnknownToken));
    let verdict = server.accepted(&written);
    tokio::pin!(verdict);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut verdict).await;
    assert!(early.is_err(), "the session is still held");
    let renewal = tokio::spawn({
        let channel = server.channel.clone();
        async move { hold(&channel, told.number, false).await }
    });
    tokio::time::timeout(Duration::from_secs(1), verdict).await.expect("it is dropped now");
    renewal.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_leaves_is_not_waited_for() {
    let world = World::new().await;
    let server = world.start().await;
    hold(&server.channel, 0, false).await.unwrap();
    registered(&world, &server).await;
    hold(&server.channel, 0, true).await.unwrap();
    let written = world.write_user(&user_record(ALICE, log_out())).await;
    tokio::time::timeout(Duration::from_secs(3), server.accepted(&written)).await.expect("nobody holds it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_dies_is_waited_for_until_its_lease_runs_out() {
    let world = World::new().await;
    let server = world.start().await;
    hold(&server.channel, 0, false).await.unwrap();
    registered(&world, &server).await;
    let written = world.write_user(&user_record(ALICE, log_out())).await;
    tokio::time::timeout(Duration::from_secs(10), server.accepted(&written))
        .await
        .expect("the lease runs out");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_been_replaced_gives_no_leases() {
    let world = World::new().await;
    let server = world.start().await;
    let partition = partition_of(ALICE);
    // Another instance claims the partition, and this one does not hear of it.
    world
        .sql(&format!(
            "UPDATE partition_state SET epoch = epoch + 1, owner = 'http://other' WHERE partition = {partition}"
        ))
        .await;
    let lease = hold(&server.channel, 0, false).await.unwrap();
    assert!(!lease.partitions.contains(&partition));
    assert_eq!(lease.partitions.len(), usize::try_from(plexus_log::PARTITIONS).unwrap() - 1);
    // The record of another owner: the commit fails, the worker looks again, and the holder is to drop everything.
    let written = world.write_user(&user_record(ALICE, register())).await;
    let refused = server.verdict(&written).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::NotOwner));
    assert!(hold(&server.channel, lease.number, false).await.unwrap().all);
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_are_named_properly() {
    let world = World::new().await;
    let server = world.start().await;
    let request =
        LeaseSessionsRequest { holder_id: Bytes::from_static(b"short"), ..LeaseSessionsRequest::default() };
    let refused =
        SessionServiceClient::new(server.channel.clone()).lease_sessions(request).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::InvalidParam));
}
