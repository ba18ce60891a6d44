//! Reporting what one finds inappropriate to the operators.

use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::{
    log::v1::{Report, input_user_event::Command},
    user::v1::GetAccountRequest,
};
use ruma::{EventId, RoomId, UserId};

use super::{Rooms, ask};

/// Most bytes of a reason.
const MAX_REASON_BYTES: usize = 4096;

impl Rooms {
    /// Reports a room.
    pub(crate) async fn report_room(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        reason: &str,
    ) -> Result<(), MatrixError> {
        self.info(room_id).await?;
        self.report(user, Report { room_id: room_id.to_string(), ..Report::default() }, reason).await
    }

    /// Reports an event of a room that the user is in.
    pub(crate) async fn report_event(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        event_id: &EventId,
        reason: &str,
    ) -> Result<(), MatrixError> {
        let absent = || MatrixError::not_found("There is no such event in a room that you are in");
        if self.memberships(room_id, &[&user.id]).await?.of(&user.id) != Some("join") {
            return Err(absent());
        }
        self.find_event(room_id, &user.id, event_id).await.map_err(|error| {
            match error.is("M_FORBIDDEN") {
                true => absent(),
                false => error,
            }
        })?;
        let report =
            Report { room_id: room_id.to_string(), event_id: event_id.to_string(), ..Report::default() };
        self.report(user, report, reason).await
    }

    /// Reports a user.
    pub(crate) async fn report_user(
        &self,
        user: &AuthedUser,
        reported: &UserId,
        reason: &str,
    ) -> Result<(), MatrixError> {
        if self.is_local(reported.server_name()) {
            let request = GetAccountRequest { user_id: reported.to_string() };
            ask(self.users.clone().get_account(request)).await?;
        }
        self.report(user, Report { reported_user_id: reported.to_string(), ..Report::default() }, reason)
            .await
    }

    async fn report(&self, user: &AuthedUser, report: Report, reason: &str) -> Result<(), MatrixError> {
        if reason.len() > MAX_REASON_BYTES || reason.contains('\0') {
            return Err(MatrixError::invalid_param(format!(
                "`reason` must have at most {MAX_REASON_BYTES} bytes, and none that is zero"
            )));
        }
        let command = Command::Report(Report { reason: reason.to_owned(), ..report });
        self.input.submit_user(&user.id, command).await?;
        Ok(())
    }
}
