//! `at_least`: reads that must not be older than what the caller has seen.

use std::{pin::pin, time::Duration};

use plexus_proto::common::v1::{AtLeast, ErrorReason};
use plexus_service::refusal::refusal;
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use super::{
    check::{failed, invalid, unsigned},
    deadline,
};
use crate::{
    app::App,
    store::{StoreError, pool, reads},
};

/// How long a read waits whose caller names no deadline.
const WAIT: Duration = Duration::from_secs(5);
/// Between looks into the database, for a partition that another instance owns.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Waits until `seq` of the partition is committed, at most until the request's deadline.
pub(super) async fn wait<T>(
    app: &App,
    request: &Request<T>,
    at_least: impl FnOnce(&T) -> Option<AtLeast>,
) -> Result<(), Status> {
    let Some(AtLeast { partition, seq }) = at_least(request.get_ref()) else { return Ok(()) };
    if partition >= plexus_log::PARTITIONS {
        return Err(invalid("at_least.partition", "there is no such partition"));
    }
    if seq == 0 {
        return Ok(());
    }
    let give_up = Instant::now() + deadline(request).unwrap_or(WAIT);
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(changed) = app.board.changed(partition) else { return Ok(()) };
        let mut changed = pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        let head = match app.board.room_seq(partition) {
            Some(head) => head,
            None => committed(app, partition).await.map_err(|error| failed(&error))?,
        };
        if head >= seq {
            return Ok(());
        }
        let look_again = (Instant::now() + pause).min(give_up);
        if tokio::time::timeout_at(look_again, changed).await.is_err() {
            if Instant::now() >= give_up {
                let message = format!("partition {partition} is at {head}, not yet at {seq}");
                return Err(refusal(Code::DeadlineExceeded, ErrorReason::TimedOut, message));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn committed(app: &App, partition: u32) -> Result<u64, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let partitions = [i16::try_from(partition).unwrap_or(i16::MAX)];
    let heads = reads::heads::list(&conn, &partitions).await?;
    Ok(heads.first().map_or(0, |head| unsigned(head.seq)))
}
