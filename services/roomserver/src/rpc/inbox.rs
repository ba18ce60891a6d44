//! `InboxService`: reads messages to devices.

use plexus_proto::user::v1::{
    InboxMessage, ListInboxRequest, ListInboxResponse,
    inbox_service_server::{InboxService, InboxServiceServer},
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::check::{self, failed, invalid, position, unsigned};
use crate::{
    app::App,
    store::{pool, reads},
};

/// Most messages of a page.
const PAGE: u32 = 100;
/// Bytes of contents after which a page ends.
const PAGE_BYTES: i64 = 1024 * 1024;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> InboxServiceServer<impl InboxService> {
    InboxServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl InboxService for Service {
    #[instrument(name = "rpc.inbox.list_inbox", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn list_inbox(
        &self,
        request: Request<ListInboxRequest>,
    ) -> Result<Response<ListInboxResponse>, Status> {
        let ListInboxRequest { user_id, device_id, after_seq, limit } = request.into_inner();
        check::user_id("user_id", &user_id)?;
        check::storable("user_id", &user_id)?;
        check::name("device_id", &device_id)?;
        if limit == 0 || limit > PAGE {
            return Err(invalid("limit", format!("is not 1 to {PAGE}")));
        }
        let (after, limit) = (position(after_seq), i64::from(limit));
        let conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        // One more, to know whether there is one.
        let rows =
            reads::inboxes::list_messages(&conn, &user_id, &device_id, &after, &(limit + 1), &PAGE_BYTES)
                .await
                .map_err(|error| failed(&error))?;
        drop(conn);
        let bytes: usize = rows.iter().map(|row| row.content.len()).sum();
        let is_cut = i64::try_from(bytes).unwrap_or(i64::MAX) >= PAGE_BYTES;
        let page = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = is_cut || rows.len() > page;
        let messages = rows.into_iter().take(page).map(|row| InboxMessage {
            seq: unsigned(row.seq),
            sender: row.sender,
            r#type: row.kind,
            content: row.content.into(),
        });
        Ok(Response::new(ListInboxResponse { messages: messages.collect(), more }))
    }
}
