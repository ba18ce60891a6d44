//! `plexus-admin database …`: the database as a whole.

use anyhow::Context as _;
use plexus_proto::operator::v1::{
    GetGenerationRequest, RaiseGenerationRequest, database_service_client::DatabaseServiceClient,
};
use plexus_service::{RpcChannel, outln};

/// Tells the generation of the database.
pub(crate) async fn generation(channel: RpcChannel) -> anyhow::Result<()> {
    let answer = DatabaseServiceClient::new(channel).get_generation(GetGenerationRequest {}).await;
    outln!("generation {}", answer.context("the generation is not told")?.into_inner().generation);
    Ok(())
}

/// Raises the generation of the database.
pub(crate) async fn raise_generation(channel: RpcChannel) -> anyhow::Result<()> {
    let answer = DatabaseServiceClient::new(channel).raise_generation(RaiseGenerationRequest {}).await;
    outln!("generation {}", answer.context("the generation is not raised")?.into_inner().generation);
    Ok(())
}
