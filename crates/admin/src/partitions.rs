//! `plexus-admin partitions` and `dead-letters`.

use anyhow::Context as _;
use plexus_proto::operator::v1::{
    ListDeadLettersRequest, ListPartitionsRequest, ReplayDeadLetterRequest,
    partition_service_client::PartitionServiceClient,
};
use plexus_service::{RpcChannel, outln};

use crate::moment;

pub(crate) async fn list(operator: RpcChannel) -> anyhow::Result<()> {
    let unreachable = unreachable(&operator);
    let answer = PartitionServiceClient::new(operator).list_partitions(ListPartitionsRequest {}).await;
    outln!("partition  epoch  rooms: offset/seq/published  users: offset/seq/published  bulk: offset  owner");
    for row in answer.context(unreachable)?.into_inner().partitions {
        let rooms = format!("{}/{}/{}", row.room_offset, row.room_seq, row.room_published_seq);
        let users = format!("{}/{}/{}", row.user_offset, row.user_seq, row.user_published_seq);
        let owner = match (row.owner.as_str(), row.owned_here) {
            ("", _) => "none".to_owned(),
            (owner, true) => format!("{owner} (this one)"),
            (owner, false) => owner.to_owned(),
        };
        outln!(
            "{:>9}  {:>5}  {rooms:>27}  {users:>27}  {:>12}  {owner}",
            row.partition,
            row.epoch,
            row.bulk_offset
        );
    }
    Ok(())
}

pub(crate) async fn list_dead_letters(operator: RpcChannel, limit: u32) -> anyhow::Result<()> {
    let unreachable = unreachable(&operator);
    let answer =
        PartitionServiceClient::new(operator).list_dead_letters(ListDeadLettersRequest { limit }).await;
    for letter in answer.context(unreachable)?.into_inner().dead_letters {
        outln!(
            "{}  {}  {} partition {} offset {}, {} bytes: {}",
            letter.id,
            moment(letter.created_ts),
            letter.topic,
            letter.partition,
            letter.offset,
            letter.payload.len(),
            letter.error,
        );
    }
    Ok(())
}

pub(crate) async fn replay(operator: RpcChannel, id: i64) -> anyhow::Result<()> {
    let mut client = PartitionServiceClient::new(operator);
    let answer = client.replay_dead_letter(ReplayDeadLetterRequest { id }).await;
    let offset = answer.with_context(|| format!("cannot replay dead letter {id}"))?.into_inner().offset;
    outln!("written to its input log again, at offset {offset}");
    Ok(())
}

fn unreachable(operator: &RpcChannel) -> String {
    format!("the room server at {} does not answer; --operator names another", operator.address())
}
