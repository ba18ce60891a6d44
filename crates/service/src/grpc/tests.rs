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
use crate::{RpcChannel, Token};

fn token(text: &str) -> Token {
    Token::new(text, "of a test").unwrap()
}

const TOKEN: &str = "a-token-for-the-tests";

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

async fn start(readiness: &Readiness, shutdown: &Shutdown) -> String {
    let listener = Listener::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let routes = Routes::new(PartitionServiceServer::new(Fake));
    let address =
        serve("test", &listener, routes, &[SERVICE_NAME], &token(TOKEN), readiness, shutdown).await.unwrap();
    format!("http://{address}")
}

fn channel(address: &str) -> RpcChannel {
    RpcChannel::connect(address).unwrap().with_token(&token(TOKEN))
}

fn list() -> ServerReflectionRequest {
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    }
}

#[tokio::test]
async fn services_answer_and_unknown_ones_are_unimplemented() {
    let shutdown = Shutdown::new();
    let address = start(&Readiness::new(), &shutdown).await;
    let channel = channel(&address);
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
async fn without_the_token_nothing_answers() {
    let shutdown = Shutdown::new();
    let address = start(&Readiness::new(), &shutdown).await;
    let bare = RpcChannel::connect(&address).unwrap();
    let wrong = bare.clone().with_token(&token("another-token-of-tests"));
    let longer = bare.clone().with_token(&token(&format!("{TOKEN}x")));
    for stranger in [bare, wrong, longer] {
        let answer =
            PartitionServiceClient::new(stranger.clone()).list_partitions(ListPartitionsRequest {}).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
        let answer = HealthClient::new(stranger.clone()).check(HealthCheckRequest::default()).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
        let answer =
            ServerReflectionClient::new(stranger).server_reflection_info(tokio_stream::once(list())).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
    }
    PartitionServiceClient::new(channel(&address)).list_partitions(ListPartitionsRequest {}).await.unwrap();
    let health = HealthClient::new(channel(&address)).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), Status_::Serving);
}

/// What a browser sends for a page, and what other clients send that speak no gRPC, is refused even with the token: who
/// reads the token's file in another way is no reason to take orders from web pages.
#[tokio::test]
async fn web_pages_are_refused() {
    const PATH: &str = "plexus.operator.v1.PartitionService/ListPartitions";
    let shutdown = Shutdown::new();
    let address = start(&Readiness::new(), &shutdown).await;
    let old = reqwest::Client::builder().http1_only().build().unwrap();
    let new = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let grpc = "application/grpc";
    let tried: [(&reqwest::Client, &str, Option<&str>, bool, u16); 9] = [
        (&old, "text/plain", Some("http://evil.example"), false, 505),
        (&old, "text/plain", None, true, 505),
        (&old, grpc, None, true, 505),
        (&new, grpc, Some("http://evil.example"), true, 403),
        (&new, grpc, Some("null"), true, 403),
        (&new, "text/plain", None, true, 415),
        (&new, "application/grpc-web", None, true, 415),
        (&new, "application/json", None, true, 415),
        (&new, "application/grpc+proto", None, true, 200),
    ];
    for (client, kind, origin, shown, status) in tried {
        let mut request =
            client.post(format!("{address}/{PATH}")).header("content-type", kind).body(vec![0_u8; 5]);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if shown {
            request = request.header("authorization", format!("Bearer {TOKEN}"));
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{kind} {origin:?}");
    }
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    let shutdown = Shutdown::new();
    let address = start(&Readiness::new(), &shutdown).await;
    let mut client = ServerReflectionClient::new(channel(&address));
    let mut answers = client.server_reflection_info(tokio_stream::once(list())).await.unwrap().into_inner();
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
    let address = start(&readiness, &shutdown).await;
    let mut client = HealthClient::new(channel(&address));
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
