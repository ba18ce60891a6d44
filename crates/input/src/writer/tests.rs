use std::{collections::VecDeque, sync::Mutex};

use plexus_log::{StartAt, memory, partition_of};
use plexus_proto::{
    input::v1::{
        AwaitInputResponse, FindTransactionRequest, FindTransactionResponse, Parked, Rejected, UnknownInput,
        input_service_server::{InputService, InputServiceServer},
    },
    log::v1::{DeleteDevices, input_user_event::Command},
};
use plexus_service::refusal::{refusal, refusal_with};
use ruma::user_id;
use tonic::{Code, Request, Response};

use super::*;

type Answer = Result<Outcome, Status>;

/// Answers what it was told to, one after the other, and remembers what it was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<AwaitInputRequest>>>,
}

#[tonic::async_trait]
impl InputService for Script {
    async fn await_input(
        &self,
        request: Request<AwaitInputRequest>,
    ) -> Result<Response<AwaitInputResponse>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        let answer = self.answers.lock().unwrap().pop_front();
        let outcome = answer.unwrap_or_else(|| Err(Status::unavailable("")))?;
        Ok(Response::new(AwaitInputResponse { verdict: Some(Verdict { outcome: Some(outcome) }) }))
    }

    async fn find_transaction(
        &self,
        _: Request<FindTransactionRequest>,
    ) -> Result<Response<FindTransactionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), asked: Arc::default() }
    }

    fn channel(&self) -> RpcChannel {
        RpcChannel::in_process(tonic::service::Routes::new(InputServiceServer::new(self.clone())))
    }

    fn asked(&self) -> Vec<AwaitInputRequest> {
        self.asked.lock().unwrap().clone()
    }
}

fn accepted() -> Answer {
    Ok(Outcome::Accepted(Accepted { seq: 7, ..Accepted::default() }))
}

fn not_owner(owner: &str) -> Answer {
    let reason = ErrorReason::NotOwner;
    Err(refusal_with(Code::FailedPrecondition, reason, "not the owner", &[("owner", owner)]))
}

fn command() -> Command {
    Command::DeleteDevices(DeleteDevices { device_ids: Vec::new(), all: true })
}

fn open_log() -> Log {
    memory::open(memory::MemoryConfig::default())
}

async fn submit(script: &Script) -> (Log, Result<Accepted, SubmitError>) {
    let log = open_log();
    let writer = InputWriter::new(log.clone(), script.channel(), Connect::InProcess)
        .with_deadline(Duration::from_secs(2));
    let result = writer.submit_user(user_id!("@alice:test"), command()).await;
    (log, result)
}

#[tokio::test]
async fn an_accepted_input_is_in_the_log_once() {
    let script = Script::new([accepted()]);
    let (log, result) = submit(&script).await;
    assert_eq!(result.unwrap().seq, 7);
    let partition = partition_of("@alice:test");
    let mut reader = log.reader::<InputUser>().unwrap();
    reader.assign(partition, StartAt::Oldest).await.unwrap();
    let entries = reader.next_batch(10).await.unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    let record = entry.record.as_ref().unwrap();
    let [asked] = &script.asked()[..] else { panic!("asked more than once") };
    assert_eq!((asked.partition, asked.offset, &asked.input_id), (partition, entry.offset, &record.input_id));
    assert_eq!(record.input_id.len(), 16);
    assert_eq!(asked.log(), InputLog::User);
}

#[tokio::test]
async fn a_refusal_comes_with_its_reason() {
    let reason = ErrorReason::Banned.into();
    let script = Script::new([Ok(Outcome::Rejected(Rejected { reason, message: "banned".to_owned() }))]);
    let error = submit(&script).await.1.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::Banned));
    let script = Script::new([Ok(Outcome::Parked(Parked::default()))]);
    assert!(matches!(submit(&script).await.1, Err(SubmitError::Parked)));
}

