//! `InputService.AwaitInput`: tells writers the verdicts on their inputs.

use std::{sync::Arc, time::Duration};

use diesel::{OptionalExtension as _, QueryDsl as _};
use diesel_async::RunQueryDsl as _;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{
        AwaitInputRequest, AwaitInputResponse, FindTransactionRequest, FindTransactionResponse, InputLog,
        UnknownInput, Verdict,
        input_service_server::{InputService, InputServiceServer},
        verdict::Outcome,
    },
};
use plexus_service::refusal::{refusal, refusal_with};
use prost::Message as _;
use tonic::{Code, Request, Response, Status};

use super::{check::failed, deadline};
use crate::{
    app::App,
    rooms::transaction_key,
    store::{self, StoreError, schema::verdicts},
    worker::{InputId, Lookup},
};

/// How long a call waits whose caller names no deadline.
const WAIT: Duration = Duration::from_secs(30);

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> InputServiceServer<impl InputService> {
    InputServiceServer::from_arc(Arc::new(Service { app: app.clone() }))
}

#[tonic::async_trait]
impl InputService for Service {
    async fn await_input(
        &self,
        request: Request<AwaitInputRequest>,
    ) -> Result<Response<AwaitInputResponse>, Status> {
        let wait = deadline(&request).unwrap_or(WAIT);
        let AwaitInputRequest { log, partition, offset, input_id } = request.into_inner();
        let log = match InputLog::try_from(log) {
            Ok(log @ (InputLog::Room | InputLog::User | InputLog::RoomBulk)) => log,
            Ok(InputLog::Unspecified) | Err(_) => return Err(invalid("log")),
        };
        let input_id = InputId::try_from(input_id.as_ref()).map_err(|_| invalid("input_id"))?;
        if partition >= plexus_log::PARTITIONS {
            return Err(invalid("partition"));
        }
        let verdict = match self.app.verdicts.look_up(log, partition, offset, input_id) {
            Lookup::Known(verdict) => verdict,
            Lookup::Past => self.find(input_id).await?,
            Lookup::NotOwner => return Err(self.not_owner(partition).await),
            Lookup::Pending(pending) => match tokio::time::timeout(wait, pending).await {
                Ok(Ok(Some(verdict))) => verdict,
                Ok(Ok(None)) => self.find(input_id).await?,
                Ok(Err(_lost)) => return Err(self.not_owner(partition).await),
                Err(_elapsed) => {
                    return Err(refusal(
                        Code::DeadlineExceeded,
                        ErrorReason::TimedOut,
                        "the input has not been processed yet",
                    ));
                }
            },
        };
        if log == InputLog::User {
            self.app.session_leases.dropped(partition).await;
        }
        Ok(Response::new(AwaitInputResponse { verdict: Some(verdict) }))
    }

    async fn find_transaction(
        &self,
        request: Request<FindTransactionRequest>,
    ) -> Result<Response<FindTransactionResponse>, Status> {
        let transaction = request.into_inner().transaction.ok_or_else(|| invalid("transaction"))?;
        let key = transaction_key(&transaction);
        let found = find_verdict(&self.app, &key).await.map_err(|error| failed(&error))?;
        let accepted = match found.and_then(|verdict| verdict.outcome) {
            Some(Outcome::Accepted(accepted)) => Some(accepted),
            Some(Outcome::Rejected(_) | Outcome::Parked(_) | Outcome::Unknown(_)) | None => None,
        };
        Ok(Response::new(FindTransactionResponse { accepted }))
    }
}

impl Service {
    /// Finds a verdict that is no longer in memory.
    async fn find(&self, input_id: InputId) -> Result<Verdict, Status> {
        let found = find_verdict(&self.app, &input_id).await.map_err(|error| failed(&error))?;
        Ok(found.unwrap_or(Verdict { outcome: Some(Outcome::Unknown(UnknownInput {})) }))
    }

    /// Says who owns the partition.
    async fn not_owner(&self, partition: u32) -> Status {
        match self.owner(partition).await {
            Ok(owner) => {
                // A claim of our own that the worker has not taken up yet says nothing: the caller had better wait.
                let owner = if owner == self.app.verdicts.address() { String::new() } else { owner };
                let metadata = [("owner", owner.as_str())];
                refusal_with(
                    Code::FailedPrecondition,
                    ErrorReason::NotOwner,
                    format!("partition {partition} is not owned here"),
                    &metadata,
                )
            }
            Err(error) => failed(&error),
        }
    }

    async fn owner(&self, partition: u32) -> Result<String, StoreError> {
        let mut conn = store::pool::get(&self.app.pool).await?;
        let number = i16::try_from(partition)
            .map_err(|_| StoreError::Corrupt { what: format!("partition number {partition}") })?;
        let state = store::partitions::find(&mut conn, number).await?;
        Ok(state.map(|state| state.owner).unwrap_or_default())
    }
}

pub(in crate::rpc) async fn find_verdict(app: &App, input_id: &[u8]) -> Result<Option<Verdict>, StoreError> {
    let mut conn = store::pool::get(&app.pool).await?;
    let body: Option<Vec<u8>> = verdicts::table
        .find(input_id)
        .select(verdicts::verdict)
        .first(&mut conn)
        .await
        .optional()
        .map_err(StoreError::query("verdicts.find"))?;
    body.map(|body| {
        Verdict::decode(body.as_slice())
            .map_err(|error| StoreError::Corrupt { what: format!("verdict ({error})") })
    })
    .transpose()
}

fn invalid(field: &str) -> Status {
    refusal(Code::InvalidArgument, ErrorReason::InvalidParam, format!("{field} is not valid"))
}
