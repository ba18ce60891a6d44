//! Writes the inputs of operators, since only inputs change rooms and users.

use std::time::Duration;

use bytes::Bytes;
use plexus_log::{InputRoom, InputUser, Topic, partition_of};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, verdict::Outcome},
    log::v1::{input_room_event::Body, input_user_event::Command},
};
use plexus_service::refusal::refusal;
use tonic::{Code, Status};

use super::{check::failed, input::find_verdict};
use crate::{
    app::App,
    worker::{room_input, user_input},
};

/// How long an input may wait for its turn.
const WAIT: Duration = Duration::from_secs(60);
/// Pause between two looks for a verdict.
const PAUSE: Duration = Duration::from_millis(20);

/// Writes an input for a room and waits for its verdict.
pub(super) async fn submit_room(app: &App, room_id: &str, body: Body) -> Result<Accepted, Status> {
    let record = room_input(room_id.to_owned(), body);
    submit::<InputRoom>(app, &record, &record.input_id).await
}

/// Writes an input for a user and waits for its verdict, and until no service holds sessions that it ended.
pub(super) async fn submit_user(app: &App, user_id: &str, command: Command) -> Result<Accepted, Status> {
    let record = user_input(user_id.to_owned(), command);
    let accepted = submit::<InputUser>(app, &record, &record.input_id).await?;
    // Where another instance owns the user, sessions end with their leases, which are short.
    app.session_leases.dropped(partition_of(user_id)).await;
    Ok(accepted)
}

/// Writes a command on media and waits for its verdict.
pub(super) async fn submit_media(app: &App, key: &str, command: Command) -> Result<Accepted, Status> {
    let record = user_input(key.to_owned(), command);
    submit::<InputUser>(app, &record, &record.input_id).await
}

/// Writes an input and waits for its verdict, whoever owns its partition: verdicts are in the database.
async fn submit<T: Topic>(app: &App, record: &T::Record, input_id: &Bytes) -> Result<Accepted, Status> {
    let written = app.log.append::<T>(record).await;
    written.map_err(|error| Status::new(Code::Unavailable, error.to_string()))?;
    let end = tokio::time::Instant::now() + WAIT;
    loop {
        let found = find_verdict(app, input_id).await.map_err(|error| failed(&error))?;
        match found.and_then(|verdict| verdict.outcome) {
            Some(Outcome::Accepted(accepted)) => return Ok(accepted),
            Some(Outcome::Rejected(rejected)) => {
                let code = match rejected.reason() {
                    ErrorReason::RoomUnknown | ErrorReason::NotFound => Code::NotFound,
                    ErrorReason::Forbidden => Code::PermissionDenied,
                    ErrorReason::InvalidParam => Code::InvalidArgument,
                    _ => Code::FailedPrecondition,
                };
                return Err(refusal(code, rejected.reason(), rejected.message));
            }
            Some(Outcome::Parked(_) | Outcome::Unknown(_)) | None => {}
        }
        if tokio::time::Instant::now() > end {
            let message = "the input has not been processed yet; it may yet be";
            return Err(refusal(Code::DeadlineExceeded, ErrorReason::TimedOut, message));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