#[tokio::test]
async fn a_lost_input_is_written_again_with_its_id() {
    let script = Script::new([Ok(Outcome::Unknown(UnknownInput {})), accepted()]);
    submit(&script).await.1.unwrap();
    let [first, second] = &script.asked()[..] else { panic!("asked twice") };
    assert_eq!(first.input_id, second.input_id);
    assert_eq!(first.offset + 1, second.offset);
}

#[tokio::test]
async fn failures_and_unsettled_ownership_are_waited_out() {
    let timed_out = refusal(Code::DeadlineExceeded, ErrorReason::TimedOut, "");
    let script = Script::new([
        Err(Status::unavailable("connection refused")),
        not_owner(""),
        Err(timed_out),
        accepted(),
    ]);
    let (_, result) = submit(&script).await;
    result.unwrap();
    let asked = script.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|request| *request == asked[0]), "nothing is written twice");
}

#[tokio::test]
async fn waiting_ends_at_the_deadline() {
    let script = Script::new([]);
    let writer = InputWriter::new(open_log(), script.channel(), Connect::InProcess)
        .with_deadline(Duration::from_millis(60));
    let start = Instant::now();
    let result = writer.submit_user(user_id!("@alice:test"), command()).await;
    assert!(matches!(result, Err(SubmitError::TimedOut)));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_record_too_large_for_the_log_is_refused_at_once() {
    let script = Script::new([]);
    let writer = InputWriter::new(open_log(), script.channel(), Connect::InProcess);
    let device_ids = vec!["x".repeat(plexus_log::MAX_RECORD_BYTES)];
    let command = Command::DeleteDevices(DeleteDevices { device_ids, all: false });
    let result = writer.submit_user(user_id!("@alice:test"), command).await;
    assert!(matches!(result, Err(SubmitError::TooLarge)));
    assert!(script.asked().is_empty());
}

#[tokio::test]
async fn the_owner_is_asked_and_remembered() {
    let owner = Script::new([accepted(), accepted()]);
    let any = Script::new([not_owner("owner:1")]);
    let channel = owner.channel();
    let owners = Owners::new(any.channel(), Arc::new(move |_: &str| Some(channel.clone())));
    let writer = InputWriter { log: open_log(), owners, deadline: Duration::from_secs(2) };
    for _ in 0..2 {
        writer.submit_user(user_id!("@alice:test"), command()).await.unwrap();
    }
    assert_eq!((any.asked().len(), owner.asked().len()), (1, 2));
}

#[tokio::test]
async fn an_owner_that_is_gone_is_forgotten() {
    let owner = Script::new([Err(Status::unavailable("gone"))]);
    let any = Script::new([not_owner("owner:1"), accepted()]);
    let channel = owner.channel();
    let owners = Owners::new(any.channel(), Arc::new(move |_: &str| Some(channel.clone())));
    let writer = InputWriter { log: open_log(), owners, deadline: Duration::from_secs(2) };
    writer.submit_user(user_id!("@alice:test"), command()).await.unwrap();
    assert_eq!((any.asked().len(), owner.asked().len()), (2, 1));
}

#[tokio::test]
async fn what_was_written_is_awaited_apart_in_either_lane() {
    let room = ruma::room_id!("!room:example.org");
    let body = || input_room_event::Body::Pdus(plexus_proto::log::v1::PduBatch::default());
    let parked = Outcome::Parked(Parked { missing_event_ids: vec!["$a".to_owned()] });
    for (lane, log) in [(Lane::Live, InputLog::Room), (Lane::Bulk, InputLog::RoomBulk)] {
        let script = Script::new([Ok(Outcome::Unknown(UnknownInput {})), Ok(parked.clone())]);
        let writer = InputWriter::new(memory::open(Default::default()), script.channel(), Connect::InProcess);
        let written = writer.append_room(room, lane, body()).await.unwrap();
        assert!(script.asked().is_empty());
        // What was lost is written again, as the same input.
        assert_eq!(writer.verdict_on(written).await.unwrap(), parked);
        let asked = script.asked();
        assert_eq!(asked.iter().map(|ask| (ask.log(), ask.offset)).collect::<Vec<_>>(), [(log, 0), (log, 1)]);
        assert_eq!(asked[0].input_id, asked[1].input_id);
    }
}
