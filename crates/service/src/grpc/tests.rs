use std::{net::SocketAddr, time::Duration};

use plexus_proto::operator::v1::{
    DeadLetter, ListDeadLettersRequest, ListDeadLettersResponse, ListPartitionsRequest,
    ListPartitionsResponse, ReplayDeadLetterRequest, ReplayDeadLetterResponse,
    partition_service_client::PartitionServiceClient,
    partition_service_server::{PartitionService, PartitionServiceServer, SERVICE_NAME},
};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as Status_, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::*;
use crate::RpcChannel;

struct Fake;

#[tonic::async_trait]
impl PartitionService for Fake {
    async fn list_partitions(
        &self,
        _: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        Ok(Response::new(ListPartitionsResponse::default()))
    }
    async fn list_dead_letters(
        &self,
        _: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        Ok(Response::new(ListDeadLettersResponse { dead_letters: vec![DeadLetter::default()] }))
    }
    async fn replay_dead_letter(
        &self,
        _: Request<ReplayDeadLetterRequest>,
    ) -> Result<Response<ReplayDeadLetterResponse>, Status> {
        Err(Status::not_found("no such dead letter"))
    }
}

async fn start(token: &str, readiness: &Readiness, shutdown: &Shutdown) -> String {
    let listener = Listener::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let routes = Routes::new(PartitionServiceServer::new(Fake));
    let rpc = RpcConfig { token: token.to_owned() };
    let address = serve("test", &listener, routes, &[SERVICE_NAME], &rpc, readiness, shutdown).await.unwrap();
    format!("http://{address}")
}

#[tokio::test]
async fn services_answer_and_unknown_ones_are_unimplemented() {
    let shutdown = Shutdown::new();
    let address = start("", &Readiness::new(), &shutdown).await;
    let channel = RpcChannel::connect(&address).unwrap();
    let mut client = PartitionServiceClient::new(channel.clone());
    let listed = client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().dead_letters.len(), 1);
    let refused = client.replay_dead_letter(ReplayDeadLetterRequest { id: 1 }).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);

    let mut absent = plexus_proto::input::v1::input_service_client::InputServiceClient::new(channel);
    let error = absent.await_input(plexus_proto::input::v1::AwaitInputRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(shutdown.finish(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn without_the_token_only_health_and_reflection_answer() {
    let shutdown = Shutdown::new();
    let address = start("secret", &Readiness::new(), &shutdown).await;
    for (shown, code) in
        [("", Some(Code::Unauthenticated)), ("wrong", Some(Code::Unauthenticated)), ("secret", None)]
    {
        let channel = RpcChannel::connect(&address).unwrap().with_token(shown);
        let answer = PartitionServiceClient::new(channel).list_partitions(ListPartitionsRequest {}).await;
        assert_eq!(answer.err().map(|status| status.code()), code, "{shown}");
    }
    let channel = RpcChannel::connect(&address).unwrap();
    let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), Status_::Serving);
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    let shutdown = Shutdown::new();
    let address = start("secret", &Readiness::new(), &shutdown).await;
    let mut client = ServerReflectionClient::new(RpcChannel::connect(&address).unwrap());
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("not a list: {answer:?}");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&SERVICE_NAME), "{names:?}");
    assert!(!names.contains(&"plexus.room.v1.RoomQueryService"), "{names:?}");
}

#[tokio::test]
async fn health_follows_readiness() {
    let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
    let part = readiness.part("store");
    let address = start("", &readiness, &shutdown).await;
    let mut client = HealthClient::new(RpcChannel::connect(&address).unwrap());
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let mut states = client.watch(request).await.unwrap().into_inner();
    let mut seen = states.message().await.unwrap().unwrap().status();
    part.set(true);
    while seen != Status_::Serving {
        seen = states.message().await.unwrap().unwrap().status();
    }
    part.set(false);
    assert_eq!(states.message().await.unwrap().unwrap().status(), Status_::NotServing);
}
