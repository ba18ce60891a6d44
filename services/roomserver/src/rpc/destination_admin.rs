//! `DestinationAdminService`: destinations that do not take their transactions, for operators.

use plexus_proto::operator::v1::{
    BacklogRoom, DestinationStatus, ForgetDestinationRequest, ForgetDestinationResponse,
    GetDestinationRequest, GetDestinationResponse, ListDestinationsRequest, ListDestinationsResponse,
    RetryDestinationRequest, RetryDestinationResponse,
    destination_admin_service_server::{DestinationAdminService, DestinationAdminServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::{info, instrument};

use super::check::{failed, name, not_found, unsigned};
use crate::{
    app::App,
    store::{
        destinations::{self, Backlog, FORGET, RETRY, Status as Row},
        pool,
    },
};

/// Destinations listed if the request does not say how many, and at most.
const LISTED: u32 = 100;
const MAX_LISTED: u32 = 1_000;
/// Rooms of a destination that are told.
const MAX_ROOMS: i64 = 1_000;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> DestinationAdminServiceServer<impl DestinationAdminService> {
    DestinationAdminServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl DestinationAdminService for Service {
    #[instrument(name = "rpc.operator.list_destinations", skip_all)]
    async fn list_destinations(
        &self,
        request: Request<ListDestinationsRequest>,
    ) -> Result<Response<ListDestinationsResponse>, Status> {
        let ListDestinationsRequest { after_server, limit } = request.into_inner();
        name("after_server", &after_server)?;
        let limit = if limit == 0 { LISTED } else { limit.min(MAX_LISTED) };
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let rows = destinations::list_status(&mut conn, &after_server, i64::from(limit)).await;
        let destinations = rows.map_err(|error| failed(&error))?.into_iter().map(encode).collect();
        Ok(Response::new(ListDestinationsResponse { destinations }))
    }

    #[instrument(name = "rpc.operator.get_destination", skip_all)]
    async fn get_destination(
        &self,
        request: Request<GetDestinationRequest>,
    ) -> Result<Response<GetDestinationResponse>, Status> {
        let GetDestinationRequest { server } = request.into_inner();
        name("server", &server)?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let found = destinations::find_status(&mut conn, &server, MAX_ROOMS).await;
        let (row, rooms) = found.map_err(|error| failed(&error))?.ok_or_else(nothing_waits)?;
        let room = |room: Backlog| BacklogRoom {
            room_id: room.room_id,
            after_seq: unsigned(room.after_seq),
            last_seq: unsigned(room.last_seq),
        };
        let rooms = rooms.into_iter().map(room).collect();
        Ok(Response::new(GetDestinationResponse { status: Some(encode(row)), rooms }))
    }

    #[instrument(name = "rpc.operator.retry_destination", skip_all)]
    async fn retry_destination(
        &self,
        request: Request<RetryDestinationRequest>,
    ) -> Result<Response<RetryDestinationResponse>, Status> {
        self.order(&request.into_inner().server, RETRY).await?;
        Ok(Response::new(RetryDestinationResponse {}))
    }

    #[instrument(name = "rpc.operator.forget_destination", skip_all)]
    async fn forget_destination(
        &self,
        request: Request<ForgetDestinationRequest>,
    ) -> Result<Response<ForgetDestinationResponse>, Status> {
        self.order(&request.into_inner().server, FORGET).await?;
        Ok(Response::new(ForgetDestinationResponse {}))
    }
}

impl Service {
    async fn order(&self, server: &str, ordered: i16) -> Result<(), Status> {
        name("server", server)?;
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let found = destinations::order(&mut conn, server, ordered).await.map_err(|error| failed(&error))?;
        if !found {
            return Err(nothing_waits());
        }
        info!(server, forget = ordered == FORGET, "an operator orders about a destination");
        Ok(())
    }
}

fn nothing_waits() -> Status {
    not_found("the server takes everything it is sent, as far as is known")
}

fn encode(row: Row) -> DestinationStatus {
    let Row { destination, rooms } = row;
    DestinationStatus {
        server: destination.server,
        failures: u32::try_from(destination.failures).unwrap_or(0),
        first_failure_ts: destination.first_failure_ts,
        retry_ts: destination.retry_ts,
        error: destination.error,
        last_success_ts: destination.last_success_ts,
        rooms: unsigned(rooms),
    }
}
