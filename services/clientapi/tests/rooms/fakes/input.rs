use plexus_log::{InputRoom, StartAt};
use plexus_proto::input::v1::{
    AwaitInputRequest, AwaitInputResponse, InputLog, Verdict, input_service_server::InputService,
};
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
        known.inputs.push(record);
        let outcome = if known.verdicts.is_empty() { accepted() } else { known.verdicts.remove(0) };
        Ok(Response::new(AwaitInputResponse { verdict: Some(Verdict { outcome: Some(outcome) }) }))
    }
}
