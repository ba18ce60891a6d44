//! Messages to the device: what has come since the token, a page at a time.
//!
//! What was delivered is told by the token and by nothing else, so a client that repeats a token gets the same again.

use std::sync::Arc;

use plexus_matrix_http::AuthedUser;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tracing::error;

use super::{
    context::{Context, Problem},
    response::{Events, Response},
};
use crate::{SyncService, limits, metrics as names, view::User};

#[derive(Serialize)]
struct Message<'a> {
    sender: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    content: &'a RawValue,
}

/// Has messages acknowledged that have arrived: the client has presented a token that lies after them.
pub(super) fn acknowledge(service: &SyncService, session: &AuthedUser, upto: Option<u64>, user: &User) {
    let Some(upto) = upto.filter(|upto| *upto > 0) else { return };
    let (user_id, device_id) = (&session.id, &session.device_id);
    if user.with_inboxes(|inboxes| inboxes.got(device_id.as_str(), upto)) == Some(true) {
        service.acks.add(user_id.clone(), device_id.clone(), upto);
    }
}

/// Puts messages that wait into the answer, and how far they reach into its token.
pub(super) async fn deliver(
    context: &Context<'_>,
    user: &User,
    response: &mut Response,
) -> Result<(), Problem> {
    let Some(after) = context.request.inbox else { return Ok(()) };
    // A token that names no generation could not tell what was delivered: the next one will.
    if response.next_batch.generation.is_none() {
        return Ok(());
    }
    let Some(page) = read(context, user, after, limits::INBOX_PAGE).await? else { return Ok(()) };
    response.to_device = Events { events: page.events };
    response.next_batch.set_delivered(context.user_id(), &context.request.user.device_id, page.upto);
    Ok(())
}

/// Messages that are told at once.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Arc<RawValue>>,
    /// How far they reach.
    pub(super) upto: u64,
}

/// Reads at most so many of the messages that came after a position; `None` if there are none.
pub(super) async fn read(
    context: &Context<'_>,
    user: &User,
    after: u64,
    limit: u32,
) -> Result<Option<Page>, Problem> {
    let device_id = &context.request.user.device_id;
    let last = user.with_inboxes(|inboxes| inboxes.last_after(device_id.as_str(), after));
    let Some(last) = last.ok_or(Problem::Gone)? else { return Ok(None) };
    let page = context.service.upstream.inbox(context.user_id(), device_id, after, limit).await?;
    let upto = page.messages.last().map_or(after, |message| message.seq);
    if !page.more {
        user.with_inboxes(|inboxes| inboxes.found_end(device_id.as_str(), last, upto));
    }
    let events = page.messages.iter().filter_map(|message| {
        let shown = serde_json::from_slice::<&RawValue>(&message.content).and_then(|content| {
            to_raw_value(&Message { sender: &message.sender, kind: &message.r#type, content })
        });
        let shown = shown.inspect_err(|failure| error!(error = %failure, "message cannot be shown"));
        shown.ok().map(Arc::from)
    });
    let events: Vec<_> = events.collect();
    metrics::counter!(names::DELIVERED).increment(u64::try_from(events.len()).unwrap_or(0));
    Ok(Some(Page { events, upto }))
}
