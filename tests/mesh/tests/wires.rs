//! gRPC answers those who show the token that is meant for the listener, and nobody else.

use anyhow::{Context as _, Result, ensure};
use plexus_proto::{
    operator::v1::{ListPartitionsRequest, partition_service_client::PartitionServiceClient},
    user::v1::{
        GetAccountRequest, GetPasswordHashRequest, credential_service_client::CredentialServiceClient,
        user_query_service_client::UserQueryServiceClient,
    },
};
use plexus_service::{RpcChannel, Token};
use plexus_testkit::{actor::User, server::RPC_TOKEN};
use plexus_tests_mesh::stage::{Shape, Stage};
use tonic::Code;

/// Asks for the partitions, as an operator does.
async fn operate(channel: RpcChannel) -> Result<usize, Code> {
    let answer = PartitionServiceClient::new(channel).list_partitions(ListPartitionsRequest {}).await;
    answer.map(|answer| answer.into_inner().partitions.len()).map_err(|status| status.code())
}

/// Asks for the password hash of an account, as the service does that verifies it.
async fn password_hash(channel: RpcChannel, user_id: &str) -> Result<String, Code> {
    let request = GetPasswordHashRequest { user_id: user_id.to_owned() };
    let answer = CredentialServiceClient::new(channel).get_password_hash(request).await;
    answer.map(|answer| answer.into_inner().password_hash).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn standalone_opens_nothing_for_services() -> Result<()> {
    let stage = Stage::start(Shape::Standalone).await?;
    let service = stage.services.grpc.trim_start_matches("http://");
    let refused = tokio::net::TcpStream::connect(service).await;
    ensure!(refused.is_err(), "standalone listens at {service}");

    let stranger = RpcChannel::connect(&stage.services.operator(0)?)?;
    ensure!(operate(stranger.clone()).await == Err(Code::Unauthenticated), "a stranger operates it");
    let answer = operate(stranger.with_token(&Token::new(RPC_TOKEN, "of a test")?)).await;
    ensure!(answer == Err(Code::Unauthenticated), "a service operates it");
    ensure!(operate(stage.operator(0)?).await.is_ok_and(|partitions| partitions > 0), "nobody operates it");
    // Not even operators are told what only services have to know.
    let answer = password_hash(stage.operator(0)?, "@probe:plexus.test").await;
    ensure!(answer == Err(Code::Unimplemented), "operators read password hashes: {answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_one_listener() -> Result<()> {
    let stage = Stage::start(Shape::Mesh(1)).await?;
    let alice = User::register(&stage.services.homeserver, "alice").await?;
    let stranger = RpcChannel::connect(&stage.services.grpc)?;
    let operator = Token::new(&stage.services.operator_token()?, "of a test")?;
    let service = Token::new(RPC_TOKEN, "of a test")?;

    for caller in [stranger.clone(), stranger.clone().with_token(&operator)] {
        let request = GetAccountRequest { user_id: alice.id.clone() };
        let refused = UserQueryServiceClient::new(caller.clone()).get_account(request).await;
        let refused = refused.err().context("anybody reads accounts")?;
        ensure!(refused.code() == Code::Unauthenticated, "{refused}");
        let refused = password_hash(caller, &alice.id).await;
        ensure!(refused == Err(Code::Unauthenticated), "anybody reads password hashes: {refused:?}");
    }
    let hash = password_hash(stranger.with_token(&service), &alice.id).await;
    ensure!(hash.as_ref().is_ok_and(|hash| hash.starts_with("$argon2id$")), "{hash:?}");

    let listener = RpcChannel::connect(&stage.services.operator(0)?)?;
    ensure!(
        operate(listener.clone().with_token(&service)).await == Err(Code::Unauthenticated),
        "a service operates"
    );
    ensure!(operate(listener.with_token(&operator)).await.is_ok(), "operators are refused");
    Ok(())
}
