//! Verdicts: reads the record that the caller appended, applies it, answers.

use std::sync::{Arc, Mutex};

use plexus_log::{InputRoom, InputUser, Log, StartAt, Topic};
use plexus_proto::{
    input::v1::{
        Accepted, AwaitInputRequest, AwaitInputResponse, FindTransactionRequest, FindTransactionResponse,
        InputLog, Rejected, Verdict, input_service_server::InputService, verdict::Outcome,
    },
    log::v1::input_room_event::Body,
};
use tonic::{Request, Response, Status};

use super::Users;

pub(super) struct Input {
    pub(super) log: Log,
    pub(super) users: Arc<Mutex<Users>>,
}

impl Input {
    async fn record<T: Topic>(&self, request: &AwaitInputRequest) -> T::Record {
        let mut reader = self.log.reader::<T>().expect("the log is open");
        reader
            .assign(request.partition, StartAt::Offset(request.offset))
            .await
            .expect("the partition exists");
        let mut entries = reader.next_batch(1).await.expect("the record is there");
        entries.remove(0).record.expect("the record decodes")
    }
}

#[tonic::async_trait]
impl InputService for Input {
    async fn await_input(
        &self,
        request: Request<AwaitInputRequest>,
    ) -> Result<Response<AwaitInputResponse>, Status> {
        let request = request.into_inner();
        let outcome = match request.log() {
            InputLog::User => {
                let record = self.record::<InputUser>(&request).await;
                assert_eq!(record.input_id, request.input_id);
                let command = record.command.expect("there is a command");
                self.users.lock().expect("no test panicked").apply(&record.user_id, command)
            }
            InputLog::Room | InputLog::RoomBulk | InputLog::Unspecified => {
                let record = self.record::<InputRoom>(&request).await;
                if let Some(Body::Intent(intent)) = record.body {
                    self.users.lock().expect("no test panicked").intents.push((record.room_id, intent));
                }
                Ok(())
            }
        };
        let outcome = match outcome {
            Ok(()) => Outcome::Accepted(Accepted::default()),
            Err(reason) => Outcome::Rejected(Rejected { reason: reason.into(), message: "no".to_owned() }),
        };
        Ok(Response::new(AwaitInputResponse { verdict: Some(Verdict { outcome: Some(outcome) }) }))
    }

    async fn find_transaction(
        &self,
        _: Request<FindTransactionRequest>,
    ) -> Result<Response<FindTransactionResponse>, Status> {
        Ok(Response::new(FindTransactionResponse { accepted: None }))
    }
}
