//! `plexus-admin federation block` and what goes with it, and what is on its way to other servers.

use anyhow::Context as _;
use plexus_proto::{
    operator::v1::{
        BlockRequest, ListMembershipSagasRequest, UnblockRequest,
        federation_admin_service_client::FederationAdminServiceClient,
    },
    room::v1::{BlockKind, ListBlocksRequest, membership_saga::Kind},
};
use plexus_service::{RpcChannel, outln};

use crate::moment;

/// Sagas that are told.
const SAGAS: u32 = 1_000;

/// Kind of a name, by how it begins.
fn kind_of(name: &str) -> BlockKind {
    match name.as_bytes().first() {
        Some(b'@') => BlockKind::User,
        Some(b'!') => BlockKind::Room,
        Some(_) | None => BlockKind::Server,
    }
}

pub(crate) async fn block(operator: RpcChannel, name: String, reason: String) -> anyhow::Result<()> {
    let mut client = FederationAdminServiceClient::new(operator);
    let request = BlockRequest { kind: kind_of(&name).into(), name, reason };
    client.block(request).await.context("cannot block it")?;
    outln!("it is blocked within seconds");
    Ok(())
}

pub(crate) async fn unblock(operator: RpcChannel, name: String) -> anyhow::Result<()> {
    let mut client = FederationAdminServiceClient::new(operator);
    let request = UnblockRequest { kind: kind_of(&name).into(), name };
    client.unblock(request).await.context("cannot lift the block")?;
    outln!("it is not blocked any more within seconds");
    Ok(())
}

pub(crate) async fn list(operator: RpcChannel) -> anyhow::Result<()> {
    let mut client = FederationAdminServiceClient::new(operator);
    let (mut after, mut count) = (None, 0);
    loop {
        let page = client.list_blocks(ListBlocksRequest { after, limit: 0 }).await;
        let page = page.context("cannot list blocks")?.into_inner().blocks;
        after = page.last().cloned();
        if after.is_none() {
            break;
        }
        for block in page {
            outln!("{}  since {}  {}", block.name, moment(block.created_ts), block.reason);
            count += 1;
        }
    }
    if count == 0 {
        outln!("nothing is blocked");
    }
    Ok(())
}

pub(crate) async fn sagas(operator: RpcChannel) -> anyhow::Result<()> {
    let mut client = FederationAdminServiceClient::new(operator);
    let answer = client.list_membership_sagas(ListMembershipSagasRequest { limit: SAGAS }).await;
    let sagas = answer.context("cannot list what is on its way")?.into_inner().sagas;
    if sagas.is_empty() {
        outln!("no join and no leave is on its way");
    }
    for saga in sagas {
        let what = if saga.kind() == Kind::Join { "joins" } else { "leaves" };
        let servers = saga.servers.join(" ");
        outln!(
            "{} {what} {}  since {}, {} attempts, by {servers}  {}",
            saga.user_id,
            saga.room_id,
            moment(saga.created_ts),
            saga.attempts,
            saga.error,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_they_are_of() {
        let kinds = ["@a:x", "!a:x", "x"].map(kind_of);
        assert_eq!(kinds, [BlockKind::User, BlockKind::Room, BlockKind::Server]);
    }
}
