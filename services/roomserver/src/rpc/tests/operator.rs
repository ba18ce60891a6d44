use plexus_log::{InputRoom, StartAt};
use plexus_proto::{
    common::v1::ErrorReason,
    operator::v1::{
        ListDeadLettersRequest, ListPartitionsRequest, ReplayDeadLetterRequest,
        partition_service_client::PartitionServiceClient,
    },
};
use plexus_service::RpcChannel;

use super::fixture::{Fixture, reason};
use crate::rpc;

#[tokio::test]
async fn dead_letter_is_written_to_its_log_again() {
    let mut fixture = Fixture::start().await;
    let mut operator =
        PartitionServiceClient::new(RpcChannel::in_process(rpc::operator_routes(&fixture.app)));
    let partitions = operator.list_partitions(ListPartitionsRequest {}).await.expect("partitions are listed");
    let partitions = partitions.into_inner().partitions;
    assert_eq!(partitions.len(), 64);
    assert!(partitions.iter().zip(0..).all(|(partition, number)| partition.partition == number));
    fixture
        .sql(
            "INSERT INTO dead_letters (topic, partition, log_offset, error, payload, created_ts) \
             SELECT 'InputRoomEvent', 9, n, 'nonsense', '\\xff', 1 FROM generate_series(1, 40) AS n",
        )
        .await;
    let list = async |limit| {
        let request = ListDeadLettersRequest { limit };
        let letters = operator.clone().list_dead_letters(request).await.expect("letters are listed");
        letters.into_inner().dead_letters.into_iter().map(|letter| letter.offset).collect::<Vec<_>>()
    };
    assert_eq!(list(0).await, (1..=40).rev().collect::<Vec<_>>());
    assert_eq!(list(2).await, [40, 39]);
    let mut reader = fixture.app.log.reader::<InputRoom>().expect("reader opens");
    reader.assign(9, StartAt::Oldest).await.expect("partition is read");
    let answer =
        operator.replay_dead_letter(ReplayDeadLetterRequest { id: 40 }).await.expect("it is replayed");
    assert_eq!(answer.into_inner().offset, 0);
    let entries = reader.next_batch(10).await.expect("records are read");
    assert_eq!(entries.iter().map(|entry| entry.payload.as_ref()).collect::<Vec<_>>(), [b"\xff"]);
    let again = operator.replay_dead_letter(ReplayDeadLetterRequest { id: 40 }).await;
    assert_eq!(reason(again), ErrorReason::NotFound);
    let mut list = async |limit| {
        let request = ListDeadLettersRequest { limit };
        operator.list_dead_letters(request).await.expect("letters are listed").into_inner().dead_letters.len()
    };
    assert_eq!(list(0).await, 39);
}
