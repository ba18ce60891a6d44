use plexus_log::{InputRoom, StartAt};
use plexus_proto::input::v1::{
    AwaitInputRequest, AwaitInputResponse, FindTransactionRequest, FindTransactionResponse, InputLog,
    Verdict, input_service_server::InputService, verdict::Outcome,
};
use plexus_proto::log::v1::input_room_event::Body;
use tonic::{Request, Response, Status};

use super::{Fake, accepted};

#[tonic::async_trait]
impl InputService for Fake {
    /// Reads the input where it was written, remembers it, and answers with the next verdict of the test.
    async fn await_input(
        &self,
        request: Request<AwaitInputRequest>,
    ) -> Result<Response<AwaitInputResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.log(), InputLog::Room);
        let mut reader = self.log.reader::<InputRoom>().unwrap();
        reader.assign(request.partition, StartAt::Offset(request.offset)).await.unwrap();
        let entry = reader.next_batch(1).await.unwrap().remove(0);
        let record = entry.record.unwrap();
        assert_eq!(record.input_id, request.input_id);
        let mut known = self.known.lock().unwrap();
        let txn = match &record.body {
            Some(Body::Intent(intent)) => intent.txn.clone(),
            _ => None,
        };
        known.inputs.push(record);
        let outcome = if known.verdicts.is_empty() { accepted() } else { known.verdicts.remove(0) };
        if let (Some(txn), Outcome::Accepted(accepted)) = (txn, &outcome) {
            known.transactions.push((txn, accepted.clone()));
        }
        Ok(Response::new(AwaitInputResponse { verdict: Some(Verdict { outcome: Some(outcome) }) }))
    }

    async fn find_transaction(
        &self,
        request: Request<FindTransactionRequest>,
    ) -> Result<Response<FindTransactionResponse>, Status> {
        let asked = request.into_inner().transaction.unwrap();
        let known = self.known.lock().unwrap();
        let found = known.transactions.iter().find(|(txn, _)| *txn == asked);
        let accepted = found.map(|(_, accepted)| accepted.clone());
        Ok(Response::new(FindTransactionResponse { accepted }))
    }
}
