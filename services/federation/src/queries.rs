//! Asks other servers what they know of users and rooms: one question at a time for the same thing, each answer kept for a
//! while, refusals too.

mod by_time;
mod profile;
mod public_rooms;
mod shown;
mod space;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use moka::{Expiry, future::Cache};
use plexus_proto::{
    common::v1::ErrorReason,
    federation::v1::{
        FindEventByTimeRequest, FindEventByTimeResponse, GetProfileRequest, GetProfileResponse,
        GetSpaceRequest, GetSpaceResponse, ListPublicRoomsRequest, ListPublicRoomsResponse,
        outbound_query_service_server::OutboundQueryService,
    },
};
use plexus_s2s::{Call, Class};
use plexus_service::refusal::refusal;
use ruma::{OwnedServerName, ServerName};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status};

use crate::{Federation, joins::failure::Failure, outbound::invalid};

/// Bytes of answers that are kept.
const MAX_KEPT_BYTES: u64 = 32 << 20;
/// Most bytes of an answer.
const MAX_ANSWER: usize = 2 << 20;
/// Questions to other servers at a time.
const MAX_QUESTIONS: usize = 256;
/// How long a server is waited for.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long refusals are kept, where answers are.
const REFUSAL_KEPT: Duration = Duration::from_secs(30);

/// Answers that are kept. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answers {
    kept: Cache<Question, Kept>,
    turns: Arc<Semaphore>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    server: OwnedServerName,
    path: String,
    body: Option<Bytes>,
}

#[derive(Debug, Clone)]
struct Kept {
    answer: Result<Bytes, Status>,
    time: Duration,
}

/// How long an answer is kept, and how long a refusal.
#[derive(Debug, Clone, Copy)]
struct Keep {
    answer: Duration,
    refusal: Duration,
}

impl From<Duration> for Keep {
    fn from(answer: Duration) -> Self {
        Self { answer, refusal: REFUSAL_KEPT }
    }
}

struct ByAnswer;

impl Expiry<Question, Kept> for ByAnswer {
    fn expire_after_create(&self, _: &Question, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.time)
    }
}

impl Answers {
    pub(crate) fn new() -> Self {
        let weigh = |question: &Question, kept: &Kept| {
            let asked = question.path.len() + question.body.as_ref().map_or(0, Bytes::len);
            let answered = kept.answer.as_ref().map_or(0, Bytes::len);
            u32::try_from(asked + answered + 500).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(MAX_KEPT_BYTES).weigher(weigh).expire_after(ByAnswer);
        Self { kept: kept.build(), turns: Arc::new(Semaphore::new(MAX_QUESTIONS)) }
    }
}

/// Asks a server, unless the answer is known. A question with a body is a `POST`.
async fn ask<T: DeserializeOwned>(
    federation: &Federation,
    server: &ServerName,
    (path, body): (String, Option<Bytes>),
    keep: impl Into<Keep>,
) -> Result<T, Status> {
    let keep = keep.into();
    if server == federation.name() {
        return Err(refusal(Code::InvalidArgument, ErrorReason::InvalidParam, "this is that server"));
    }
    let question = Question { server: server.to_owned(), path, body };
    let (asker, asked) = (federation.clone(), question.clone());
    let answering = async move {
        let answer = call(&asker, &asked).await;
        let time = if answer.is_ok() { keep.answer } else { keep.refusal };
        Kept { answer, time }
    };
    // Whoever asked first may go away meanwhile: the others ask then.
    let kept = federation.answers.kept.get_with(question, answering).await;
    serde_json::from_slice(&kept.answer?).map_err(|error| Failure::Answer(error.to_string()).to_status())
}

async fn call(federation: &Federation, question: &Question) -> Result<Bytes, Status> {
    let Ok(_turn) = federation.answers.turns.try_acquire() else {
        let message = "Too many questions to other servers are under way";
        return Err(refusal(Code::ResourceExhausted, ErrorReason::LimitExceeded, message));
    };
    let call = Call {
        destination: &question.server,
        method: if question.body.is_some() { Method::POST } else { Method::GET },
        path: &question.path,
        body: question.body.clone(),
        class: Class { deadline: PATIENCE, max_body: MAX_ANSWER, ..Class::QUERY },
        is_signed: true,
    };
    match federation.peers.call(call).await {
        Ok(answer) => Ok(answer.body),
        Err(error) => Err(Failure::from(error).to_status()),
    }
}

/// `OutboundQueryService`.
pub(crate) struct Service {
    pub(crate) federation: Federation,
}

#[tonic::async_trait]
impl OutboundQueryService for Service {
    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<GetProfileResponse>, Status> {
        profile::answer(&self.federation, request.into_inner()).await.map(Response::new)
    }

    async fn list_public_rooms(
        &self,
        request: Request<ListPublicRoomsRequest>,
    ) -> Result<Response<ListPublicRoomsResponse>, Status> {
        public_rooms::answer(&self.federation, request.into_inner()).await.map(Response::new)
    }

    async fn get_space(
        &self,
        request: Request<GetSpaceRequest>,
    ) -> Result<Response<GetSpaceResponse>, Status> {
        space::answer(&self.federation, request.into_inner()).await.map(Response::new)
    }

    async fn find_event_by_time(
        &self,
        request: Request<FindEventByTimeRequest>,
    ) -> Result<Response<FindEventByTimeResponse>, Status> {
        by_time::answer(&self.federation, request.into_inner()).await.map(Response::new)
    }
}
